"""A server as a Slurm job of its own: its supervisor is the job, on the node that serves.

Everything after the submission is the supervisor's, as on one machine; here is what Slurm adds: a
queue to wait in, a job to cancel, and a job that comes back after its time limit or a preemption.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from snakeval.errors import InputError, Problem
from snakeval.executors import base
from snakeval.executors.base import did_not_come_up
from snakeval.executors.slurm import queue
from snakeval.executors.slurm.queue import Job, QueryFailed
from snakeval.executors.slurm.resources import NAME
from snakeval.executors.slurm.server_job import batch_script, described
from snakeval.executors.slurm.submit import NoAnswer, Refused, looked_for, sbatch, until_taken
from snakeval.job.files import make_executable, objects_in, write_atomically
from snakeval.plan.run import Run
from snakeval.plan.server import Server, undivided
from snakeval.render.server import ON_NODES, render
from snakeval.run_folder import servers as state
from snakeval.run_folder.jobs import note, noted
from snakeval.run_folder.layout import ServerPaths

LOOK_AGAIN = 5.0
"""Seconds between two looks at the queue."""
DOWN = 20.0
"""Seconds that a supervisor has to end its server."""
GONE = 45.0
"""Seconds that a cancelled job has to leave the queue: KillWait is 30 s on most clusters."""


class Servers(base.Servers):
    """Servers as Slurm jobs."""

    def check(self, run: Run, server: Server, runtime: str) -> Iterable[Problem]:
        """What Slurm itself refuses is told with the benchmarks' jobs (`slurm/start.py`)."""
        if server.nodes * server.instances > 1 and runtime not in ON_NODES:
            yield Problem(
                run.place(*server.keys),
                f"`{server.several}` asks for several nodes, which {runtime} does not serve from",
                "use pyxis or process (container_runtime in the profile's default-resources), or "
                "one node",
            )
        if unshared := undivided(run.config, server.name):
            yield Problem(
                run.place(*server.keys),
                unshared,
                "num_nodes and n_tasks are totals, which all instances share alike",
            )
        if server.instances > 1 and runtime == "pyxis" and not server.proxy.image:
            yield Problem(
                run.place("execution", "proxy", "image"),
                "is missing: several instances need a proxy in front of them",
                "write an image of haproxy",
            )
        if server.several and runtime == "pyxis":
            yield Problem(
                run.place(*server.keys),
                f"`{server.several}` in containers of pyxis was not tried (as processes it was)",
                f"look at deployments/{server.name}/ in the run folder, and watch the first start",
                warning=True,
            )

    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, int | str],
    ) -> None:
        """Writes `server.sh`, and `sbatch_server.sh` which runs it on a node."""
        paths = run.paths.server(server.name)
        flags = described(run, server, defaults)
        for path, text in (
            (paths.script, render(server, runtime, image, reach="nodes")),
            (paths.batch_script, batch_script(run, server, flags, image or "")),
        ):
            write_atomically(path, text)
            make_executable(path)

    def shown(self, run: Run, server: Server) -> dict[str, str]:
        text = batch_script(run, server, described(run, server, {}), server.image or "")
        asked = [line for line in text.splitlines() if line.startswith("#SBATCH")]
        return {"sbatch_server.sh": "\n".join(asked).replace(run.paths.id, "<run>")}

    def bring_up(self, paths: ServerPaths) -> None:
        """Submits the server's job unless it is there, and returns when the server is healthy.

        Raises InputError.
        """
        wanted = state.script_digest(paths)
        owner, job = state.supervisor_of(paths), live_job(paths)
        if (owner and owner.digest != wanted) or (job and noted(paths.job).get("digest") != wanted):
            print(f"{paths.dir.name}: the server that runs is of an earlier config; it is replaced")
            self.take_down(paths)
            owner = job = None
        if owner or job:
            if job:
                print(f"{paths.dir.name}: job {job.id} of an earlier start is {job.state.lower()}")
            if _comes_up(paths):
                return
            if not (_is_recorded(paths) and state.ended_unasked(paths)):
                raise did_not_come_up(paths, _cause(paths))
            print(f"{paths.dir.name}: that one has just ended; another one is submitted")
        number = submit(paths)
        print(f"{paths.dir.name}: submitted as job {number}", flush=True)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: _give_up(paths))
        if not _comes_up(paths):
            raise did_not_come_up(paths, _cause(paths))

    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        """Asks the supervisor for the end; a job that has none, or does not heed, is cancelled."""
        with queue.about(paths.batch_script):
            return self._take_down(paths, when)

    def _take_down(self, paths: ServerPaths, when: str) -> bool:
        if when == "unused" and state.users_of(paths):
            return state.ask_to_end(paths, when, DOWN)
        if state.supervisor_of(paths):
            state.ask_to_end(paths, when, DOWN)
        try:
            job = _leaving(paths, DOWN if state.record_of(paths).get("state") == "stopped" else 0)
            if job:
                queue.cancel([job.id])
                job = _leaving(paths, GONE)
        except QueryFailed:
            return False
        return job is None and state.supervisor_of(paths) is None

    def where(self, paths: ServerPaths) -> str:
        """The server's job and its node, or why it waits."""
        with queue.about(paths.batch_script):
            return _whereabouts(paths)


