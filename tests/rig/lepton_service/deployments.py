"""/deployments and /endpoints: created, walked through the states, really run, deleted.

The newer family (/endpoints) has a wire format of its own, which the SDK translates; this module
translates it back with the SDK's own functions, and refuses what they would have lost.
"""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from leptonai.api.v2 import translation
from leptonai.api.v2.types.deployment import (
    DeploymentEndpoint,
    LeptonDeployment,
    LeptonDeploymentState,
    LeptonDeploymentStatus,
)
from leptonai.api.v2.types.readiness import ReplicaReadinessIssue, ReplicaReadinessReason

from .gateway import Gateway
from .wire import Refused, Request, Response, Route, dumped, parse
from .workloads import Machine, Workload

State = LeptonDeploymentState
TO_NEWER = {"Not Ready": "NotReady"}
CRASHES = 3
"""Starts in a row after which an endpoint is in the state Error."""


@dataclass
class Deployment:
    """An endpoint and what runs for it. `shown` overrides the state that clients see."""

    given: LeptonDeployment
    mounts: list[tuple[Any, str]]
    variables: dict[str, str]
    command: list[str]
    port: int
    gateway: Gateway | None = None
    state: LeptonDeploymentState = State.Starting
    shown: str | None = None
    issue: str = ""
    workloads: list[Workload] = field(default_factory=list)
    may_start: threading.Event = field(default_factory=threading.Event)
    may_go: threading.Event = field(default_factory=threading.Event)
    deleted: bool = False

    @property
    def name(self) -> str:
        return str(self.given.metadata.name)

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Deployments:
    """The endpoints of the workspace; `created` has the deleted ones too.

    A container's port is the one that its command listens at on this machine: where the command
    holds the port of the spec, a free one takes its place, so that endpoints do not collide.
    """

    def __init__(self, machine: Machine, newer: bool) -> None:
        self._machine = machine
        self._family = "/endpoints" if newer else "/deployments"
        self._newer = newer
        self._lock = threading.RLock()
        self.all: dict[str, Deployment] = {}
        self.created: list[Deployment] = []
        self.held = False
        self.lingering = False

    def routes(self) -> list[Route]:
        one = f"{self._family}/([^/]+)"
        found = [
            Route("POST", self._family, self._create),
            Route("GET", self._family, self._list),
            Route("GET", one, self._get),
            Route("DELETE", one, self._delete),
            Route("GET", f"{one}/replicas", self._replicas),
            Route("GET", f"{one}/replicas/([^/]+)/log", self._log),
            Route("GET", f"{one}/events", self._events),
        ]
        if not self._newer:  # the newer family has none
            found.append(Route("GET", f"{one}/readiness", self._readiness))
        return found

    def close(self) -> None:
        for each in list(self.all.values()):
            self._end(each)

    # --- for tests -------------------------------------------------------------------------------

    @property
    def alive(self) -> list[Deployment]:
        """Those that cost something."""
        return [each for each in self.all.values() if not each.deleted]

    def hold(self) -> None:
        """Endpoints that are created from now on wait for capacity until `release`."""
        self.held = True

    def release(self) -> None:
        self.held = False
        for each in self.all.values():
            each.may_start.set()

    def linger(self) -> None:
        """What is deleted from now on stays in the state Deleting until `go`."""
        self.lingering = True

    def go(self) -> None:
        self.lingering = False
        for each in list(self.all.values()):
            each.may_go.set()

    def crash(self, deployment: Deployment) -> None:
        """Its replica dies; the service starts another one."""
        deployment.workloads[-1].kill()

    def vanish(self, deployment: Deployment) -> None:
        """Gone, and nobody says why."""
        with self._lock:
            self.all.pop(deployment.name, None)
        self._end(deployment)

    # --- routes ----------------------------------------------------------------------------------

    def _create(self, request: Request) -> Response:
        given = self._parsed(request)
        name = (given.metadata.name or given.metadata.id_) if given.metadata else None
        if not name or not re.fullmatch("[a-z][a-z0-9-]{0,35}", name):
            raise Refused(400, f"'{name}' is no name of an endpoint")
        spec = given.spec
        container = spec.container
        if not container or not container.image or not spec.resource_requirement:
            raise Refused(400, "container.image and resource_requirement are needed")
        if not spec.resource_requirement.resource_shape:
            raise Refused(400, "resource_requirement.resource_shape is needed")
        for token in spec.api_tokens or []:
            named = token.value_from and token.value_from.token_name_ref
            if named and named not in self._machine.secrets:
                raise Refused(400, f"token '{named}' is not in this workspace")
        wanted = container.ports[0].container_port if container.ports else 40000
        port = _free_port()
        made = Deployment(
            given,
            self._machine.mounts(spec.mounts or []),
            self._machine.variables(spec.envs or []),
            [re.sub(rf"\b{wanted}\b", str(port), word) for word in container.command or []],
            port,
        )
        with self._lock:
            if name in self.all:
                raise Refused(409, f"an endpoint {name} exists")
            made.gateway = Gateway(lambda: made.server, lambda: self._tokens(given))
            given.metadata.id_ = given.metadata.name = name
            given.metadata.created_at = int(time.time() * 1000)
            self.all[name] = made
            self.created.append(made)
        if not self.held:
            made.may_start.set()
        threading.Thread(target=self._walk, args=(made,), daemon=True).start()
        return Response(self._shown(made), status=201)

    def _tokens(self, given: LeptonDeployment) -> list[str]:
        """The values that an endpoint lets in now."""
        return [
            self._machine.secrets.get(each.value_from.token_name_ref, "")
            if each.value_from
            else str(each.value)
            for each in given.spec.api_tokens or []
        ]

    def _parsed(self, request: Request) -> LeptonDeployment:
        """The body as the older family has it. Raises Refused."""
        if not self._newer:
            return request.parsed(LeptonDeployment)
        try:
            older = translation.http_endpoint_to_legacy(request.json)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Refused(400, f"no endpoint: {error}") from None
        older.pop("status", None)
        given = parse(LeptonDeployment, older)
        again = translation.legacy_to_http_endpoint(older)
        if again != request.json:
            raise Refused(400, f"fields that nobody knows: {request.json} is not {again}")
        return given

    def _list(self, _: Request) -> Response:
        with self._lock:
            return Response([self._shown(each) for each in self.all.values()])

    def _get(self, request: Request) -> Response:
        return Response(self._shown(self._found(request)))

    def _delete(self, request: Request) -> Response:
        found = self._found(request)
        found.deleted = True
        threading.Thread(target=self._remove, args=(found,), daemon=True).start()
        return Response({})

    def _replicas(self, request: Request) -> Response:
        found = self._found(request)
        ids = [f"{found.name}-{number}" for number, _ in enumerate(found.workloads)]
        return Response([{"id": id_, "metadata": {"id": id_}} for id_ in ids])

    def _log(self, request: Request) -> Response:
        found = self._found(request)
        number = request.words[1].rpartition("-")[2]
        if not number.isdigit() or int(number) >= len(found.workloads):
            raise Refused(404, "no such replica")
        return Response(body=found.workloads[int(number)].log)

    def _events(self, request: Request) -> Response:
        self._found(request)
        return Response([])

    def _readiness(self, request: Request) -> Response:
        found = self._found(request)
        if not found.issue:
            return Response({})
        issue = ReplicaReadinessIssue(
            reason=ReplicaReadinessReason.NoCapacity, message=found.issue, creationTimestamp=""
        )
        return Response({f"{found.name}-0": [dumped(issue)]})

    def _found(self, request: Request) -> Deployment:
        found = self.all.get(request.words[0])
        if found is None:
            raise Refused(404, f"no endpoint {request.words[0]}")
        return found

    def _shown(self, each: Deployment) -> Any:
        """As a client sees it: secrets stay names."""
        url = each.gateway.url if each.gateway else ""
        phase = "Deleting" if each.deleted else each.shown or each.state.value
        content: dict[str, Any] = dumped(each.given)
        if self._newer:
            shown = translation.legacy_to_http_endpoint(content)
            shown["metadata"]["created_at"] = each.given.metadata.created_at
            shown["status"] = {"state": TO_NEWER.get(phase, phase), "external_url": url}
            return shown
        endpoint = DeploymentEndpoint(internal_endpoint="", external_endpoint=url)
        # The older API hides these two from clients that do not know them.
        state = "Not Ready" if phase in ("Stopping", "Stopped") else phase
        status = LeptonDeploymentStatus(state=State.Ready, endpoint=endpoint)
        return {**content, "status": {**dumped(status), "state": state, "phase": phase}}

    # --- what happens to an endpoint -------------------------------------------------------------

    def _walk(self, each: Deployment) -> None:
        each.issue = "" if each.may_start.is_set() else "no free node of this shape"
        each.may_start.wait()
        each.issue = ""
        crashes = 0
        while not each.deleted and crashes < CRASHES:
            image = str(each.given.spec.container.image)
            # Without a command the image would start itself; without an engine nothing can.
            workload = self._machine.start(image, each.command, each.mounts, each.variables)
            each.workloads.append(workload)
            while workload.wait(0.1) is None and not each.deleted:
                if each.state != State.Ready and _answers(each.server):
                    each.state, crashes = State.Ready, 0
            crashes += 1
            if not each.deleted:
                each.state = State.NotReady
        if not each.deleted:
            each.state = State.Error

    def _end(self, each: Deployment) -> None:
        each.deleted = True
        each.may_start.set()
        for workload in each.workloads:
            workload.kill()
        if each.gateway:
            each.gateway.close()
            each.gateway = None

    def _remove(self, each: Deployment) -> None:
        self._end(each)
        if self.lingering:
            each.may_go.wait()
        with self._lock:
            self.all.pop(each.name, None)


def _answers(url: str) -> bool:
    """Whether somebody speaks HTTP there."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1)
    except urllib.request.HTTPError:
        return True
    except (OSError, HTTPException):
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
