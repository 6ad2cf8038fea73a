"""/jobs: created, walked through the states, really run, stopped, deleted, listed."""

from __future__ import annotations

import itertools
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.job import LeptonJob, LeptonJobState, LeptonJobStatus
from leptonai.api.v2.types.replica import Replica

from .wire import Refused, Request, Response, Route, dumped, parse
from .workloads import Machine, Workload

State = LeptonJobState
ENDED = {State.Completed, State.Failed, State.Stopped}
QUICK = 0.3
"""Seconds: what fails within them is never seen Running."""


@dataclass
class Job:
    """A job and what runs for it. `shown` overrides the state that clients see."""

    given: LeptonJob
    mounts: list[tuple[Path, str]]
    variables: dict[str, str]
    state: LeptonJobState = State.Queueing
    shown: str | None = None
    workloads: list[Workload] = field(default_factory=list)
    ended: float | None = None
    stopped: bool = False
    deleted: bool = False
    restarts: int = 0
    may_start: threading.Event = field(default_factory=threading.Event)

    @property
    def id(self) -> str:
        return str(self.given.metadata.id_)

    @property
    def name(self) -> str:
        return str(self.given.metadata.name)

    @property
    def labels(self) -> dict[str, str]:
        return self.given.metadata.labels or {}

    @property
    def alive(self) -> bool:
        return self.state not in ENDED

    @property
    def log(self) -> bytes:
        return b"".join(workload.log for workload in self.workloads)

    @property
    def archived(self) -> bool:
        """Its time to live after its end is over."""
        left = self.given.spec.ttl_seconds_after_finished
        return self.ended is not None and time.monotonic() - self.ended > (left or 0)