def submit(paths: ServerPaths, tell: Callable[[str], None] = print) -> str:
    """Submits the server's script and notes its job; waits for room, and for an answer.

    Raises InputError with Slurm's words where it refuses, or has not answered for too long.
    """
    paths.stop.unlink(missing_ok=True)
    try:
        return until_taken(
            lambda: _noted(paths, _heard(paths) or _sbatch(paths)),
            lambda: _noted(paths, _heard(paths)),
            paths.dir.name,
            tell,
        )
    except (Refused, NoAnswer, QueryFailed) as error:
        raise InputError([Problem(str(paths.batch_script), str(error))]) from None


def _noted(paths: ServerPaths, number: str) -> str:
    """Notes the server's job, if there is one."""
    if number:
        start = os.environ.get("SNAKEVAL_START", "")
        note(paths.job, number, NAME, state.script_digest(paths), start)
    return number


def _heard(paths: ServerPaths) -> str:
    """The job that is there of the server's script. Raises QueryFailed."""
    found = _of_script(paths)
    return found.id if found else ""


def _sbatch(paths: ServerPaths) -> str:
    """Raises Refused, Full, NoAnswer."""
    paths.logs.mkdir(parents=True, exist_ok=True)
    log = f"--output={paths.logs.absolute()}/slurm-%j.log"
    command = ["sbatch", "--parsable", "--export=ALL", log, str(paths.batch_script.absolute())]
    return sbatch(command, folder=paths.dir)


def _whereabouts(paths: ServerPaths) -> str:
    owner = state.supervisor_of(paths)
    try:
        job = live_job(paths)
    except QueryFailed as error:
        if owner:
            return f"job {owner.job} on {owner.host}"
        return f"unknown: Slurm does not answer ({error})" if noted(paths.job) else ""
    if job and job.waiting:
        return f"job {job.id} is in the queue: {job.reason}"
    if job:
        return f"job {job.id} on {job.nodes}, {job.state.lower()} for {job.elapsed}"
    return f"{owner.host}, pid {owner.pid}" if owner else ""


def live_job(paths: ServerPaths, known: Iterable[Job] | None = None) -> Job | None:
    """The server's job while Slurm has it, whoever submitted it. Raises QueryFailed.

    known  what squeue has just shown; None: it is asked
    """
    if not noted(paths.job) and not state.supervisor_of(paths):
        return None
    return _of_script(paths, known)


def _of_script(paths: ServerPaths, known: Iterable[Job] | None = None) -> Job | None:
    """The live job of the server's script. Raises QueryFailed."""
    script = paths.batch_script.resolve()
    shown = queue.jobs() if known is None else known
    live = [job for job in shown if job.live and _same(job.script, script)]
    return live[-1] if live else None


def revive(paths: ServerPaths, ended: Mapping[str, str]) -> str:
    """Submits another job for one that Slurm has ended and does not let come back.

    ended  of jobs that ended not by their own fault or a person's wish: id -> state
    Returns the new job's id, or nothing. Raises Refused, Full, NoAnswer, QueryFailed.
    """
    number = str(noted(paths.job).get("job", ""))
    if number not in ended or state.record_of(paths).get("state") in ("stopped", "failed"):
        return ""
    paths.stop.unlink(missing_ok=True)
    # It may have one: of a try that was not answered.
    return _noted(paths, looked_for(lambda: _heard(paths)) or _sbatch(paths))


def _same(script: Path, ours: Path) -> bool:
    return script.name == ours.name and script.resolve() == ours


def _leaving(paths: ServerPaths, patience: float) -> Job | None:
    """The job that is still there after so many seconds; None as soon as it is gone."""
    deadline = time.monotonic() + patience
    while True:
        job = live_job(paths)
        if job is None or time.monotonic() >= deadline:
            return job
        time.sleep(0.5)


def _give_up(paths: ServerPaths) -> NoReturn:
    """Nobody waits for the server any more."""
    queue.cancel([str(noted(paths.job)["job"])])
    os._exit(130)


def _comes_up(paths: ServerPaths) -> bool:
    """Waits until the server is healthy; False when its job has ended."""
    began = looked = time.monotonic()
    seen = ""
    while True:
        live = state.endpoint_of(paths)
        if live:
            waited = time.monotonic() - began
            print(f"{paths.dir.name}: up at {live['url']} (waited {waited:.1f} s)")
            return True
        time.sleep(0.2)
        if time.monotonic() - looked < LOOK_AGAIN:
            continue
        looked = time.monotonic()
        try:
            job = live_job(paths)
        except QueryFailed:
            continue  # not known is not ended
        if job is None and not state.supervisor_of(paths):
            return False
        said = _whereabouts(paths)
        if job and job.waiting and said != seen:
            seen = said
            print(f"{paths.dir.name}: {said}", flush=True)


def _is_recorded(paths: ServerPaths) -> bool:
    """Whether the supervisor's record is of the job that was submitted last."""
    lives = objects_in(state.record_of(paths), "lives") or [{}]
    return bool(lives[-1].get("job") == noted(paths.job).get("job", ""))


def _cause(paths: ServerPaths) -> str:
    number = str(noted(paths.job).get("job", ""))
    record = state.record_of(paths)
    if _is_recorded(paths) and record.get("state") not in ("up", "starting"):
        return str(record.get("cause"))
    return f"job {number} ended{_slurms_word(number)}{_last_line(paths, number)}"


def _slurms_word(number: str) -> str:
    try:
        said = queue.states([number]).get(number)
    except QueryFailed:
        said = None
    return f" as {said}" if said else ""


def _last_line(paths: ServerPaths, number: str) -> str:
    try:
        log = paths.logs / f"slurm-{number}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    if lines:
        return f": {lines[-1]}"
    return (
        " before it could write anything: do the nodes see the run folder? "
        "execution.output_dir must be on a file system that all nodes share"
    )
