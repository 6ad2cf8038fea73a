"""Brings the results of a run on a login node here, without its work folders."""

from __future__ import annotations

from pathlib import Path

from snakeval.cli.entry import RUNS, entry, parsed
from snakeval.errors import InputError, Problem
from snakeval.remote.verbs import fetch, named


def main() -> int:
    arguments = parsed(__doc__, *RUNS)
    folders = arguments.output_dir or [Path("results")]
    notes = named(arguments.run, [folder.name for folder in arguments.folder], folders)
    if not notes:
        fix = "`snakeval run` with execution.hostname starts one there; results of others are here"
        raise InputError([Problem("fetch", "no run on a login node is meant", fix)])
    return max(map(fetch, notes))


if __name__ == "__main__":
    entry(main)
