"""Writes the tables of a run, its samples, and the stamp that says which results they show."""

from __future__ import annotations

import sys

from snakeval.cli.entry import entry, parsed, run_at
from snakeval.results.samples import write_if_possible
from snakeval.results.tables import write_stamp, write_tables
from snakeval.run_folder.layout import RunPaths


def main() -> int:
    arguments = parsed(__doc__, "run", "members")
    run = run_at(RunPaths(arguments.run))
    failed = write_if_possible(run)
    if failed:
        print(failed, file=sys.stderr)
    write_tables(run, arguments.members)
    write_stamp(run, arguments.members)
    return 0


if __name__ == "__main__":
    entry(main)
