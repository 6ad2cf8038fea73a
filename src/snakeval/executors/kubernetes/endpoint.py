"""The life of a model's server on Kubernetes: a Deployment behind a Service.

    python -m snakeval.executors.kubernetes.endpoint serve FOLDER    creates, watches, deletes it
    python -m snakeval.executors.kubernetes.endpoint sweep FOLDER    deletes what was left over

FOLDER is the deployment's. In it:

endpoint_spec.json  what to create; names, no secret's value
kubernetes.json     that they are there (or may be): written before they are created
address             the Service's URL, there while the Deployment has a ready pod
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from snakemake_executor_plugin_kubernetes_jobs.client import Kubernetes, in_words, understood
from snakemake_executor_plugin_kubernetes_jobs.states import STUCK, ended, waiting_of
from snakemake_executor_plugin_lepton.client import (
    Conflict,
    Missing,
    ServiceError,
    Unreachable,
    patiently,
)
from snakeval.executors.hosted_life import HostedServer, serve
from snakeval.executors.kubernetes.endpoint_spec import LABEL, SPEC
from snakeval.executors.kubernetes.jobs import connected
from snakeval.executors.kubernetes.places import NOTE, Place
from snakeval.job.files import read_json, write_atomically

POLL = float(os.environ.get("SNAKEVAL_KUBERNETES_POLL", "5"))
"""Seconds between two looks at the Deployment; the variable is for tests."""
PATIENCE = 120.0
"""Seconds for which a call is repeated."""
REFUSED_PATIENCE = 600.0
"""Seconds for which the API server may refuse to say anything of a server."""
STUCK_PATIENCE = 120 * POLL
"""Seconds for which an image, or a key of a Secret, may not be had."""
CRASHES = 3
"""So many ends of a container that was never ready, and the server will not come up."""
GONE = 3
"""Looks in a row that must not find the Deployment before it counts as gone."""
KINDS = {"service": "/api/v1", "deployment": "/apis/apps/v1"}
"""In the order in which they are deleted."""
T = TypeVar("T")


class GivenUp(ServiceError):
    """What was wanted cannot be had; why."""


class Endpoint(HostedServer):
    """The Deployment and the Service of a model's server. Both have one name for good, so that
    there is never a second one."""

    def __init__(self, folder: Path, place: Place | None = None) -> None:
        super().__init__(folder)
        self.wanted: dict[str, Any] = json.loads(
            (folder / "endpoint_spec.json").read_text(encoding="utf-8")
        )
        self.name = str(self.wanted["deployment"]["metadata"]["name"])
        self.cluster: Kubernetes = connected(place or place_of(folder, self.wanted))
        self._followed: set[str] = set()
        self._crashed_before = 0

    @property
    def reached(self) -> bool:
        return True

    def in_words(self, trouble: Exception) -> str:
        if isinstance(trouble, GivenUp) or not isinstance(trouble, ServiceError):
            return str(trouble) or type(trouble).__name__
        return in_words(trouble)

    @property
    def url(self) -> str:
        """The Service's DNS name, as pods of the cluster resolve it."""
        port = self.wanted["service"]["spec"]["ports"][0]["port"]
        return f"http://{self.name}.{self.cluster.namespace}.svc:{port}"

    # --- calls

    def _path(self, kind: str, name: str = "") -> str:
        path = f"{KINDS[kind]}/namespaces/{self.cluster.namespace}/{kind}s"
        return f"{path}/{name}" if name else path

    def _ask(self, call: Callable[[], T], what: str, ended: threading.Event | None = None) -> T:
        """Repeats a call for a while. Raises ServiceError."""
        try:
            return patiently(call, PATIENCE, ended)
        except Unreachable as error:
            raise GivenUp(f"{what}: Kubernetes does not answer as it should ({error})") from None

    def _get(self, kind: str) -> dict[str, Any] | None:
        """None: there is none."""
        try:
            answer = self.cluster.call("GET", self._path(kind, self.name))
        except Missing:
            return None
        return understood(lambda: {**answer, "metadata": dict(answer["metadata"])})

    def _seen(
        self, found: Mapping[str, Any] | None
    ) -> tuple[list[dict[str, Any]], tuple[str, bool, int]]:
        """The pods of a Deployment, and its `state_of`. Raises ServiceError."""
        pods = self.cluster.pods({LABEL: self.name}) if found else []
        return pods, understood(lambda: state_of(found or {}, pods))

    # --- creation

    def come_up(self) -> None:
        note = {**place_as_dict(self), "name": self.name}
        write_atomically(self.folder / NOTE, json.dumps(note, indent=1) + "\n")
        found = self._ask(lambda: self._get("deployment"), f"asking for {self.name}", self.ended)
        if found and _is_the_one(found, self.wanted["deployment"]):
            self.say(f"the Deployment {self.name} is there from an earlier start and taken over")
            self._crashed_before = self._ask(
                lambda: self._seen(found)[1][2], "asking for its pods", self.ended
            )
        elif found:
            self.say(f"the Deployment {self.name} is of an earlier config; it is replaced")
            self.sweep()
            write_atomically(self.folder / NOTE, json.dumps(note, indent=1) + "\n")
        for kind in ("deployment", "service"):
            self._create(kind)
        self.say(f"the Deployment {self.name} and its Service are there; waiting until it is ready")

    def _create(self, kind: str) -> None:
        """Creates one of them. Its name is ours: one that is there already is this one, whose
        answer was lost, or an earlier start's."""
        body = json.loads(json.dumps(self.wanted[kind]))
        body["metadata"]["namespace"] = self.cluster.namespace

        def attempt() -> None:
            with suppress(Conflict):
                self.cluster.call("POST", self._path(kind), {"fieldValidation": "Strict"}, body)

        try:
            self._ask(attempt, f"creating the {kind} {self.name}", self.ended)
        except GivenUp:
            raise
        except ServiceError as error:
            raise GivenUp(f"Kubernetes refuses the {kind} {self.name}: {error}") from error

    # --- looking at it

    def watch(self) -> None:
        was_ready, missed, last = False, 0, ""
        refused_since = stuck_since = 0.0
        while not self.ended.is_set():
            try:
                found = self._get("deployment")
                pods, (state, stuck, crashed) = self._seen(found)
            except Unreachable as trouble:  # nothing is known, and nothing concluded
                last = self.tell(in_words(trouble), last)
                self.ended.wait(max(POLL, trouble.wait))
                continue
            except ServiceError as error:
                refused_since = refused_since or time.monotonic()
                if time.monotonic() - refused_since > REFUSED_PATIENCE and not was_ready:
                    raise GivenUp(in_words(error)) from error
                last = self.tell(in_words(error), last)
                self._renew()
                self.ended.wait(POLL)
                continue
            refused_since = 0.0
            missed = missed + 1 if found is None else 0
            if missed >= GONE:
                raise GivenUp(f"the Deployment {self.name} is gone: somebody has deleted it")
            if found is not None:
                last = self.tell(f"{self.name}: {state}", last)
                self._follow(pods)
                is_ready = state == "ready"
                was_ready = was_ready or is_ready
                self._show(is_ready)
                stuck_since = (stuck_since or time.monotonic()) if stuck else 0.0
                if stuck and time.monotonic() - stuck_since > STUCK_PATIENCE:
                    raise GivenUp(f"could not be started: {state}")
                if crashed - self._crashed_before >= CRASHES and not was_ready:
                    raise GivenUp(f"ended {crashed} times before it was ready: {state}")
            self.ended.wait(POLL)

    def _show(self, is_ready: bool) -> None:
        """The address is there while the server is ready."""
        if not is_ready:
            self.address.unlink(missing_ok=True)
        elif not self.address.exists():
            write_atomically(self.address, self.url + "\n")

    def _renew(self) -> None:
        """Takes the credentials that are known here now: somebody may have logged in again."""
        with suppress(ServiceError):
            self.cluster.renew()

    # --- its log

    def _follow(self, pods: list[dict[str, Any]]) -> None:
        """Copies the log of every container that has started, to its end."""
        for pod in pods:
            with suppress(KeyError):  # one without a name has no log
                name = pod["metadata"]["name"]
                for status in (pod.get("status") or {}).get("containerStatuses") or []:
                    which = f"{name}/{status.get('restartCount', 0)}"
                    started = {"running", "terminated"} & (status.get("state") or {}).keys()
                    if started and which not in self._followed:
                        self._followed.add(which)
                        threading.Thread(target=self._copy, args=(name,), daemon=True).start()

    def _copy(self, pod: str) -> None:
        with suppress(Exception):  # the log is for people
            for text in self.cluster.follow(pod, self.ended):
                sys.stdout.write(text)
                sys.stdout.flush()

    # --- the end

    def sweep(self) -> None:
        """Deletes both, and waits until the pods have ended. Raises ServiceError."""
        self.address.unlink(missing_ok=True)
        deadline = time.monotonic() + PATIENCE
        for kind in KINDS:
            self._ask(lambda kind=kind: self._delete(kind), f"deleting the {kind} {self.name}")  # type: ignore[misc]
        while self._ask(lambda: self._get("deployment"), f"asking for {self.name}"):
            if time.monotonic() > deadline:
                raise GivenUp(
                    f"the Deployment {self.name} does not end: look, and delete it by hand: "
                    f"`kubectl -n {self.cluster.namespace} delete deployment {self.name}`"
                )
            time.sleep(min(1.0, POLL))
        self.say(f"the Deployment {self.name} and its Service are deleted")
        (self.folder / NOTE).unlink(missing_ok=True)

    def _delete(self, kind: str) -> None:
        with suppress(Missing):
            self.cluster.call(
                "DELETE", self._path(kind, self.name), {"propagationPolicy": "Foreground"}
            )


