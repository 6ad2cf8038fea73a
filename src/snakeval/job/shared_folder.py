"""Whether two machines share a folder as the leases of tasks need it.

A lease is a folder (`mkdir` must succeed on one machine only), a heartbeat (its new time must be
seen on the other machine within seconds), and links that are renamed (as are the files written
here). Two sides meet in an empty folder and try exactly that. Standard library only, Python 3.9 or
newer; one side is the controller, the other runs in a job:

    shared_folder.py FOLDER ME OTHER    meets the other side; exit code 1: it was not seen
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import write_atomically

ROUNDS = 50
"""Folders that both sides try to make."""
PATIENCE = 20.0
"""Seconds after which the other side counts as not seen: less than the silence of 30 s after which
an owner counts as dead."""


class NotSeen(Exception):
    """What the other side has left was not seen in time."""


def meet(folder: Path, me: str, other: str, patience: float = PATIENCE) -> dict[str, Any]:
    """Meets the other side, and leaves what was seen in `<me>.json`.

    Raises NotSeen, and OSError where the folder cannot be used.
    """
    beat, theirs = folder / f"beat-{me}", folder / f"beat-{other}"
    beat.write_text("")
    wait_for = _Waiting(folder, me, patience)
    wait_for.folder(f"here-{me}", f"here-{other}")
    won = [number for number in range(ROUNDS) if makes(folder / str(number))]
    before = theirs.stat().st_mtime_ns
    wait_for.folder(f"looked-{me}", f"looked-{other}")
    # Another time than before, however coarse the file system's clock is.
    os.utime(beat, (time.time() + 2, time.time() + 2))
    since = time.monotonic()
    wait_for.condition(lambda: theirs.stat().st_mtime_ns != before, "a new heartbeat")
    seen = {"won": won, "beat_seconds": round(time.monotonic() - since, 1)}
    write_atomically(folder / f"{me}.json", json.dumps(seen))
    return seen


def met(folder: Path, me: str, other: str, patience: float = PATIENCE) -> tuple[str, float]:
    """Meets the other side; what is wrong with the folder (empty: nothing), and the seconds until
    a heartbeat was seen."""
    try:
        mine = meet(folder, me, other, patience)
        report = folder / f"{other}.json"
        _Waiting(folder, me, patience).condition(report.exists, report.name)
        theirs = json.loads(report.read_text(encoding="utf-8"))
    except NotSeen as error:
        return f"{error} was not seen within {patience:g} s", 0.0
    except (OSError, ValueError) as error:
        return str(error), 0.0
    beat = max(mine["beat_seconds"], theirs["beat_seconds"])
    return verdict(mine["won"], theirs["won"]), beat


def verdict(mine: list[int], theirs: list[int]) -> str:
    """What is wrong when these folders were made here and those there; empty: nothing."""
    both = set(mine) & set(theirs)
    if both:
        return f"{len(both)} of {ROUNDS} folders were made on both machines"
    missing = ROUNDS - len(set(mine) | set(theirs))
    return f"{missing} of {ROUNDS} folders were made on neither machine" if missing else ""


def makes(folder: Path) -> bool:
    """Whether it was this side that made a folder; leaves the other one time to try, too."""
    time.sleep(0.002)
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


class _Waiting:
    """Waits for the other side's marks. A network file system may show an old listing; a change
    of one's own makes it ask the server."""

    def __init__(self, folder: Path, me: str, patience: float) -> None:
        self._folder, self._me, self._patience = folder, me, patience

    def folder(self, mine: str, theirs: str) -> None:
        """Leaves a mark, and waits for the other one's."""
        (self._folder / mine).mkdir()
        self.condition(lambda: theirs in os.listdir(self._folder), theirs)

    def condition(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience
        while not condition():
            if time.monotonic() > deadline:
                raise NotSeen(what)
            time.sleep(0.02)
            refresh(self._folder, self._me)


def refresh(folder: Path, me: str) -> None:
    with contextlib.suppress(FileExistsError):
        (folder / f"tick-{me}").mkdir()
    (folder / f"tick-{me}").rmdir()


if __name__ == "__main__":
    try:
        meet(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    except NotSeen as error:
        print(f"{error} was not seen")
        sys.exit(1)
