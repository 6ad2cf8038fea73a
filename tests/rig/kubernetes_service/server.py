"""The server: routes, the token, faults, and the kubeconfig that leads to it."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from ..docker_engine import DockerEngine
from ..lepton_service.faults import Faults
from ..lepton_service.wire import Refused
from .deployments import Deployments
from .jobs import Cluster, Job
from .types import checked, checked_job

REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}
REASONS |= {409: "AlreadyExists", 422: "Invalid", 429: "TooManyRequests"}


class KubernetesService:
    """The cluster with one namespace; it listens from enter to exit, and ends what it runs at exit.

    claims  volume claims -> the folder that stands for each
    engine  runs containers; without one the commands run as processes on this machine
    """

    def __init__(
        self,
        claims: dict[str, Path],
        engine: DockerEngine | None = None,
        namespace: str = "evals",
        token: str = "rig-token",
    ) -> None:
        self.namespace, self.token = namespace, token
        self.cluster = Cluster(claims, engine)
        self.deployments = Deployments(namespace, self.cluster.secrets)
        self.cluster.machine.hosts = self.deployments.names
        self.faults = Faults()
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.forbidden: set[str] = set()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._folder = tempfile.TemporaryDirectory()
        self.kubeconfig = Path(self._folder.name) / "config"
        self.kubeconfig.write_text(json.dumps(self._config()))
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cluster.close()
        self.deployments.close()
        self._folder.cleanup()

    def _config(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        names = {"cluster": "rig", "user": "rig", "namespace": self.namespace}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "rig",
            "clusters": [{"name": "rig", "cluster": {"server": address}}],
            "users": [{"name": "rig", "user": {"token": self.token}}],
            "contexts": [{"name": "rig", "context": names}],
        }

    @property
    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig)}

    def called(self, method: str, pattern: str) -> int:
        """How many requests of a kind have come."""
        return sum(
            said == method and re.search(pattern, path) is not None for said, path in self.calls
        )

    # --- answers ---------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        """Raises Refused."""
        match = re.fullmatch(
            r"/(?:apis/batch/v1|apis/apps/v1|api/v1)/namespaces/([^/]+)/(\w+)(?:/([^/]+))?(/log)?",
            path,
        )
        if not match:
            raise Refused(404, "the server could not find the requested resource")
        namespace, kind, name, log = match.groups()
        if kind in self.forbidden:
            raise Refused(
                403,
                f'{kind} is forbidden: User "rig" cannot use resource "{kind}" in API group "" in '
                f'the namespace "{namespace}"',
            )
        if namespace != self.namespace:
            raise Refused(404, f'namespaces "{namespace}" not found')
        return self._of(method, kind, name, bool(log), query, body)

    def _of(
        self,
        method: str,
        kind: str,
        name: str | None,
        log: bool,
        query: dict[str, str],
        body: bytes,
    ) -> Any:
        if (method, kind, name) == ("POST", "jobs", None):
            job = checked_job(json.loads(body), query.get("fieldValidation") == "Strict")
            return self.cluster.create(job, query.get("dryRun") == "All")
        if method == "DELETE" and kind == "jobs" and name:
            self.cluster.delete(self._job(name), query.get("propagationPolicy") == "Foreground")
            return {"kind": "Status", "status": "Success"}
        if kind in ("deployments", "services"):
            return self._of_server(method, kind, name, query, body)
        if method != "GET":
            raise Refused(405, "the server does not allow this method on the requested resource")
        if kind == "jobs":
            return self._job(name).shown if name else self._listed("JobList", self._jobs(query))
        if kind == "pods" and name and log:
            return self._log(name)
        if kind == "pods" and not name:
            return self._listed("PodList", self._pods(query))
        if kind == "events":
            found = dict(pair.split("=") for pair in query["fieldSelector"].split(","))
            return self._listed("EventList", self.cluster.events(found["involvedObject.name"]))
        if kind == "secrets" and name in self.cluster.secrets:
            return {
                "kind": "Secret",
                "data": dict.fromkeys(self.cluster.secrets[str(name)], "eA=="),
            }
        if kind == "persistentvolumeclaims" and name in self.cluster.claims:
            return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}}
        raise Refused(404, f'{kind} "{name}" not found')

    def _of_server(
        self, method: str, kind: str, name: str | None, query: dict[str, str], body: bytes
    ) -> Any:
        if method == "POST" and name is None:
            strict = query.get("fieldValidation") == "Strict"
            content = checked(json.loads(body), f"V1{kind[:-1].title()}", strict)
            return self.deployments.create(kind, content)
        if name and method == "DELETE":
            return self.deployments.delete(kind, name)
        if name and method == "GET":
            return self.deployments.get(kind, name)
        raise Refused(405, "the server does not allow this method on the requested resource")

    def _job(self, name: str) -> Job:
        job = self.cluster.all.get(name)
        if job is None:
            raise Refused(404, f'jobs.batch "{name}" not found')
        return job

    @staticmethod
    def _listed(kind: str, items: list[Any]) -> dict[str, Any]:
        return {"kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}

    def _jobs(self, query: dict[str, str]) -> list[Any]:
        with self.cluster.lock:
            return [job.shown for job in self.cluster.all.values() if _chosen(job, query)]

    def _pods(self, query: dict[str, str]) -> list[Any]:
        with self.cluster.lock:
            jobs = [job for job in self.cluster.all.values() if _chosen(job, query)]
        found = [pod.shown for job in jobs for pod in list(job.pods)]
        return found + self.deployments.pods(query)

    def _log(self, name: str) -> bytes:
        if (found := self.deployments.log(name)) is not None:
            return found
        for job in list(self.cluster.all.values()):
            for pod in job.pods:
                if pod.name == name and pod.workload:
                    return pod.workload.log
        raise Refused(404, f'pods "{name}" not found')


def _chosen(job: Job, query: dict[str, str]) -> bool:
    text = query.get("labelSelector", "")
    wanted = dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
    return wanted.items() <= job.labels.items()


def status_of(refusal: Refused) -> dict[str, Any]:
    """An error, as the API has it."""
    reason = REASONS.get(refusal.status, "InternalError")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": str(refusal),
        "reason": reason,
        "code": refusal.status,
    }


def _handler(service: KubernetesService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            service.calls.append((self.command, parts.path))
            if body:
                service.bodies.append(body)
            fault = service.faults.of(self.command, parts.path)
            if fault and (fault.status or fault.body is not None):
                status = fault.status or 200
                said = json.dumps(status_of(Refused(status, "a fault of the rig"))).encode()
                told = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                self._send(status, said if fault.body is None else fault.body, told)
                return
            if fault and fault.drop == "request":
                self._cut()
                return
            status, answer = self._told(parts.path, dict(parse_qsl(parts.query)), body)
            if fault:
                time.sleep(fault.delay)
                if fault.drop:
                    self._cut()
                    return
            self._send(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def _told(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
            try:
                if self.headers.get("Authorization") != f"Bearer {service.token}":
                    raise Refused(401, "Unauthorized")
                answer = service.answer(self.command, path, query, body)
            except Refused as refusal:
                return refusal.status, status_of(refusal)
            return 201 if self.command == "POST" else 200, answer

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            with contextlib.suppress(OSError):  # the client has left
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def _cut(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(2)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    return Handler
