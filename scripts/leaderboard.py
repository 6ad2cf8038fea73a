"""Models x benchmarks over several runs; writes leaderboard.csv, .json, .html beside the runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from snakeval.across.boards import chosen_runs, show
from snakeval.cli.entry import RUNS, SUITES, entry, parsed, run_at
from snakeval.compare.suite import read_suite


def main() -> int:
    arguments = parsed(__doc__, *RUNS, "--runs", "--columns", "--suite")
    suite = read_suite(arguments.suite, SUITES) if arguments.suite else None
    runs, notes = chosen_runs(words(arguments.runs), arguments.folder, folders(arguments), run_at)
    show(runs, folders(arguments)[0], words(arguments.columns), suite, notes)
    return 0


def folders(arguments: argparse.Namespace) -> list[Path]:
    """Where runs are looked for; the first one gets the files."""
    return list(dict.fromkeys(arguments.output_dir)) or [Path("results")]


def words(given: str | None) -> list[str]:
    """`a,b` as words."""
    return [word.strip() for word in (given or "").strip("[]").split(",") if word.strip()]


if __name__ == "__main__":
    entry(main)
