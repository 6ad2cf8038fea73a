"""What a dry run says: what would be evaluated, and what a real start would be refused for."""

from __future__ import annotations

from collections.abc import Iterable

from snakeval.plan.run import Task
from snakeval.start import checks, forecast, server_jobs
from snakeval.start.this_start import ThisStart

SHOWN = 20
"""Benchmarks that are named."""


def tell(start: ThisStart) -> None:
    """Says it. Nothing is written and nothing refused."""
    start.log.info("`snakemake show_config` (same flags) shows every task's image and command.")
    if start.pending:
        start.log.info(f"to be evaluated: {_named(start.pending)}")
    for line, is_warning in forecast.tell(start.runs, start.pending):
        (start.log.warning if is_warning else start.log.info)(line)
    planned = [(run, task) for run in start.runs for task in start.pending_of(run)]
    remarks = start.executor.remarks(planned, start.profile.defaults)
    for problem in [*checks.against(start), *server_jobs.unfit(start), *remarks]:
        verdict = "" if problem.warning else "a real start would be refused: "
        start.log.warning(f"{verdict}{problem}")


def _named(tasks: Iterable[Task]) -> str:
    """The first tasks, with their models where there are several."""
    names = [task.called for task in tasks]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
