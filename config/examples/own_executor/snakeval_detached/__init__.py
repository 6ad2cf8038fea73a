"""What snakeval is told about the executor `detached`: whose its jobs are, how they are found and
stopped, and how it serves a model. Everything that is not here is as with any other plugin."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from snakeval.executors import base

if TYPE_CHECKING:
    from snakeval.errors import Problem
    from snakeval.plan.run import Run, Task
    from snakeval.plan.server import Server
    from snakeval.run_folder.jobs import Job
    from snakeval.run_folder.layout import RunPaths, ServerPaths

NAME = "detached"


class Executor(base.Executor):
    """Imported at every start: what is heavy, or needs a client of the service, comes later."""

    name, title, elsewhere = NAME, "the detached service", True

    def resources_of(self, run: Run, task: Task) -> dict[str, base.Resource]:
        return {"detached_label": f"{run.paths.id}/{task.name}"}

    def for_start(self, planned: base.Planned) -> base.Start:
        return Start(planned)

    def was_used(self, run: RunPaths) -> bool:
        return mark(run).exists()

    def live_jobs(self, run: RunPaths) -> dict[str, Job]:
        from snakeval.run_folder.jobs import Job

        return {task: Job(number, where="this machine") for number, task in found(run).items()}

    def stop(self, run: RunPaths, wanted: Callable[[str], bool]) -> base.Stopped:
        report = base.Stopped()
        for number, task in found(run).items():
            if wanted(task):
                gone = service().stop(number)
                (report.ended if gone else report.left).append(f"job {number} ({task})")
        return report

    def has_ended(self, run: RunPaths, job: str) -> bool:
        return service().exit_code(job) is not None

    @property
    def servers(self) -> base.Servers:
        return Servers()


def service():  # type: ignore[no-untyped-def]
    """Raises CannotAsk."""
    from snakemake_executor_plugin_detached.service import Service

    found = Service()
    if found.home.exists() and not os.access(found.home, os.R_OK | os.W_OK | os.X_OK):
        raise base.CannotAsk(f"{found.home} cannot be used")
    return found


def found(run: RunPaths) -> dict[str, str]:
    """The live jobs of a run: id -> task. Raises CannotAsk."""
    labels: dict[str, str] = service().live(f"{run.id}/")
    return {number: label.removeprefix(f"{run.id}/") for number, label in labels.items()}


def mark(run: RunPaths) -> Path:
    """Says that jobs of a run were created here, so that no other run is asked about."""
    return run.dir / ".detached"


class Start(base.Start):
    """The part of one real start."""

    def __init__(self, planned: base.Planned) -> None:
        self._runs = planned.runs

    def check(self) -> Iterable[Problem]:
        from snakeval.errors import Problem

        try:
            service()
        except base.CannotAsk as error:
            yield Problem("DETACHED_HOME", str(error), "name another folder")

    def begin(self) -> None:
        for run in self._runs:
            mark(run.paths).touch()


class Servers(base.Servers):
    """A model's server as a job of the service. `server.sh` keeps it up, and ends it when nobody
    needs it any more; what is special here is who runs `server.sh`."""

    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, base.Resource],
    ) -> None:
        from snakeval.job.files import write_atomically
        from snakeval.render.server import render

        script = run.paths.server(server.name).script
        write_atomically(script, render(server, runtime, image))

    def bring_up(self, paths: ServerPaths) -> None:
        from snakeval.run_folder import servers as state
        from snakeval.run_folder.jobs import note, noted

        digest = state.script_digest(paths)
        if (owner := state.supervisor_of(paths)) and owner.digest != digest:
            self.take_down(paths)  # of an earlier config
        if not state.supervisor_of(paths):
            paths.stop.unlink(missing_ok=True)
            paths.logs.mkdir(parents=True, exist_ok=True)
            script, log = (shlex.quote(str(each)) for each in (paths.script, paths.supervisor_log))
            number = service().create(f"bash {script} >>{log} 2>&1", f"server/{paths.dir}")
            note(paths.job, number, NAME, digest, os.environ.get("SNAKEVAL_START", ""))
        number = str(noted(paths.job)["job"])
        while not state.endpoint_of(paths):
            if service().exit_code(number) is not None:
                cause = state.record_of(paths).get("cause") or f"job {number} has ended"
                raise base.did_not_come_up(paths, str(cause))
            time.sleep(0.2)

    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        from snakeval.run_folder import servers as state
        from snakeval.run_folder.jobs import noted

        if state.ask_to_end(paths, when, 20.0):
            return True
        return when == "now" and bool(service().stop(str(noted(paths.job).get("job"))))

    def where(self, paths: ServerPaths) -> str:
        from snakeval.run_folder import servers as state
        from snakeval.run_folder.jobs import noted

        owner = state.supervisor_of(paths)
        return f"job {noted(paths.job).get('job')} on {owner.host}" if owner else ""
