"""The Lepton jobs of a run, found by their labels: for `status`, `kill` and the sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

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
from snakeval.executors.slurm.queue import Job
from snakeval.executors.slurm.resources import notation
from snakeval.run_folder.layout import RunPaths

PATIENCE = 45.0
"""Seconds that stopped jobs have to end by themselves: run.sh needs 20."""
DELETE_PATIENCE = 5.0
"""Seconds for which the deletion of a job is tried."""


def is_on_lepton(run: RunPaths) -> bool:
    """Whether a job of a run was ever created there; nobody is asked."""
    if next(run.dir.glob("*/logs/*/job.sh"), None):  # of one that is being created, or has failed
        return True
    for file in run.dir.glob("*/job.json"):
        try:
            if json.loads(file.read_text(encoding="utf-8")).get("on") == "lepton":
                return True
        except (OSError, ValueError, AttributeError):
            continue
    return False


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


def live_jobs(run: RunPaths, service: Service) -> dict[str, Job]:
    """The live jobs of a run by task, in the words of the status table. Raises ServiceError."""
    tasks = {label_value(file.parent.name): file.parent.name for file in run.dir.glob("*/run.sh")}
    return {
        tasks[label]: Job(
            id=jobs[-1].id,
            state="PENDING" if jobs[-1].phase is Phase.WAITING else "RUNNING",
            reason="it is not at work yet",
            nodes="Lepton",
            elapsed=notation(max(0.0, time.time() - jobs[-1].created)),
            name=jobs[-1].name,
            script=run.task(tasks[label]).script,
        )
        for label, jobs in jobs_of(run, service).items()
        if label in tasks and jobs[-1].phase.live
    }


def stop_jobs(
    run: RunPaths, wanted: Callable[[str], bool], service: Service | None = None
) -> tuple[list[str], list[str]]:
    """Stops and deletes the jobs of some tasks; what was ended, and what is left.

    wanted  asked with a task's name as a label has it
    Raises ServiceError where the service cannot be asked at all.
    """
    service = service or connected()
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
            return [text for job, text in ended.items() if job not in failed], [*failed.values()]
        time.sleep(0.5)
