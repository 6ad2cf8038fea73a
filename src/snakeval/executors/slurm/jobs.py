"""The Slurm jobs of a run: found for `status`, ended for `kill`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from snakeval.executors.base import Stopped
from snakeval.executors.slurm import queue
from snakeval.executors.slurm.resources import elapsed
from snakeval.run_folder.jobs import Job
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.servers import deployments_of, supervisor_of

PATIENCE = 45.0
"""Seconds that cancelled jobs have to leave the queue: KillWait is 30 s on most clusters."""


def was_used(run: RunPaths) -> bool:
    """Whether anything of a run was ever submitted; no Slurm is asked."""
    return next(run.dir.glob("sbatch_*.sh"), None) is not None


def live_jobs(run: RunPaths) -> dict[str, Job]:
    """The live jobs of a run by task; one query. Raises QueryFailed."""
    with queue.about_run(run):
        known = queue.jobs_of(run, queue.jobs())
    return {task: _in_general(jobs[-1]) for task, jobs in known.items() if jobs[-1].live}


def _in_general(job: queue.Job) -> Job:
    return Job(job.id, job.waiting, job.reason, job.nodes, elapsed(job.elapsed))


def has_ended(run: RunPaths, job: str) -> bool:
    """Whether Slurm knows a job of a run as ended."""
    try:
        with queue.about_run(run):
            return queue.states([job]).get(job) in queue.ENDED
    except queue.QueryFailed:
        return False


def _steps(run: RunPaths) -> Iterator[tuple[str, str]]:
    """Benchmarks inside their server's job: the step's id, and the task. Raises QueryFailed."""
    for paths in deployments_of(run):
        owner = supervisor_of(paths)
        if owner and owner.job:
            for step, name in queue.steps(owner.job):
                task, _, digest = name.rpartition(".")
                if digest and run.task(task).work(digest).exists():
                    yield step, task


def stop(run: RunPaths, wanted: Callable[[str], bool]) -> Stopped:
    """Cancels the live jobs of some tasks, and waits until Slurm has let them go.

    Raises QueryFailed.
    """
    with queue.about_run(run):
        return _stop(run, wanted)


def _stop(run: RunPaths, wanted: Callable[[str], bool]) -> Stopped:
    ended: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE
    refused: str | None = None
    while True:
        live = {
            job.id: f"job {job.id} ({task or 'controller'}, {job.state.lower()})"
            for task, jobs in queue.jobs_of(run, queue.jobs()).items()
            for job in jobs
            if job.live and wanted(task)
        } | {step: f"step {step} ({task})" for step, task in _steps(run) if wanted(task)}
        new = [job for job in live if job not in ended]
        if new:  # also what a controller has submitted meanwhile
            refused = queue.cancel(new)
            ended |= {job: live[job] for job in new}
        if not live or refused or time.monotonic() > deadline:
            left = [f"{live[job]}{f': {refused}' if refused else ''}" for job in live]
            return Stopped([text for job, text in ended.items() if job not in live], left)
        time.sleep(0.5)
