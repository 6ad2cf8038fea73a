"""Deployments and Services: a controller that keeps one pod up, a kubelet that asks whether it is
ready. Pods are processes of this machine; jobs' containers find them by the Service's name.
"""

from __future__ import annotations

import threading
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import Any

from ..lepton_service.wire import Refused
from ..lepton_service.workloads import Machine, Workload

TICK = 0.05


@dataclass
class Deployment:
    """`why` keeps its pod from work, with the words of who says so."""

    given: dict[str, Any]
    pod: str = ""
    workload: Workload | None = None
    restarts: int = 0
    ready: bool = False
    why: tuple[str, str] | None = None
    deleting: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return str(self.given["metadata"]["name"])

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.given["spec"]["template"]["spec"]["containers"][0]
        return found

    @property
    def shown(self) -> dict[str, Any]:
        metadata = dict(self.given["metadata"])
        if self.deleting.is_set():
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        status = {"replicas": 1, **({"availableReplicas": 1} if self.ready else {})}
        return {**self.given, "metadata": metadata, "status": status}

    @property
    def shown_pod(self) -> dict[str, Any]:
        state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        conditions: list[dict[str, str]] = []
        if self.why and self.why[0] == "Unschedulable":
            word, message = self.why
            conditions = [
                {"type": "PodScheduled", "status": "False", "reason": word, "message": message}
            ]
        elif self.why:
            state = {"waiting": {"reason": self.why[0], "message": self.why[1]}}
        elif self.workload:
            state = {"running": {}}
        statuses = [{"name": "server", "restartCount": self.restarts, "state": state}]
        return {
            "metadata": {
                "name": self.pod,
                "labels": self.given["spec"]["template"]["metadata"]["labels"],
            },
            "status": {
                "phase": "Running" if self.workload else "Pending",
                "conditions": conditions,
                "containerStatuses": [] if conditions else statuses,
            },
        }


class Deployments:
    """Those of one namespace. `why`: what keeps every pod from work."""

    def __init__(self, namespace: str, secrets: dict[str, dict[str, str]]) -> None:
        self.machine = Machine({}, None, {})
        self.namespace, self.secrets = namespace, secrets
        self.all: dict[str, Deployment] = {}
        self.created: list[Deployment] = []
        self.services: dict[str, dict[str, Any]] = {}
        self.why: tuple[str, str] | None = None
        self._lock = threading.RLock()
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()
        self.machine.close()

    def names(self) -> list[str]:
        """The DNS names of the Services."""
        return [f"{name}.{self.namespace}.svc" for name in self.services]

    def create(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        name = given["metadata"]["name"]
        with self._lock:
            if name in (self.all if kind == "deployments" else self.services):
                raise Refused(409, f'{kind} "{name}" already exists')
            if kind == "services":
                self.services[name] = given
                return given
            deployment = self.all[name] = Deployment(given)
            self.created.append(deployment)
        threading.Thread(target=self._control, args=(deployment,), daemon=True).start()
        return deployment.shown

    def get(self, kind: str, name: str) -> dict[str, Any]:
        with self._lock:
            if kind == "services" and name in self.services:
                return self.services[name]
            if kind == "deployments" and name in self.all:
                return self.all[name].shown
        raise Refused(404, f'{kind} "{name}" not found')

    def delete(self, kind: str, name: str) -> dict[str, Any]:
        """A Deployment stays until its pod has ended."""
        with self._lock:
            self.get(kind, name)
            if kind == "services":
                self.services.pop(name)
            else:
                self.all[name].deleting.set()
        return {"kind": "Status", "status": "Success"}

    def pods(self, query: dict[str, str]) -> list[dict[str, Any]]:
        text = query.get("labelSelector", "")
        wanted = dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
        with self._lock:
            shown = [each.shown_pod for each in self.all.values() if each.pod]
        return [pod for pod in shown if wanted.items() <= pod["metadata"]["labels"].items()]

    def log(self, pod: str) -> bytes | None:
        """None: no pod of a Deployment."""
        for each in list(self.all.values()):
            if each.pod == pod:
                return each.workload.log if each.workload else b""
        return None

    # --- the controller and the kubelet ----------------------------------------------------------

    def _control(self, deployment: Deployment) -> None:
        deployment.pod = f"{deployment.name}-{uuid.uuid4().hex[:5]}"
        while not deployment.deleting.wait(TICK) and not self._closed.is_set():
            deployment.why = self.why
            if self.why:
                continue
            if deployment.workload is None:
                deployment.workload = self._started(deployment)
            elif (code := deployment.workload.code()) is not None:
                deployment.ready = False
                deployment.restarts += 1
                deployment.why = ("CrashLoopBackOff", f"back-off restarting: exit code {code}")
                if deployment.deleting.wait(10 * TICK):
                    break
                deployment.workload = self._started(deployment)
            deployment.ready = self._is_ready(deployment)
        if deployment.workload:
            deployment.workload.stop(30)
        with self._lock:
            self.all.pop(deployment.name, None)

    def _started(self, deployment: Deployment) -> Workload:
        container = deployment.container
        variables = {}
        for each in container["env"]:
            reference = (each.get("valueFrom") or {}).get("secretKeyRef")
            value = (
                self.secrets[reference["name"]][reference["key"]]
                if reference
                else each.get("value", "").replace("$$", "$")
            )
            variables[each["name"]] = value
        command = [word.replace("$$", "$") for word in container["command"]]
        return self.machine.start(container["image"], command, (), variables)

    @staticmethod
    def _is_ready(deployment: Deployment) -> bool:
        probe = deployment.container["readinessProbe"]["httpGet"]
        try:
            url = f"http://127.0.0.1:{probe['port']}{probe['path']}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
