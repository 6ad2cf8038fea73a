"""Who drives a run now: `controller.json`, created exclusively, kept alive by its mtime.

It stands in for Snakemake's lock (`nolock: true`), so that a start after `kill -9` needs no
`--unlock`: a live second controller is refused, a dead one is taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from snakeval.errors import InputError, Problem
from snakeval.job.files import now

BEAT = 10.0
"""Seconds between two signs of life."""
SILENCE = 60.0
"""Seconds without one after which a controller on another host is dead."""


@dataclass(frozen=True)
class Controller:
    """A `snakemake` process: `born` tells it from a later process with the same pid."""

    host: str
    pid: int
    born: float
    since: str
    start: str

    @classmethod
    def this_process(cls) -> Controller:
        return cls(
            platform.node(),
            os.getpid(),
            psutil.Process().create_time(),
            now(),
            os.environ.get("SNAKEVAL_START", ""),
        )

    @property
    def is_this_process(self) -> bool:
        return self.host == platform.node() and self.pid == os.getpid()


def read(file: Path) -> Controller | None:
    """The controller that a file names, alive or not; None when there is none to read."""
    try:
        return Controller(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def alive(file: Path) -> Controller | None:
    """The live controller of a run, or None. A pid counts on its own host only."""
    found = read(file)
    if found is None:
        return None
    if found.host == platform.node():
        try:
            process = psutil.Process(found.pid)
            same = abs(process.create_time() - found.born) < 2
            return found if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None
    try:
        return found if time.time() - file.stat().st_mtime < SILENCE else None
    except OSError:
        return None


class Hold:
    """This process's hold on a run: taken once, kept alive by a thread, given back at the end."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._ended = threading.Event()
        self._take()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        """Raises InputError when another live controller drives the run."""
        text = json.dumps(asdict(Controller.this_process()), indent=1) + "\n"
        # Written first, then linked into place: nobody ever reads half a file.
        mine = self.file.with_name(f".controller.{platform.node()}.{os.getpid()}")
        mine.write_text(text, encoding="utf-8")
        try:
            for _ in range(3):
                try:
                    os.link(mine, self.file)
                    return
                except FileExistsError:
                    other = alive(self.file)
                    if other:
                        raise InputError([_refusal(self.file, other)]) from None
                    self._bury()
            raise InputError(
                [
                    Problem(
                        str(self.file),
                        "another start takes this run over now",
                        "start again in a moment",
                    )
                ]
            )
        finally:
            mine.unlink(missing_ok=True)

    def _bury(self) -> None:
        """Removes a dead controller's file; of two that try, one gets it."""
        grave = self.file.with_name(f".controller.dead.{platform.node()}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.file.rename(grave)
            if alive(grave):  # somebody else was faster, and this is the new one: put it back
                with contextlib.suppress(FileExistsError):
                    os.link(grave, self.file)
            grave.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.file)

    def release(self) -> None:
        """Gives the run back; safe to call twice."""
        self._ended.set()
        found = read(self.file)
        if found and found.is_this_process:
            self.file.unlink(missing_ok=True)


def _refusal(file: Path, other: Controller) -> Problem:
    run = file.parent.name
    return Problem(
        str(file.parent),
        f"is driven by another start: pid {other.pid} on {other.host}, since {other.since}",
        f"wait for it (`snakemake status --config run={run}`), or stop it "
        f"(`snakemake kill --config run={run}`)",
    )
