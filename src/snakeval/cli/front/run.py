"""`snakeval run`: the snakemake command that a config stands for, shown and then executed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from snakeval.cli.front.overrides import as_words
from snakeval.cli.front.verb import ROOT, Parser, Verb, takes_config, values_of
from snakeval.errors import InputError, Problem


def arguments(parser: Parser) -> None:
    takes_config(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would run, and end")
    parser.add_argument(
        "-t", "--task", action="append", default=[], help="only this task of the config"
    )
    parser.add_argument(
        "--profile",
        help="a folder of profiles/, or any other; default: the config's execution.type",
    )
    parser.add_argument(
        "snakemake", nargs="*", metavar="-- WORDS", help="anything else that snakemake takes"
    )


def main(given: argparse.Namespace) -> int:
    """Does not return where all is well: snakemake takes the place of this process."""
    words = command(given)
    print(f"$ {shlex.join(['snakemake', *words])}", file=sys.stderr, flush=True)
    snakemake = Path(sys.executable).with_name("snakemake")
    os.execv(snakemake, [str(snakemake), *words])


def command(given: argparse.Namespace) -> list[str]:
    """The words after `snakemake`. Raises InputError where the config cannot be read or is wrong:
    Snakemake itself would end in a traceback."""
    from snakeval.config.load import load

    if not given.config:
        fix = "snakeval run --config my.yaml; the demo is `make demo`"
        raise InputError([Problem("run", "which config?", fix)])
    values = values_of(given)
    if given.task:
        values["tasks"] = ",".join(given.task)
    config = load(given.config, values).config
    return [
        *([] if Path.cwd() == ROOT else ["--snakefile", str(ROOT / "Snakefile")]),
        *(["-n"] if given.dry_run else []),
        "--profile",
        profile(given.profile or config.execution.type),
        *given.snakemake,
        "--configfile",
        *map(str, given.config),
        *(["--config", *as_words(values)] if values else []),
    ]


def profile(name: str) -> str:
    """The path of a profile of ours from here; what is none of ours is Snakemake's to find."""
    own = ROOT / "profiles" / name
    if "/" in name or not own.is_dir():
        return name
    return str(own.relative_to(Path.cwd()) if Path.cwd() == ROOT else own)


RUN = Verb(arguments, main)
