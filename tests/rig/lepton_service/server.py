"""The server: routes, the token, faults."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from ..docker_engine import DockerEngine
from .deployments import Deployments
from .faults import Faults
from .jobs import Jobs
from .wire import Refused, Request, Response, Route
from .workloads import Machine
from .workspace import Workspace

PREFIX = "/api/v2/workspaces/"


@dataclass
class LeptonService:
    """The service; it listens from enter to exit, and ends what it runs at exit.

    volumes      what a mount's `from` may name -> the folder that stands for that storage
    engine       runs containers; without one the commands run as processes on this machine, and
                 only mounts at the folder's own path are possible
    secrets      the workspace's secrets: what `secret_name_ref` may name
    node_groups  name -> id
    new_deployment_api  what /workspace says
    """

    volumes: dict[str, Path] = field(default_factory=dict)
    engine: DockerEngine | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    node_groups: dict[str, str] = field(default_factory=dict)
    new_deployment_api: bool = False
    workspace: str = "ws"
    token: str = "rig-token"

    def __post_init__(self) -> None:
        self.faults = Faults()
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.secrets_made: list[str] = []
        self.machine = Machine(self.volumes, self.engine, self.secrets)
        self.jobs = Jobs(self.machine)
        self.deployments = Deployments(self.machine, self.new_deployment_api)
        self.routes: list[Route] = [
            *Workspace(self).routes(),
            *self.jobs.routes(),
            *self.deployments.routes(),
        ]
        self._server: ThreadingHTTPServer | None = None

    # --- what a client is told -------------------------------------------------------------------

    @property
    def port(self) -> int:
        assert self._server
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}{self.workspace}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the SDK reads."""
        return {
            "LEPTON_WORKSPACE_ID": self.workspace,
            "LEPTON_WORKSPACE_TOKEN": self.token,
            "LEPTON_WORKSPACE_URL": self.url,
        }

    def called(self, method: str, pattern: str) -> int:
        """How many requests of a kind have come."""
        return sum(
            said == method and re.search(pattern, path) is not None for said, path in self.calls
        )

    # --- its life --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server
        self._server.shutdown()
        self._server.server_close()
        self.jobs.close()
        self.deployments.close()
        self.machine.close()

    def answer(self, request: Request) -> Response:
        """Raises Refused."""
        for route in self.routes:
            match = re.fullmatch(route.pattern, request.path)
            if match and route.method == request.method:
                words = tuple(match.groups())
                return route.answer(
                    Request(request.method, request.path, request.query, request.body, words)
                )
        raise Refused(404, f"{request.method} {request.path} is not known")


def _handler(service: LeptonService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            base = f"{PREFIX}{service.workspace}"
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = parts.path.removeprefix(base)
            service.calls.append((self.command, path))
            if body:
                service.bodies.append(body)
            fault = service.faults.of(self.command, path)
            if fault and fault.drop == "request":
                self._cut()
                return
            if fault and (fault.status or fault.body is not None):
                time.sleep(fault.delay)
                extra = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                self._send(fault.status or 200, fault.body or b'{"message": "a fault"}', extra)
                return
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            try:
                if self.headers.get("Authorization") != f"Bearer {service.token}":
                    raise Refused(401, "no such token")
                if not parts.path.startswith(base):
                    raise Refused(404, "no such workspace")
                response = service.answer(Request(self.command, path, query, body))
            except Refused as refusal:
                response = Response({"message": str(refusal)}, status=refusal.status)
            if fault:
                time.sleep(fault.delay)
                if fault.drop:
                    self._cut()
                    return
            self._send(response.status, response.bytes, {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            with contextlib.suppress(OSError):  # the client has left
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def _cut(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(2)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

    return Handler
