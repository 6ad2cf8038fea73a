"""Run folders of layout version 1: checked again when they are met, then taken over.

Until version 2 our own files lay in the folder that the harness may write, so a mark there says
little. What such a run holds is checked with what its plan asks for; what holds gets a mark in
`record/`, and is finished. What does not is evaluated again, from the answers that it has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakeval.errors import InputError
from snakeval.harness import recipe_for
from snakeval.job import attempt, hostile, record, verify
from snakeval.job.files import now, read_json, write_atomically
from snakeval.plan.run import Run, Task
from snakeval.render.task import check_spec
from snakeval.run_folder.layout import RUN_FOLDER_NAMES, RunPaths, TaskPaths


def is_version_1(paths: RunPaths) -> bool:
    """Whether a run folder was made before layouts had a number. One without a readable run.json
    is none: nothing in it is believed."""
    told = read_json(paths.record)
    return bool(told.get("id")) and "layout" not in told


def take_over(run: Run) -> list[str]:
    """Takes a run folder of version 1 over; does nothing to any other.

    Returns a sentence for each result that does not hold, or why the folder cannot be taken over.
    """
    try:
        if is_version_1(run.paths):
            _note_marks(run.paths)
        return [said for task in run.tasks if _is_unchecked(task) and (said := _check(task))]
    except OSError as error:
        why = f"{error.strerror} ({error.filename})"
        said = f"{run.paths.dir} was made by an earlier version, and cannot be taken over: {why}"
        return [f"{said}. Copy it to where you may write"]


def _note_marks(paths: RunPaths) -> None:
    """Notes which marks are there now: no later one in a work folder counts for anything."""
    for task, digest in _marked(paths):
        noted = task.record(digest) / record.VERSION_1
        noted.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(noted, _time_of(task.work(digest)) + "\n")
    told = read_json(paths.record)
    write_atomically(paths.record, json.dumps({**told, "layout": record.LAYOUT}, indent=1) + "\n")


def _marked(paths: RunPaths) -> Iterator[tuple[TaskPaths, str]]:
    for folder in sorted(paths.dir.iterdir()):
        if folder.name in RUN_FOLDER_NAMES or not (folder / "work").is_dir():
            continue
        for work in sorted((folder / "work").iterdir()):
            if TaskPaths(folder).mark_of_version_1(work.name).is_file():
                yield TaskPaths(folder), work.name


def _time_of(work: Path) -> str:
    """When the result was made, as the mark of version 1 says; now, where it says none."""
    try:
        said = hostile.text(work, "snakeval/complete", most=100).strip()
        time.strptime(said, "%Y-%m-%dT%H:%M:%SZ")
        return said
    except (OSError, ValueError):
        return now()


def _is_unchecked(task: Task) -> bool:
    return (task.paths.record(task.digest) / record.VERSION_1).exists()


def _check(task: Task) -> str | None:
    """Checks what a task has; marks it complete where it holds, else says why not."""
    ours = task.paths.record(task.digest)
    try:
        spec = check_spec(task, recipe_for(task))
    except InputError:
        return None  # told by the start itself
    write_atomically(ours / record.SPEC, json.dumps(spec, indent=1) + "\n")
    cause, report = _judged(task)
    write_atomically(ours / record.CHECK, json.dumps(report, indent=2) + "\n")
    noted = ours / record.VERSION_1
    if cause is None:
        record.mark(ours, report["files"], noted.read_text(encoding="utf-8").strip())
    noted.unlink()
    return cause and (
        f"{task.label}: its result was published by an earlier version, and does not hold: "
        f"{cause}. It is evaluated again"
    )


def _judged(task: Task) -> tuple[str | None, dict[str, Any]]:
    """The cause and the report of the check. status.json was never in the harness's reach."""
    attempts = [
        item
        for item in attempt.read(task.paths.dir)["attempts"]
        if item.get("digest") == task.digest
    ]
    if attempts and attempts[-1].get("state") != "published":
        cause = "the attempt that left it has not succeeded"
        return cause, {"passed": False, "cause": cause}
    logs = [task.paths.dir / str(item.get("log")) for item in attempts]
    work, ours = task.paths.work(task.digest), task.paths.record(task.digest)
    return verify.judge(work, ours, 0, [log for log in logs if log.exists()])
