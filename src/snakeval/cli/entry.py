"""What the entry points in `scripts/` share: which runs they are about, and how they fail."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakeval.config.load import Loaded, load, load_resolved, told
from snakeval.errors import InputError, Problem
from snakeval.plan.make import read_run
from snakeval.plan.run import Run
from snakeval.results.published import kept_apart
from snakeval.run_folder.layout import RunPaths
from snakeval.runs.find import chosen_runs, find_run

CATALOGUE = Path(__file__).resolve().parents[3] / "config" / "catalogue"


def run_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that choose runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", help="id of a run, or its beginning")
    _add_paths(parser, "--folder", "a run folder of the config in force")
    _add_paths(parser, "--output-dir", "a folder with run folders")
    return parser


def _add_paths(
    parser: argparse.ArgumentParser, name: str, meaning: str, required: bool = False
) -> None:
    """An argument that may be given several times."""
    parser.add_argument(
        name, type=Path, action="append", default=[], required=required, help=meaning
    )


def add_config(parser: argparse.ArgumentParser, meaning: str, required: bool = False) -> None:
    """The arguments that give a config as the Snakefile has it."""
    _add_paths(parser, "--configfile", meaning, required)
    parser.add_argument("--values", type=json.loads, default={}, help="--config values, as JSON")


def compare_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that name two runs."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("base", "candidate"):
        parser.add_argument(f"--{name}", help="a run: id, its beginning, or folder")
    _add_paths(parser, "--output-dir", "a folder with run folders")
    return parser


def compared_runs(arguments: argparse.Namespace) -> tuple[Run, Run]:
    """Base and candidate. Raises InputError, for both at once."""
    problems: list[Problem] = []
    found = []
    for name in ("base", "candidate"):
        given = getattr(arguments, name)
        key = f"--config {name}"
        with told(problems):
            if not given:
                raise InputError([Problem(key, "is not given", f"add {name}=<run>")])
            paths = find_run(given, arguments.output_dir or [Path("results")], key)
            found.append(run_at(paths))
    if problems:
        raise InputError(problems)
    return found[0], found[1]


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that give a config as the Snakefile has it."""
    parser = argparse.ArgumentParser(description=description)
    add_config(parser, "config files, the later ones over the earlier", required=True)
    return parser


def config_of(arguments: argparse.Namespace) -> tuple[Loaded, dict[str, Any]]:
    """The config, and the `--config` values. Raises InputError."""
    values: dict[str, Any] = arguments.values
    return load(arguments.configfile, values), values


def runs_of(arguments: argparse.Namespace) -> list[RunPaths]:
    """The runs that the arguments choose. Raises InputError."""
    return chosen_runs(arguments.run, arguments.folder, arguments.output_dir)


def run_at(paths: RunPaths) -> Run:
    """The run of a folder, by the config in it. Raises InputError."""
    return read_run(paths.dir, load_resolved(paths.config), CATALOGUE)


def definitions_changed(paths: RunPaths) -> list[str]:
    """The published tasks whose definition is another one by now; none where that is not known."""
    return kept_apart(
        lambda: [task.name for task in run_at(paths).tasks if task.definition_changed],
        lambda _: [],
    )


def entry(main: Callable[[], int]) -> None:
    """Runs an entry point: an InputError is its text on stderr and exit code 1."""
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit("\n".join(str(problem) for problem in error.problems))
    except KeyboardInterrupt:
        sys.exit(130)
