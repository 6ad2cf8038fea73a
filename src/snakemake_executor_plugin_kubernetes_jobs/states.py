"""What a Job and its pods tell about how it is. Pure.

The fields are those of `batch/v1` Job and `v1` Pod, as the API server writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snakemake_executor_plugin_lepton.states import Phase

STUCK = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
        *("ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"),
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    }
)
"""Why a container waits, in the kubelet's words: it tries for ever, and seldom with success."""


@dataclass(frozen=True)
class Seen:
    """One look at a job.

    reason  why it waits or has failed, in the cluster's own words
    stuck   it waits for what seldom comes: its image, a key of a Secret
    """

    phase: Phase
    reason: str = ""
    stuck: bool = False


def seen(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> Seen:
    """How a job is."""
    status = job.get("status") or {}
    conditions = {
        each.get("type"): each
        for each in status.get("conditions") or []
        if each.get("status") == "True"
    }
    pods = list(pods)
    if (job.get("metadata") or {}).get("deletionTimestamp"):
        return Seen(Phase.ENDING)
    if "Complete" in conditions:
        return Seen(Phase.COMPLETED)
    if failed := conditions.get("Failed"):
        return Seen(Phase.FAILED, _joined([_said(failed), *map(_end_of, pods)]))
    if suspended := conditions.get("Suspended"):
        return Seen(Phase.WAITING, _said(suspended) or "Suspended")
    living = [pod for pod in pods if not ended(pod)]
    if any(_runs(pod) for pod in living) or (not pods and status.get("ready")):
        return Seen(Phase.RUNNING)
    waiting = [found for found in map(waiting_of, living) if found]
    if waiting:
        word, message = waiting[-1]
        return Seen(
            Phase.WAITING, _joined([f"{word}: {message}" if message else word]), word in STUCK
        )
    return Seen(Phase.WAITING)


def ended(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _runs(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"


def waiting_of(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a pod is not at work yet: a word and a message."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"]), str(waiting.get("message") or "")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("reason") or "not scheduled"), str(
                condition.get("message") or ""
            )
    return None


def _end_of(pod: Mapping[str, Any]) -> str:
    """What a pod says of its own end: OOMKilled, Evicted."""
    status = pod.get("status") or {}
    words = [
        str(ended["reason"])
        for container in status.get("containerStatuses") or []
        if (ended := (container.get("state") or {}).get("terminated") or {}).get("reason")
        and ended["reason"] != "Error"
    ]
    return _joined([_said(status), *words])


def _said(told: Mapping[str, Any]) -> str:
    return ": ".join(str(told[key]) for key in ("reason", "message") if told.get(key))


def _joined(texts: Iterable[str]) -> str:
    return " ".join("; ".join(dict.fromkeys(filter(None, texts))).split())[:400]
