"""The live jobs of a run, whichever executors it was started with."""

from __future__ import annotations

from snakeval.executors.base import CannotAsk
from snakeval.executors.registry import executors
from snakeval.run_folder.jobs import Job, LiveJobs
from snakeval.run_folder.layout import RunPaths


def live_jobs(run: RunPaths) -> LiveJobs:
    """Asks every executor that the run may have jobs with, and no other."""
    found: dict[str, Job] = {}
    unknown = []
    for executor in executors():
        if executor.was_used(run):
            try:
                found |= executor.live_jobs(run)
            except CannotAsk as error:
                unknown.append(f"{executor.title} could not be asked: {error}")
    return LiveJobs(found, "; ".join(unknown))
