"""The Jobs of a run, found by their labels: for `status` and `kill`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from snakemake_executor_plugin_kubernetes_jobs.client import Kubernetes
from snakemake_executor_plugin_kubernetes_jobs.executor import STOP_PATIENCE
from snakemake_executor_plugin_lepton.client import (
    Found,
    Missing,
    ServiceError,
    Unreachable,
    patiently,
)
from snakemake_executor_plugin_lepton.spec import label_value
from snakemake_executor_plugin_lepton.states import Phase
from snakeval.executors.base import CannotAsk, Stopped
from snakeval.executors.kubernetes.places import Place, places_of
from snakeval.run_folder.jobs import Job
from snakeval.run_folder.layout import RunPaths

TIMEOUT = 10.0
"""Seconds that a call may take while a person waits."""


@contextmanager
def _asked() -> Iterator[None]:
    """What the cluster could not be asked is `CannotAsk`."""
    try:
        yield
    except ServiceError as error:
        raise CannotAsk(str(error)) from error


def connected(place: Place) -> Kubernetes:
    """Raises ServiceError, also where the client is not installed."""
    try:
        return Kubernetes(place.context, place.namespace, TIMEOUT)
    except ImportError as error:
        raise ServiceError(
            f"the client of Kubernetes is not installed ({error.name}): "
            "pip install -e '.[kubernetes]'"
        ) from None


def _jobs_of(run: RunPaths, cluster: Kubernetes) -> list[Found]:
    """The run's jobs, the oldest first. Raises ServiceError."""
    found = patiently(lambda: cluster.find({"snakeval-run": label_value(run.id)}), TIMEOUT)
    return sorted(found, key=lambda job: job.created)


def _tasks(run: RunPaths) -> dict[str, str]:
    """The run's tasks by their names as labels have them."""
    return {label_value(file.parent.name): file.parent.name for file in run.dir.glob("*/run.sh")}


def live_jobs(run: RunPaths) -> dict[str, Job]:
    """The live jobs of a run by task. Raises CannotAsk."""
    tasks = _tasks(run)
    found: dict[str, Job] = {}
    with _asked():
        for place in places_of(run):
            cluster = connected(place)
            for job in _jobs_of(run, cluster):
                task = tasks.get(job.labels.get("snakeval-task", ""))
                if task and job.phase.live and (live := _live(job, cluster)):
                    found[task] = live
    return found


def _live(job: Found, cluster: Kubernetes) -> Job | None:
    """A job as its pods say; None: it has gone meanwhile."""
    try:
        seen = cluster.look(job.id)
    except Missing:
        return None
    waiting = seen.phase is Phase.WAITING
    return Job(
        id=job.id,
        waiting=waiting,
        reason=(seen.reason or "it has no pod at work yet") if waiting else "",
        where=f"Kubernetes, namespace {cluster.namespace}",
        elapsed=max(0.0, time.time() - job.created),
    )


def stop(run: RunPaths, wanted: Callable[[str], bool]) -> Stopped:
    """Deletes the jobs of some tasks, and waits until their pods have ended. Raises CannotAsk."""
    stopped = Stopped()
    with _asked():
        for place in places_of(run):
            each = _stop(run, wanted, connected(place))
            stopped.ended += each.ended
            stopped.left += each.left
    return stopped


def _stop(run: RunPaths, wanted: Callable[[str], bool], cluster: Kubernetes) -> Stopped:
    tasks = _tasks(run)
    ended: dict[str, str] = {}
    deadline = time.monotonic() + STOP_PATIENCE
    while True:
        here = {}
        for job in _jobs_of(run, cluster):
            label = job.labels.get("snakeval-task", "")
            if wanted(tasks.get(label, label)):
                here[job.id] = job
        failed: dict[str, str] = {}
        for job in here.values():
            text = f"job {job.id} ({job.labels.get('snakeval-task', '?')})"
            if job.phase is not Phase.ENDING:
                _delete(job, cluster, text, failed)
            if job.phase.live:
                ended.setdefault(job.id, text)
        if not here or time.monotonic() > deadline:
            left = {job: f"{text}: it does not end" for job, text in ended.items() if job in here}
            left |= failed
            return Stopped(
                [text for job, text in ended.items() if job not in left], [*left.values()]
            )
        time.sleep(0.5)


def _delete(job: Found, cluster: Kubernetes, text: str, failed: dict[str, str]) -> None:
    try:
        cluster.delete(job.id)
    except (Missing, Unreachable):  # gone, or asked again in the next round
        return
    except ServiceError as error:
        failed[job.id] = f"{text}: {error}"


__all__ = ["live_jobs", "stop"]
