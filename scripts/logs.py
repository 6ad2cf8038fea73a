"""Shows the log of a task's latest attempt, and follows it while the task runs."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

from snakeval.cli.entry import RUNS, entry, parsed, runs_of, task_of
from snakeval.errors import InputError, Problem
from snakeval.job.lease import holder_of
from snakeval.job.text import plain
from snakeval.run_folder.layout import TaskPaths

PAUSE = 0.5
"""Seconds between two looks at a log that is followed."""


def main() -> int:
    arguments = parsed(__doc__, *RUNS, "--task", "--lines", "--no-follow")
    run = runs_of(arguments)[-1]
    show(run.task(task_of(run, arguments.task)), arguments.lines, follow=not arguments.no_follow)
    return 0


def show(task: TaskPaths, lines: int, follow: bool) -> None:
    """Prints a log's last lines, then what is added, until the task is at rest.

    Raises InputError where there is no log yet.
    """
    try:
        log = task.log.resolve(strict=True)
    except OSError:
        raise InputError([Problem(task.dir.name, "has no log yet: it was not started")]) from None
    print(f"==> {log} <==", flush=True)
    while log:
        _print(log, lines, task if follow else None)
        later = task.log.resolve()
        lines, log = sys.maxsize, later if follow and later != log else Path()
        if log == Path():
            return
        print(f"==> {log} <==", flush=True)


def _print(log: Path, lines: int, task: TaskPaths | None) -> None:
    """`task`: followed until nobody works on it, or a later attempt has another log."""
    with log.open(encoding="utf-8", errors="replace") as file:
        sys.stdout.writelines(map(plain, deque(file, lines) if lines < sys.maxsize else file))
        sys.stdout.flush()
        while task and task.log.resolve() == log:
            text = file.read()
            sys.stdout.write(plain(text))
            sys.stdout.flush()
            if not text and not holder_of(task.lease):
                return
            if not text:
                time.sleep(PAUSE)


if __name__ == "__main__":
    entry(main)