def _is_the_one(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    metadata = found.get("metadata") or {}
    noted = (metadata.get("annotations") or {}).get(SPEC)
    return not metadata.get("deletionTimestamp") and bool(
        noted == wanted["metadata"]["annotations"][SPEC]
    )


def state_of(deployment: Mapping[str, Any], pods: list[dict[str, Any]]) -> tuple[str, bool, int]:
    """How a Deployment is, in the cluster's own words; whether it waits for what seldom comes; how
    often its container has ended."""
    status = deployment.get("status") or {}
    living = [pod for pod in pods if not ended(pod)]
    crashed = max(
        (
            int(each.get("restartCount") or 0)
            for pod in living
            for each in (pod.get("status") or {}).get("containerStatuses") or []
        ),
        default=0,
    )
    if status.get("availableReplicas"):
        return "ready", False, crashed
    waiting = [found for found in map(waiting_of, living) if found]
    if waiting:
        word, message = waiting[-1]
        return (f"{word}: {message}" if message else word), word in STUCK, crashed
    for condition in status.get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return f"{condition.get('reason')}: {condition.get('message')}", False, crashed
    return "not ready yet" if living else "it has no pod yet", False, crashed


# --- where it is -----------------------------------------------------------------------------


def place_of(folder: Path, wanted: Mapping[str, Any]) -> Place:
    """The config's namespace; else that of the benchmarks' jobs, which the start has noted."""
    if wanted["namespace"]:
        return Place(wanted["context"], wanted["namespace"])
    noted = read_json(folder.parent.parent / NOTE).get("places")
    places = [each for each in noted if each.get("namespace")] if isinstance(noted, list) else []
    if not places:
        return Place(wanted["context"], "")
    return Place(str(places[-1].get("context") or ""), str(places[-1]["namespace"]))


def place_as_dict(endpoint: Endpoint) -> dict[str, str]:
    return {"context": endpoint.wanted["context"], "namespace": endpoint.cluster.namespace}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("serve", "sweep"))
    parser.add_argument("folder", type=Path, help="the deployment's")
    arguments = parser.parse_args()
    try:
        endpoint = Endpoint(arguments.folder)
        if arguments.command == "serve":
            return serve(endpoint)
        endpoint.sweep()
    except ServiceError as trouble:
        print(trouble)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
