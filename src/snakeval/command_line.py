"""What the entry points in `scripts/` share: which runs they are about, and how they fail."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakeval.config.load import Loaded, load
from snakeval.errors import InputError
from snakeval.layout import RunPaths
from snakeval.runs import chosen_runs


def run_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that choose runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", help="id of a run, or its beginning")
    parser.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        help="a run folder of the config in force",
    )
    parser.add_argument(
        "--output-dir", type=Path, action="append", default=[], help="a folder with run folders"
    )
    return parser


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that give a config as the Snakefile has it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--configfile", type=Path, action="append", required=True)
    parser.add_argument("--values", type=json.loads, default={}, help="--config values, as JSON")
    return parser


def config_of(arguments: argparse.Namespace) -> tuple[Loaded, dict[str, Any]]:
    """The config, and the `--config` values. Raises InputError."""
    values: dict[str, Any] = arguments.values
    return load(arguments.configfile, values), values


def runs_of(arguments: argparse.Namespace) -> list[RunPaths]:
    """The runs that the arguments choose. Raises InputError."""
    return chosen_runs(arguments.run, arguments.folder, arguments.output_dir)


def entry(main: Callable[[], int]) -> None:
    """Runs an entry point: an InputError is its text on stderr and exit code 1."""
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit("\n".join(str(problem) for problem in error.problems))
    except KeyboardInterrupt:
        sys.exit(130)
