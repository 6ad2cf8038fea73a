"""Run folders that are met again: those of an earlier version are brought to this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snakeval.plan.run import Run
from snakeval.run_folder import forms


def take_over(runs: Iterable[Run]) -> Iterator[str]:
    """Sentences about what could not be taken over, and about results that do not hold."""
    met = [run for run in runs if not run.new]
    if met:  # else nothing of it is imported
        from snakeval.runs import version_1

        for run in met:
            yield from version_1.take_over(run)
            for task in run.tasks:
                if task.earlier_digest:
                    forms.note(task.paths, task.digest, task.present_digest)
