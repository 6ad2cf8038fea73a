"""Makes a work folder a checked result, as `run.sh` does after its check has passed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from snakeval.job import attempt, record
from snakeval.plan.run import Task


def write_spec(task: Task, spec: dict[str, Any]) -> None:
    """What the check must know."""
    task.paths.record(task.digest).mkdir(parents=True, exist_ok=True)
    task.paths.check_spec(task.digest).write_text(json.dumps(spec))


def publish_checked(
    task: Task, files: Iterable[str] = (), number: int | None = None, **checked: Any
) -> None:
    """A check that has passed over these files of the work folder, the mark and the links."""
    work = task.paths.work(task.digest)
    work.mkdir(parents=True, exist_ok=True)
    task.paths.record(task.digest).mkdir(parents=True, exist_ok=True)
    task.paths.complete(task.digest).unlink(missing_ok=True)  # another result has another mark
    report = {"passed": True, **checked, "files": record.fingerprints(work, files)}
    task.paths.check(task.digest).write_text(json.dumps(report))
    words = ["publish", str(task.paths.dir), task.digest]
    words += [] if number is None else ["--number", str(number)]
    given = attempt.parser().parse_args(words)
    assert given.run(given) == 0


def marked_at(task: Task, when: str) -> None:
    """The mark says another time."""
    path = task.paths.complete(task.digest)
    path.write_text(json.dumps({**json.loads(path.read_text()), "completed": when}))
