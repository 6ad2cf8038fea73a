"""What every task of a run is doing: read from the run folder, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from snakeval.job import attempt, record, verify
from snakeval.job.files import read_json, trouble_with
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.gateway.tally import answers_of, live
from snakeval.job.lease import Owner, holder_of, living, owner_of
from snakeval.run_folder import controller
from snakeval.run_folder.jobs import Job, LiveJobs
from snakeval.run_folder.layout import RunPaths, TaskPaths
from snakeval.run_folder.servers import deployments_of

STATES = ("published", "changed", "running", "failed", "cancelled", "interrupted", "pending",
          "unknown")  # fmt: skip


@dataclass(frozen=True)
class TaskState:
    """One task now. `elapsed`: seconds of the latest attempt; `samples`: answered so far; `job`:
    its live job, of whatever executor."""

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
    label: str = ""
    requests: int | None = None
    """Answers that its harness has got so far, where that alone tells how far it is."""

    @property
    def shown(self) -> str:
        """What it is called where people read."""
        return self.label or self.name


def task_state(
    paths: TaskPaths, digest: str | None = None, jobs: LiveJobs | None = None
) -> TaskState:
    """The state of a task.

    digest  of this spec (default: the one in its task.yaml)
    jobs    the run's live jobs; None: nobody was asked, and the run folder alone counts
    """
    told = attempt.read(paths.dir)
    written = _written(paths)
    digest = digest or str(written.get("digest") or "") or str(told.get("digest") or "")
    broken = "; ".join(_unreadable(paths, digest, written))
    attempts = [item for item in told["attempts"] if item.get("digest") == digest]
    last: dict[str, Any] = attempts[-1] if attempts else {}
    owner = holder_of(paths.lease)
    at_it = owner if owner and owner.digest in ("", digest) else None
    if not digest:
        state, cause = "unknown", None
    elif paths.is_complete(digest):
        changed = record.changed(paths.record(digest), paths.work(digest))
        state, cause = ("changed", changed) if changed else ("published", None)
    elif at_it:
        state, cause = "running", None
    elif last.get("state") == "running":
        state, cause = "interrupted", "the script was killed before it could say why"
    elif last.get("state") == "published":
        state, cause = "pending", None  # its folder was put aside (`fresh=`) or removed
    else:
        state, cause = str(last.get("state", "pending")), last.get("cause")
    finished = state in ("published", "changed")
    job = jobs.of_tasks.get(paths.dir.name) if jobs and not finished else None
    if not finished and state != "running":
        if job:
            state, cause = _in_the_queue(job)
        elif jobs and jobs.unknown and _may_be_live(paths, last):
            state, cause = "unknown", jobs.unknown
        elif state == "pending" and paths.cancelled.exists():
            state, cause = "cancelled", "cancelled before it ran; the next start continues it"
        elif why := read_json(paths.job).get("waits"):
            state, cause = "pending", str(why)
        elif state == "pending" and (why := read_json(paths.job).get("cause")):
            state, cause = "failed", str(why)
    if broken:
        state = "unknown" if state == "pending" else state
        cause = f"{cause}; {broken}" if cause else broken
    spec = read_json(paths.check_spec(digest))
    checked = read_json(paths.check(digest)) if finished else {}
    samples, requests = (None, None) if checked else _progress(paths, digest, spec)
    return TaskState(
        paths.dir.name,
        digest,
        state,
        cause,
        len(attempts),
        _elapsed(last, state == "running"),
        checked.get("scored") if checked else samples,
        checked.get("expected") if checked else verify.expected(spec),
        at_it,
        paths.log if paths.log.exists() else None,
        job,
        str(written.get("label") or ""),
        requests,
    )


def image_of_result(paths: TaskPaths, digest: str) -> str | None:
    """The image that the finished result of a spec was made in; None: in none, or nobody has
    written it down."""
    for told in reversed(attempt.read(paths.dir)["attempts"]):
        if told.get("digest") == digest and told.get("state") == "published":
            return str(told.get("image") or "") or None
    return None


def _in_the_queue(job: Job) -> tuple[str, str | None]:
    """State and cause of a task that has a live job, and that no script works on."""
    if job.waiting:
        return "pending", f"job {job.id} is in the queue: {job.reason}"
    return "running", None


def _may_be_live(paths: TaskPaths, last: dict[str, Any]) -> bool:
    """Whether the job that was submitted last is not known to have ended."""
    job = read_json(paths.job).get("job")
    return bool(job) and not (last.get("job") == job and last.get("ended"))


def run_states(run: RunPaths, jobs: LiveJobs | None = None) -> list[TaskState]:
    """The states of all tasks of a run folder, in the order of `run_all.sh`.

    jobs  the run's live jobs; None: nobody was asked, and the run folder alone counts
    """
    tasks = [run.task(name) for name in task_names(run)]
    look_at([run])
    return [task_state(paths, jobs=jobs) for paths in tasks]


def look_at(runs: Iterable[RunPaths]) -> None:
    """Looks at every heartbeat of some runs at once: then nobody waits who asks about one."""
    runs = list(runs)
    servers = [paths.lease for run in runs for paths in deployments_of(run)]
    living([*(run.task(name).lease for run in runs for name in task_names(run)), *servers])
    controller.living(run.controller for run in runs)


def task_names(run: RunPaths) -> list[str]:
    """The run's tasks, as its last start has listed them in run.json."""
    listed = read_json(run.record).get("tasks")
    if not isinstance(listed, list):
        listed = sorted(entry.name for entry in run.dir.iterdir() if entry.is_dir())
    return [name for name in listed if _is_a_task(run, name)]


