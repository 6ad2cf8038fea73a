"""Shows every task of a run: state, attempts, elapsed time, samples so far, the log to look at."""

from __future__ import annotations

from snakeval.cli.entry import RUNS, definitions_changed, entry, parsed, runs_of
from snakeval.runs.progress import Watch
from snakeval.runs.screen import follow
from snakeval.runs.status_table import print_status


def main() -> int:
    arguments = parsed(__doc__, *RUNS, "--watch")
    runs = runs_of(arguments)
    if arguments.watch:
        follow(Watch(runs))
    for run in runs:
        print_status(run, definitions_changed(run))
    return 0


if __name__ == "__main__":
    entry(main)
