"""Writes `results/report.html` of a run: one page with everything in it."""

from __future__ import annotations

from snakeval.cli.entry import RUNS, entry, parsed, run_at, runs_of
from snakeval.errors import size_in_words
from snakeval.report.page import write_report


def main() -> int:
    for paths in runs_of(parsed(__doc__, *RUNS)):
        path = write_report(run_at(paths))
        print(f"Report: {path} ({size_in_words(path.stat().st_size)})")
    return 0


if __name__ == "__main__":
    entry(main)
