"""Writes the tables of a run, its samples, and the stamp that says which results they show."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from snakeval.cli.entry import run_at
from snakeval.results.samples import write_if_possible
from snakeval.results.tables import write_stamp, write_tables
from snakeval.run_folder.layout import RunPaths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("members", help="digest of the results that are shown")
    arguments = parser.parse_args()
    run = run_at(RunPaths(arguments.run))
    failed = write_if_possible(run)
    if failed:
        print(failed, file=sys.stderr)
    write_tables(run, arguments.members)
    write_stamp(run, arguments.members)


if __name__ == "__main__":
    main()
