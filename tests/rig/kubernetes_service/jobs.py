"""Jobs, their pods, and what the Job controller and the kubelet do with them."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..lepton_service.wire import Refused
from ..lepton_service.workloads import Machine, Workload

DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pod:
    """A pod; `why` keeps it from work, with the words of who says so."""

    name: str
    job: Job
    created: str = field(default_factory=now)
    node: bool = False
    why: tuple[str, str] | None = None
    workload: Workload | None = None
    disrupted: bool = False
    reason: str = ""

    @property
    def code(self) -> int | None:
        return self.workload.code() if self.workload else None

    @property
    def shown(self) -> dict[str, Any]:
        """As the API has it."""
        conditions: list[dict[str, str]] = []
        state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        phase = "Pending"
        if not self.node:
            word, message = self.why or ("", "")
            if word:
                conditions.append(
                    {"type": "PodScheduled", "status": "False", "reason": word, "message": message}
                )
        elif self.why:
            state = {"waiting": {"reason": self.why[0], "message": self.why[1]}}
        if self.workload:
            phase, state = "Running", {"running": {"startedAt": self.created}}
            if self.code is not None:
                phase = "Failed" if self.code else "Succeeded"
                reason = self.reason or ("Error" if self.code else "Completed")
                state = {"terminated": {"exitCode": self.code, "reason": reason}}
        if self.disrupted:
            conditions.append(DISRUPTED)
        status: dict[str, Any] = {"phase": phase, "conditions": conditions}
        if self.node:
            image = self.job.container["image"]
            status["containerStatuses"] = [
                {"name": "job", "image": image, "imageID": "", "ready": phase == "Running"}
                | {"restartCount": 0, "state": state}
            ]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "creationTimestamp": self.created,
                "labels": self.job.given["spec"]["template"]["metadata"]["labels"],
            },
            "spec": self.job.given["spec"]["template"]["spec"],
            "status": status,
        }


@dataclass
class Job:
    given: dict[str, Any]
    created: str = field(default_factory=now)
    pods: list[Pod] = field(default_factory=list)
    conditions: list[dict[str, str]] = field(default_factory=list)
    deleted: str = ""
    gone: bool = False

    @property
    def name(self) -> str:
        return str(self.given["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return self.given["metadata"].get("labels") or {}

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.given["spec"]["template"]["spec"]["containers"][0]
        return found

    @property
    def running(self) -> bool:
        return any(pod.workload and pod.code is None for pod in self.pods)

    @property
    def ended(self) -> bool:
        return bool(self.conditions)

    @property
    def shown(self) -> dict[str, Any]:
        metadata = {**self.given["metadata"], "creationTimestamp": self.created}
        if self.deleted:
            metadata["deletionTimestamp"] = self.deleted
        status: dict[str, Any] = {"conditions": self.conditions} if self.conditions else {}
        if self.running:
            status |= {"active": 1, "ready": 1}
        return {**self.given, "metadata": metadata, "status": status}


class Cluster:
    """What is in the namespace. `held`: no node has room; `no_image`: the registry's words."""

    def __init__(self, claims: dict[str, Path], engine: Any) -> None:
        self.machine = Machine({}, engine, {})
        self.claims = claims
        self.secrets: dict[str, dict[str, str]] = {}
        self.all: dict[str, Job] = {}
        self.created: list[Job] = []
        self.held = threading.Event()
        self.no_image = ""
        self.quota: int | None = None
        self.no_pods = ""
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._closed = threading.Event()

    @property
    def alive(self) -> list[Job]:
        return [job for job in self.all.values() if not job.ended]

    @property
    def running(self) -> list[Job]:
        return [job for job in self.all.values() if job.running]

    def close(self) -> None:
        self._closed.set()
        self.machine.close()

    # --- what is asked ---------------------------------------------------------------------------

    def create(self, given: dict[str, Any], dry_run: bool) -> dict[str, Any]:
        name = given["metadata"]["name"]
        with self.lock:
            if name in self.all:
                raise Refused(409, f'jobs.batch "{name}" already exists')
            if self.quota is not None and len(self.all) >= self.quota:
                raise Refused(
                    403,
                    f'jobs.batch "{name}" is forbidden: exceeded quota: jobs, requested: '
                    f"count/jobs.batch=1, used: count/jobs.batch={len(self.all)}, limited: "
                    f"count/jobs.batch={self.quota}",
                )
            job = Job(given)
            if not dry_run:
                self.all[name] = job
                self.created.append(job)
        if not dry_run:
            threading.Thread(target=self._control, args=(job,), daemon=True).start()
        return job.shown

    def delete(self, job: Job, foreground: bool) -> None:
        """The job is there until its pods have ended, or (background) gone at once."""
        with self.lock:
            if job.deleted:
                return
            job.deleted = now()
            if not foreground:
                self.all.pop(job.name, None)

    def events(self, job: str) -> list[dict[str, Any]]:
        if not self.no_pods or job not in self.all:
            return []
        return [{"type": "Warning", "reason": "FailedCreate", "message": self.no_pods}]

    # --- for tests -------------------------------------------------------------------------------

    def vanish(self, job: Job) -> None:
        """Gone, with what ran for it, and nobody says why."""
        with self.lock:
            job.gone = True
            self.all.pop(job.name, None)
        for pod in job.pods:
            if pod.workload:
                pod.workload.kill()

    def preempt(self, job: Job) -> None:
        """Its node is wanted for another: the pod is ended, and the controller makes another."""
        pod = job.pods[-1]
        assert pod.workload
        pod.disrupted = True
        pod.workload.kill()

    # --- the Job controller and the kubelet ------------------------------------------------------

    def _control(self, job: Job) -> None:
        """One pod after another, until the job has ended."""
        while not job.deleted and not job.gone and not self._closed.is_set():
            if self.no_pods:
                time.sleep(0.05)
                continue
            pod = Pod(f"{job.name}-{uuid.uuid4().hex[:5]}", job)
            job.pods.append(pod)
            self._run(pod)
            if job.deleted or job.gone:
                break
            if pod.disrupted and self._ignores_disruption(job):
                continue
            self._end(job, pod)
            break
        while not job.deleted and not job.gone and not self._closed.wait(0.02):
            pass
        for pod in job.pods:
            if pod.workload:
                pod.workload.stop(30)
        with self.lock:
            job.gone = True
            self.all.pop(job.name, None)

    @staticmethod
    def _ignores_disruption(job: Job) -> bool:
        rules = (job.given["spec"].get("podFailurePolicy") or {}).get("rules") or []
        return any(
            rule["action"] == "Ignore" and condition["type"] == "DisruptionTarget"
            for rule in rules
            for condition in rule.get("onPodConditions") or []
        )

    def _end(self, job: Job, pod: Pod) -> None:
        if pod.code == 0:
            job.conditions = [{"type": "Complete", "status": "True"}]
            return
        limit = job.given["spec"].get("backoffLimit", 6)
        assert limit == 0, "the controller of the rig tries nothing again"
        job.conditions = [
            {
                "type": "Failed",
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }
        ]

    def _run(self, pod: Pod) -> None:
        """A pod from its creation to the end of its container, as far as it comes."""
        job = pod.job
        while not pod.workload and not job.deleted and not job.gone and not self._closed.is_set():
            if self.held.is_set() and not pod.node:
                pod.why = ("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")
            elif self.no_image:
                pod.node, pod.why = True, ("ImagePullBackOff", self.no_image)
            else:
                pod.node = True
                try:
                    variables = self._variables(job)
                except KeyError as error:
                    pod.why = ("CreateContainerConfigError", str(error.args[0]))
                else:
                    pod.why = None
                    pod.workload = self.machine.start(
                        job.container["image"],
                        job.container["command"],
                        self._mounts(job),
                        variables,
                    )
                    break
            time.sleep(0.05)
        if not pod.workload:
            return
        while pod.workload.wait(0.05) is None and not job.deleted and not job.gone:
            pass

    def _variables(self, job: Job) -> dict[str, str]:
        found = {}
        for variable in job.container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if not reference:
                found[variable["name"]] = variable.get("value", "").replace("$$", "$")
                continue
            secret = self.secrets.get(reference["name"])
            if secret is None:
                raise KeyError(f'secret "{reference["name"]}" not found')
            if reference["key"] not in secret:
                raise KeyError(f"couldn't find key {reference['key']} in Secret")
            found[variable["name"]] = secret[reference["key"]]
        return found

    def _mounts(self, job: Job) -> list[tuple[Path, str]]:
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in job.given["spec"]["template"]["spec"]["volumes"]
        }
        return [
            (self.claims[claims[mount["name"]]] / mount.get("subPath", ""), mount["mountPath"])
            for mount in job.container.get("volumeMounts") or []
        ]
