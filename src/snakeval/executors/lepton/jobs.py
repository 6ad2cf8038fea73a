"""The Lepton jobs of a run, found by their labels: for `status` and `kill`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from snakemake_executor_plugin_lepton.client import (
    Found,
    Lepton,
    Missing,
    Service,
    ServiceError,
    patiently,
)
from snakemake_executor_plugin_lepton.spec import label_value
from snakemake_executor_plugin_lepton.states import Phase
from snakeval.executors.base import CannotAsk, Stopped
from snakeval.executors.lepton.resources import NAME
from snakeval.run_folder.jobs import Job, noted
from snakeval.run_folder.layout import RunPaths

PATIENCE = 45.0
"""Seconds that stopped jobs have to end by themselves: run.sh needs 20."""
DELETE_PATIENCE = 5.0
"""Seconds for which the deletion of a job is tried."""


def was_used(run: RunPaths) -> bool:
    """Whether a job of a run was ever created there; nobody is asked."""
    if next(run.dir.glob("*/logs/*/job.sh"), None):  # of one that is being created, or has failed
        return True
    return any(noted(file).get("on") == NAME for file in run.dir.glob("*/job.json"))


@contextmanager
def _asked() -> Iterator[None]:
    """What the service could not be asked is `CannotAsk`."""
    try:
        yield
    except ServiceError as error:
        raise CannotAsk(str(error)) from error


def connected() -> Service:
    """Raises ServiceError, also where the SDK is not installed."""
    try:
        return Lepton(timeout=10.0)
    except ImportError as error:
        raise ServiceError(f"the SDK of Lepton is not installed ({error.name})") from None


def jobs_of(run: RunPaths, service: Service) -> dict[str, list[Found]]:
    """The run's jobs by their tasks, the oldest first. Raises ServiceError."""
    found: dict[str, list[Found]] = {}
    jobs = service.find({"snakeval-run": label_value(run.id)})
    for job in sorted(jobs, key=lambda job: job.created):
        found.setdefault(job.labels.get("snakeval-task", ""), []).append(job)
    return found


def _tasks(run: RunPaths) -> dict[str, str]:
    """The run's tasks by their names as labels have them."""
    return {label_value(file.parent.name): file.parent.name for file in run.dir.glob("*/run.sh")}


def live_jobs(run: RunPaths) -> dict[str, Job]:
    """The live jobs of a run by task. Raises CannotAsk."""
    tasks = _tasks(run)
    with _asked():
        found = jobs_of(run, connected())
    return {
        tasks[label]: Job(
            id=jobs[-1].id,
            waiting=jobs[-1].phase is Phase.WAITING,
            reason=f"Lepton says {jobs[-1].state}" if jobs[-1].state else "not at work yet",
            where="Lepton",
            elapsed=max(0.0, time.time() - jobs[-1].created),
        )
        for label, jobs in found.items()
        if label in tasks and jobs[-1].phase.live
    }


def stop(run: RunPaths, wanted: Callable[[str], bool], service: Service | None = None) -> Stopped:
    """Stops and deletes the jobs of some tasks. Raises CannotAsk."""
    tasks = _tasks(run)
    with _asked():
        return _stop(run, lambda label: wanted(tasks.get(label, label)), service or connected())


def _stop(run: RunPaths, wanted: Callable[[str], bool], service: Service) -> Stopped:
    """wanted  asked with a task's name as a label has it"""
    ended: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE
    while True:
        here = {
            job.id: job
            for task, jobs in patiently(lambda: jobs_of(run, service)).items()
            for job in jobs
            if wanted(task)
        }
        over = time.monotonic() > deadline
        failed = {}
        for job in here.values():
            text = f"job {job.id} ({job.labels.get('snakeval-task', '?')})"
            try:
                if not job.phase.live or over:
                    patiently(lambda job=job: service.delete(job.id), DELETE_PATIENCE)  # type: ignore[misc]
                elif job.id not in ended:
                    service.stop(job.id)
                if job.phase.live:
                    ended.setdefault(job.id, text)
            except Missing:
                continue
            except ServiceError as error:
                failed[job.id] = f"{text}: {error}"
        if not any(job.phase.live for job in here.values()) or over:
            gone = [text for job, text in ended.items() if job not in failed]
            return Stopped(gone, [*failed.values()])
        time.sleep(0.5)
