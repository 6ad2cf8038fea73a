"""Writes the tables of a run, its samples, and the stamp that says which results they show."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from snakeval.config.load import load_resolved
from snakeval.layout import RunPaths
from snakeval.plan import read_run
from snakeval.results import write_stamp, write_tables
from snakeval.samples import write_if_possible

CATALOGUE = Path(__file__).resolve().parents[1] / "config" / "catalogue"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("members", help="digest of the results that are shown")
    arguments = parser.parse_args()
    loaded = load_resolved(RunPaths(arguments.run).config)
    run = read_run(arguments.run, loaded, CATALOGUE)
    write_tables(run, arguments.members)
    failed = write_if_possible(run)
    if failed:
        print(failed, file=sys.stderr)
    write_stamp(run, arguments.members)


if __name__ == "__main__":
    main()
