"""What every task of a run is doing: read from the run folder, changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from snakeval.job import attempt, verify
from snakeval.job.lease import Owner, holder_of, living
from snakeval.run_folder import controller
from snakeval.run_folder.layout import RunPaths, TaskPaths
from snakeval.run_folder.servers import deployments_of

if TYPE_CHECKING:
    from snakeval.executors.slurm.queue import Job

STATES = ("published", "running", "failed", "cancelled", "interrupted", "pending", "unknown")


@dataclass(frozen=True)
class TaskState:
    """One task now. `elapsed`: seconds of the latest attempt; `samples`: answered so far; `job`:
    its live Slurm job."""

    name: str
    digest: str
    state: str
    cause: str | None
    attempts: int
    elapsed: float | None
    samples: int | None
    expected: int | None
    owner: Owner | None
    log: Path | None
    job: Job | None = None


@dataclass(frozen=True)
class SlurmView:
    """What Slurm (or Lepton) says about a run: its live jobs by task, or why it could not be
    asked."""

    live: Mapping[str, Job] = field(default_factory=dict)
    unknown: str = ""
    by: str = "Slurm"


def slurm_view(run: RunPaths) -> SlurmView:
    """One query, and none for a run that never was on Slurm."""
    from snakeval.executors.slurm import queue
    from snakeval.executors.slurm.stop import is_on_slurm

    if not is_on_slurm(run):
        return _lepton_view(run)
    try:
        known = queue.jobs_of(run, queue.jobs())
    except queue.QueryFailed as error:
        return SlurmView(unknown=str(error))
    return SlurmView({task: jobs[-1] for task, jobs in known.items() if jobs[-1].live})


def _lepton_view(run: RunPaths) -> SlurmView:
    """One query, and none for a run that never was on Lepton."""
    from snakeval.executors.lepton.stop import is_on_lepton

    if not is_on_lepton(run):
        return SlurmView()
    from snakemake_executor_plugin_lepton.client import ServiceError
    from snakeval.executors.lepton.stop import connected, live_jobs

    try:
        return SlurmView(live_jobs(run, connected()), by="Lepton")
    except ServiceError as error:
        return SlurmView(unknown=str(error), by="Lepton")


def task_state(
    paths: TaskPaths, digest: str | None = None, slurm: SlurmView | None = None
) -> TaskState:
    """The state of a task.

    digest  of this spec (default: the one in its task.yaml)
    slurm   what Slurm says; None: it is not asked, and the run folder alone counts
    """
    record = attempt.read(paths.dir)
    digest = digest or _written_digest(paths)
    attempts = [item for item in record["attempts"] if item.get("digest") == digest]
    last: dict[str, Any] = attempts[-1] if attempts else {}
    owner = holder_of(paths.lease)
    at_it = owner if owner and owner.digest in ("", digest) else None
    if paths.published(digest).exists() or paths.complete(digest).exists():
        state, cause = "published", None
    elif at_it:
        state, cause = "running", None
    elif last.get("state") == "running":
        state, cause = "interrupted", "the script was killed before it could say why"
    elif last.get("state") == "published":
        state, cause = "pending", None  # its folder was put aside (`fresh=`) or removed
    else:
        state, cause = str(last.get("state", "pending")), last.get("cause")
    job = slurm.live.get(paths.dir.name) if slurm and state != "published" else None
    if state not in ("published", "running"):
        if job:
            state, cause = _in_the_queue(job)
        elif slurm and slurm.unknown and _may_be_live(paths, last):
            state, cause = "unknown", f"{slurm.by} could not be asked: {slurm.unknown}"
        elif state == "pending" and paths.cancelled.exists():
            state, cause = "cancelled", "cancelled before it ran; the next start continues it"
        elif state == "pending" and (why := _read_json(paths.job).get("cause")):
            state, cause = "failed", str(why)
    spec = _read_json(paths.own(digest) / "check_spec.json")
    checked = _read_json(paths.check(digest)) if state == "published" else {}
    return TaskState(
        paths.dir.name,
        digest,
        state,
        cause,
        len(attempts),
        _elapsed(last, state == "running"),
        checked.get("scored") if checked else _progress(paths.work(digest), spec),
        checked.get("expected") if checked else _expected(spec),
        at_it,
        paths.log if paths.log.exists() else None,
        job,
    )


def _in_the_queue(job: Job) -> tuple[str, str | None]:
    """State and cause of a task whose job Slurm has, and that no script works on."""
    if job.state == "PENDING":
        return "pending", f"job {job.id} is in the queue: {job.reason}"
    return "running", None


def _may_be_live(paths: TaskPaths, last: dict[str, Any]) -> bool:
    """Whether the job that was submitted last is not known to have ended."""
    job = _read_json(paths.job).get("job")
    return bool(job) and not (last.get("job") == job and last.get("ended"))


def run_states(run: RunPaths) -> list[TaskState]:
    """The states of all tasks of a run folder, in the order of `run_all.sh`."""
    slurm = slurm_view(run)
    tasks = [run.task(name) for name in task_names(run)]
    look_at([run])
    return [task_state(paths, slurm=slurm) for paths in tasks]


def look_at(runs: Iterable[RunPaths]) -> None:
    """Looks at every heartbeat of some runs at once: then nobody waits who asks about one."""
    runs = list(runs)
    servers = [paths.lease for run in runs for paths in deployments_of(run)]
    living([*(run.task(name).lease for run in runs for name in task_names(run)), *servers])
    controller.living(run.controller for run in runs)


def task_names(run: RunPaths) -> list[str]:
    """The run's tasks, as its last start has listed them in run.json."""
    record = _read_json(run.record)
    return [name for name in record.get("tasks", []) if run.task(name).spec.exists()]


def _written_digest(paths: TaskPaths) -> str:
    try:
        content = yaml.load(paths.spec.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return str(content["digest"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _expected(spec: dict[str, Any]) -> int | None:
    known = [value for value in (spec.get("limit_samples"), spec.get("samples")) if value]
    return min(known) if known else None


def _progress(work: Path, spec: dict[str, Any]) -> int | None:
    return verify.progress(work, spec) if spec else None


def _elapsed(last: dict[str, Any], running: bool) -> float | None:
    if not last.get("started"):
        return None
    end = None if running else last.get("ended")
    if not end and not running:
        return None
    ended = _time(end) if end else datetime.now(UTC)
    return max(0.0, (ended - _time(last["started"])).total_seconds())


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
