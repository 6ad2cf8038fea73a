"""What a job of a batch system asks it. A TERM may be a person's cancel, or the system's own: the
time limit, a preemption, a requeue."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .job import Failed

if TYPE_CHECKING:
    from .job import Job

LEAD = 120.0
"""Seconds of notice before the limit, where the job does not say."""


def is_batch_job() -> bool:
    return bool(os.environ.get("SLURM_JOB_ID"))


def deadline() -> str:
    """When this job's limit strikes, in seconds since 1970; empty: never, or nobody knows."""
    if not is_batch_job():
        return ""
    from .. import slurm_job

    end = slurm_job.deadline()
    return str(int(end)) if end else ""


def ends_at(job: Job) -> float | None:
    """When max_walltime is used up, by `time.monotonic`; None: there is none. Raises Failed where
    it is already."""
    limit = os.environ.get("SNAKEVAL_MAX_WALLTIME")
    if not is_batch_job() or not limit:
        return None
    from .. import attempt, slurm_job

    told, digest = attempt.read(job.here), job.settings.digest
    if used_up := slurm_job.used_up(told, digest, float(limit)):
        raise Failed(used_up)
    return time.monotonic() + int(float(limit) - slurm_job.spent(told, digest)) + 1


def ending(deadline: str) -> tuple[str, str]:
    """How a job that got TERM is being ended: `interrupted` or `cancelled`, and why."""
    from .. import slurm_job

    lead = float(os.environ.get("SNAKEVAL_LEAD") or LEAD)
    return slurm_job.ending(slurm_job.shown(), float(deadline) if deadline else None, lead)


def come_back(job: Job) -> None:
    """A batch job of ours that is stopped before its time limit starts again under the same number.
    Where the system does not let it, the controller submits another one."""
    if not os.environ.get("SNAKEVAL_LEAD"):
        return
    from .. import slurm_job

    if not slurm_job.requeue():
        job.say("Slurm starts this job again, and it continues")
