"""Ends Slurm jobs of a run, and waits until Slurm has let them go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from snakeval.executors.slurm import queue
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.servers import deployments_of, supervisor_of

PATIENCE = 45.0
"""Seconds that cancelled jobs have to leave the queue: KillWait is 30 s on most clusters."""


def is_on_slurm(run: RunPaths) -> bool:
    """Whether anything of a run was ever submitted; no Slurm is asked."""
    return bool(list(run.dir.glob("sbatch_*.sh")))


def _steps(run: RunPaths) -> Iterator[tuple[str, str]]:
    """Benchmarks inside their server's job: the step's id, and the task. Raises QueryFailed."""
    for paths in deployments_of(run):
        owner = supervisor_of(paths)
        if owner and owner.job:
            for step, name in queue.steps(owner.job):
                task, _, digest = name.rpartition(".")
                if digest and run.task(task).work(digest).exists():
                    yield step, task


def stop_jobs(run: RunPaths, wanted: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Cancels the live jobs of some tasks ("" is the controller); what was ended, what is left.

    Raises QueryFailed.
    """
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
            return [text for job, text in ended.items() if job not in live], left
        time.sleep(0.5)