class Jobs:
    """The jobs of the workspace, deleted ones not included."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self.all: dict[str, Job] = {}
        self.created: list[Job] = []
        self.held = False

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/jobs", self._create),
            Route("GET", "/jobs", self._list),
            Route("GET", "/jobs/([^/]+)", self._get),
            Route("PATCH", "/jobs/([^/]+)", self._patch),
            Route("DELETE", "/jobs/([^/]+)", self._delete),
            Route("GET", "/jobs/([^/]+)/replicas", self._replicas),
            Route("GET", "/jobs/([^/]+)/replicas/([^/]+)/log", self._log),
            Route("GET", "/jobs/([^/]+)/events", self._events),
        ]

    def close(self) -> None:
        for job in list(self.all.values()):
            job.deleted = True
            job.may_start.set()
            for workload in job.workloads:
                workload.kill()

    # --- for tests -------------------------------------------------------------------------------

    @property
    def alive(self) -> list[Job]:
        return [job for job in self.all.values() if job.alive]

    def hold(self) -> None:
        """Jobs that are created from now on wait in the queue until `release`."""
        self.held = True

    def release(self) -> None:
        self.held = False
        for job in self.all.values():
            job.may_start.set()

    def vanish(self, job: Job) -> None:
        """Gone, with what ran for it, and nobody says why."""
        with self._lock:
            job.deleted = True
            self.all.pop(job.id, None)
        for workload in job.workloads:
            workload.kill()

    def preempt(self, job: Job) -> None:
        """Its container is killed, and the service starts it anew under the same id."""
        job.restarts += 1
        job.state = State.PendingRetry
        job.workloads[-1].kill()

    # --- routes ----------------------------------------------------------------------------------

    def _create(self, request: Request) -> Response:
        given = request.parsed(LeptonJob)
        name = given.metadata.name or given.metadata.id_
        if not name or not re.fullmatch("[a-z][a-z0-9-]{0,35}", name):
            raise Refused(400, f"'{name}' is no name of a job")
        spec = given.spec
        if not spec.resource_shape or not spec.container.image or not spec.container.command:
            raise Refused(400, "resource_shape, container.image and container.command are needed")
        job = Job(
            given,
            self._machine.mounts(spec.mounts or []),
            self._machine.variables(spec.envs or []),
        )
        with self._lock:
            given.metadata.id_ = f"{name[:30]}-{next(self._numbers):04d}"
            given.metadata.name = name
            given.metadata.created_at = int(time.time() * 1000)
            self.all[job.id] = job
            self.created.append(job)
        if not self.held:
            job.may_start.set()
        threading.Thread(target=self._walk, args=(job,), daemon=True).start()
        return Response(self._shown(job), status=201)

    def _list(self, request: Request) -> Response:
        mode = request.query.get("job_query_mode", "alive_only")
        selector = dict(
            pair.split("=", 1) for pair in request.query.get("query", "").split(",") if "=" in pair
        )
        with self._lock:
            found = [
                job
                for job in self.all.values()
                if (mode != "alive_only" or not job.archived)
                and (mode != "archive_only" or job.archived)
                and request.query.get("q", "") in job.name
                and selector.items() <= job.labels.items()
            ]
        page = int(request.query.get("page", "1"))
        size = int(request.query.get("page_size", "100"))
        shown = found[(page - 1) * size : page * size]
        return Response({"jobs": [self._shown(job) for job in shown], "total": len(found)})

    def _get(self, request: Request) -> Response:
        job = self._job(request)
        if job.archived and request.query.get("job_query_mode", "alive_only") == "alive_only":
            raise Refused(404, "archived")
        return Response(self._shown(job))

    def _patch(self, request: Request) -> Response:
        job = self._job(request)
        content = request.json
        if set(content) - {"spec"} or set(content.get("spec", {})) - {"stopped"}:
            raise Refused(400, "only spec.stopped can be changed here")
        parse(LeptonJob, {"metadata": {}, **content})
        if content["spec"].get("stopped"):
            self._stop(job)
        return Response(self._shown(job))

    def _stop(self, job: Job) -> None:
        job.stopped = True
        if job.alive:
            job.state = State.Stopping
        job.may_start.set()
        for workload in job.workloads:
            threading.Thread(target=workload.stop, daemon=True).start()

    def _delete(self, request: Request) -> Response:
        job = self._job(request)
        self._stop(job)
        with self._lock:
            job.deleted = True
            self.all.pop(job.id, None)
        return Response({})

    def _replicas(self, request: Request) -> Response:
        job = self._job(request)
        replicas = [
            Replica(id=f"{job.id}-{number}", metadata=Metadata(id=f"{job.id}-{number}"))
            for number, _ in enumerate(job.workloads)
        ]
        return Response([dumped(replica) for replica in replicas])

    def _log(self, request: Request) -> Response:
        job = self._job(request)
        number = request.words[1].rpartition("-")[2]
        if not number.isdigit() or int(number) >= len(job.workloads):
            raise Refused(404, "no such replica")
        return Response(body=job.workloads[int(number)].log)

    def _events(self, request: Request) -> Response:
        self._job(request)
        return Response([])

    def _job(self, request: Request) -> Job:
        job = self.all.get(request.words[0])
        if job is None:
            raise Refused(404, f"no job {request.words[0]}")
        return job

    def _shown(self, job: Job) -> object:
        """As a client sees it: without the values that secrets stand for."""
        shown = job.given.model_copy(deep=True)
        shown.status = LeptonJobStatus(job_name=job.name, state=job.state)
        content = dumped(shown)
        content["status"]["state"] = job.shown or job.state.value
        return content

    # --- what happens to a job -------------------------------------------------------------------

    def _walk(self, job: Job) -> None:
        job.may_start.wait()
        while not job.stopped and not job.deleted:
            before = job.restarts
            job.state = State.Restarting if before else State.Starting
            container = job.given.spec.container
            workload = self._machine.start(
                str(container.image), container.command or [], job.mounts, job.variables
            )
            job.workloads.append(workload)
            if job.stopped or job.deleted:
                workload.kill()
            if workload.wait(QUICK) is None and not job.stopped:
                job.state = State.Running
            code = workload.wait()
            if job.restarts == before and not job.stopped:
                job.state = State.Failed if code else State.Completed
                break
        if job.stopped:
            job.state = State.Stopped
        job.ended = time.monotonic()
