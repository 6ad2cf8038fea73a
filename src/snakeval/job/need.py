"""Who needs a model's server: benchmarks that use it now, and benchmarks that are to come.

Standard library only, Python 3.9 or newer: it runs in the run folder's `lib/`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from . import cancelled, slurm_job
from .files import mapping_in, read_json
from .lease import SILENCE, Watch
from .paths import ServerPaths, TaskPaths

LOOK_ROUND = 20.0
"""Seconds between two looks at who is to come; signs of life come more often."""


class Users:
    """Benchmarks that use the server: whose files were touched a short while ago."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = Watch(trusting=True)
        self._changed = self._change()

    def _change(self) -> int | None:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return None

    def passed_by(self) -> bool:
        """Whether one came or went since this was asked last: a short one may do both between two
        looks, and is use all the same."""
        last, self._changed = self._changed, self._change()
        return last != self._changed

    def now(self) -> list[str]:
        try:
            files = list(self._folder.iterdir())
        except OSError:
            return []
        return sorted(file.name for file in self._watch.beating(files))


class Coming:
    """The benchmarks of the latest start that have still to use the server."""

    def __init__(self, folder: Path) -> None:
        self._paths = ServerPaths(folder)
        self._runs = folder.parents[2]
        self._run = folder.parents[1]
        self._watch = Watch(trusting=True)
        self._looked = float("-inf")
        self._queued = 0

    def unfinished(self) -> dict[str, str]:
        """Those that are neither published nor given up: name -> digest."""
        wanted = read_json(self._paths.tasks)
        start = str(wanted.get("start"))
        tasks: dict[str, Any] = mapping_in(wanted, "tasks")
        return {
            name: str(digest)
            for name, digest in tasks.items()
            if not is_done(self._run / name, str(digest), start)
        }

    def queued(self) -> int:
        """How many are sure to come, as far as it was seen in the last `LOOK_ROUND` seconds: all
        that a live Snakemake has still to run; without one, those that wait in Slurm's queue."""
        if time.monotonic() - self._looked >= LOOK_ROUND:
            self._looked = time.monotonic()
            left = self.unfinished()
            self._queued = self._look(left) if left else 0
        return self._queued

    def _look(self, left: dict[str, str]) -> int:
        if self._is_driven():
            return len(left)
        if not os.environ.get("SLURM_JOB_ID"):
            return 0
        names = {f"{name}.{digest}" for name, digest in left.items()}
        found = slurm_job.waiting(names)
        if found is None:  # not known is not none
            return self._queued or len(left)
        return found

    def _is_driven(self) -> bool:
        """Whether the Snakemake lives that has begun the start, of whatever run of its own."""
        start = read_json(self._paths.tasks).get("start")
        signs = [
            file
            for file in self._runs.glob("*/controller.json")
            if start and read_json(file).get("start") == start
        ]
        return bool(self._watch.beating(signs, 2 * SILENCE))


def is_done(task: Path, digest: str, start: str) -> bool:
    """Whether a benchmark is published, or will not be tried again in this start."""
    if TaskPaths(task).complete(digest).exists():
        return True
    if cancelled.marked(task, start):
        return True  # a person has cancelled it before it ran
    record = read_json(TaskPaths(task).status)
    last = (record.get("attempts") or [{}])[-1]
    if (last.get("digest"), last.get("start")) != (digest, start):
        return False
    state = last.get("state")
    return state == "cancelled" or (state == "failed" and bool(last.get("last")))