def called(paths: TaskPaths) -> str:
    """What a task is called where people read: its label, else its folder."""
    return str(_written(paths).get("label") or "") or paths.dir.name


def _is_a_task(run: RunPaths, name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name and run.task(name).spec.exists()


def unreadable(paths: TaskPaths, digest: str) -> Iterator[str]:
    """What of a task's own files cannot be read, and what to do, in a sentence each."""
    return _unreadable(paths, digest, _written(paths))


def _unreadable(paths: TaskPaths, digest: str, written: Mapping[str, Any]) -> Iterator[str]:
    """written: its task.yaml"""
    if not written.get("digest") and paths.spec.exists():
        yield f"{paths.spec} cannot be read: the next start writes it again"
    if why := trouble_with(paths.status):
        yield (
            f"{paths.status} {why}: the next attempt keeps it as {paths.status.name}.unreadable.1 "
            "and goes on with the next number"
        )
    if why := trouble_with(paths.job):
        yield f"{paths.job} {why}: remove it; the next start finds the task's jobs by their scripts"
    if digest and (why := trouble_with(paths.check(digest))):
        yield f"{paths.check(digest)} {why}: start the task over (fresh={paths.dir.name})"
    if paths.lease.is_dir() and not (owner_of(paths.lease) or Owner()).host:
        yield (
            f"{paths.lease / 'owner'} does not say who works on the task: if nobody does, the next "
            "start takes it over"
        )


def unreadable_of_run(run: RunPaths) -> Iterator[str]:
    """The same of the files that belong to no task."""
    if why := trouble_with(run.record):
        yield f"{run.record} {why}: {RESTORE}"
    if why := trouble_with(run.controller):
        yield f"{run.controller} {why}: remove it if no start drives the run"
    for paths in deployments_of(run):
        for file in sorted(paths.dir.glob("*.json")):
            if why := trouble_with(file):
                yield f"{file} {why}: remove it; the next start writes it again"


RESTORE = (
    "restore it from a copy, or move it away and start again: it is written anew then, and images "
    "are asked for their digests again"
)


def _written(paths: TaskPaths) -> dict[str, Any]:
    """`task.yaml`; empty where it cannot be read."""
    return read_yaml(paths.spec)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping in a file; empty where it cannot be read."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}


def _progress(paths: TaskPaths, digest: str, spec: dict[str, Any]) -> tuple[int | None, int | None]:
    """Samples as the harness tells them, else the answers that it has got through the gateway, at
    most the samples asked for; and the answers alone, where they are what counts."""
    told = verify.progress(paths.work(digest), spec) if spec else None
    if told is not None or not spec:
        return told, None
    ours = paths.record(digest)
    answers, most = answers_of(live(ours), MODEL), verify.expected(spec)
    if answers is None and (ours / record.BEHIND).exists():
        answers = 0
    return answers if answers is None or most is None else min(answers, most), answers


def _elapsed(last: dict[str, Any], running: bool) -> float | None:
    if not last.get("started"):
        return None
    end = None if running else last.get("ended")
    if not end and not running:
        return None
    try:
        ended = _time(end) if end else datetime.now(UTC)
        return max(0.0, (ended - _time(last["started"])).total_seconds())
    except (TypeError, ValueError):
        return None


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
