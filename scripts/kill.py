"""Stops controller, jobs and containers of a run (or of one task), and shows that they are gone."""

from __future__ import annotations

from snakeval.cli.entry import RUNS, entry, parsed, runs_of, task_of
from snakeval.errors import InputError, Problem
from snakeval.runs.kill import kill_run


def main() -> int:
    arguments = parsed(__doc__, *RUNS, "--task")
    if not arguments.run and not arguments.folder:
        raise InputError(
            [Problem("kill", "which run?", "snakemake kill --config run=<id or its beginning>")]
        )
    left = False
    for run in runs_of(arguments):
        report = kill_run(run, task_of(run, arguments.task) if arguments.task else None)
        for line in report.ended:
            print(f"{run.id}: ended {line}")
        for line in report.left:
            print(f"{run.id}: STILL THERE: {line}")
        if not report.left:
            print(f"{run.id}: nothing of {arguments.task or 'it'} runs on this machine")
        left = left or bool(report.left)
    return int(left)


if __name__ == "__main__":
    entry(main)
