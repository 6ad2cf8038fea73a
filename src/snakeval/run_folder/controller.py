"""Who drives a run now: `controller.json`, created exclusively, kept alive by its heartbeat.

It stands in for Snakemake's lock (`nolock: true`), so that a start after `kill -9` needs no
`--unlock`: a live second controller is refused, a dead one is taken over. The heartbeat is the
file's time; what it means is `job/lease.py`'s to say.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from snakeval.errors import InputError, Problem
from snakeval.job import lease
from snakeval.job.files import now, read_json, read_text

SILENCE = 2 * lease.SILENCE
"""Seconds without a heartbeat after which a controller on another host is dead."""


@dataclass(frozen=True)
class Controller:
    """A `snakemake` process, as an `Owner` of a lease is one."""

    host: str
    namespace: str
    pid: int
    born: str
    boot: str
    since: str
    start: str

    @classmethod
    def this_process(cls) -> Controller:
        me = lease.parsed(lease.this_process())
        start = os.environ.get("SNAKEVAL_START", "")
        return cls(me.host, me.namespace, me.pid, me.born, me.boot, now(), start)

    @property
    def is_this_process(self) -> bool:
        return self.owner.is_this_process

    @property
    def owner(self) -> lease.Owner:
        return lease.Owner(self.host, self.namespace, self.pid, self.born, self.boot)


def read(file: Path) -> Controller | None:
    """The controller that a file names, alive or not; None when there is no such file. One that
    cannot be read is somebody's: of whom is not known."""
    if not file.exists():
        return None
    said = read_json(file)
    who = lease.named(said)
    return Controller(
        host=who.host,
        namespace=str(said.get("namespace", "")),
        pid=who.pid,
        born=who.born,
        boot=who.boot,
        since=str(said.get("since", "")),
        start=who.start or "",
    )


UNKNOWN = Controller("", "", 0, "", "", "", "")
"""Of a file that cannot be read."""


def living(files: Iterable[Path]) -> dict[Path, Controller]:
    """Those runs' files whose controller lives, with it. As with leases: ask about all at once."""
    found = {file: controller for file in files if (controller := read(file))}
    runs = {file: controller.owner.runs() for file, controller in found.items()}
    beats = lease.beating([file for file, told in runs.items() if told is None], SILENCE)
    return {file: found[file] for file, told in runs.items() if told or file in beats}


def alive(file: Path) -> Controller | None:
    """The live controller of a run, or None."""
    return living([file]).get(file)


class Hold:
    """This process's hold on a run: taken once, kept alive by a thread, given back at the end."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._ended = threading.Event()
        self._me = Controller.this_process()
        self._take()
        # Kept open: who stops this process sees by it that the number is not another program's.
        self._opened = file.open(encoding="utf-8")
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        """Raises InputError when another live controller drives the run."""
        text = json.dumps(asdict(self._me), indent=1) + "\n"
        # Written first, then linked into place: nobody ever reads half a file.
        mine = self.file.with_name(f".controller.{platform.node()}.{os.getpid()}")
        mine.write_text(text, encoding="utf-8")
        try:
            for _ in range(3):
                try:
                    os.link(mine, self.file)
                    return
                except FileExistsError:
                    said = read_text(self.file)
                    other = alive(self.file)
                    if other:
                        raise InputError([_refusal(self.file, other)]) from None
                    self._bury(said)
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

    def _bury(self, said: str) -> None:
        """Removes the file of a controller that was found dead; of two that try, one gets it."""
        grave = self.file.with_name(f".controller.dead.{platform.node()}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.file.rename(grave)
            if read_text(grave) != said:  # somebody else was faster, and this is the new one
                with contextlib.suppress(FileExistsError):
                    os.link(grave, self.file)
            grave.unlink()

    @property
    def is_held(self) -> bool:
        """False after this process was suspended for so long that another one has taken over."""
        return read(self.file) == self._me

    def _beat(self) -> None:
        while not self._ended.wait(lease.BEAT):
            with contextlib.suppress(OSError):
                if read(self.file) in (self._me, UNKNOWN):  # not another one's
                    os.utime(self.file)

    def release(self) -> None:
        """Gives the run back; safe to call twice."""
        self._ended.set()
        self._opened.close()
        if self.is_held:
            self.file.unlink(missing_ok=True)


def _refusal(file: Path, other: Controller) -> Problem:
    run = file.parent.name
    if other == UNKNOWN:
        return Problem(
            str(file),
            "cannot be read, and another start keeps it up to date",
            "wait for that start, or end it; after a minute of silence the next one takes over",
        )
    return Problem(
        str(file.parent),
        f"is driven by another start: pid {other.pid} on {other.host}, since {other.since}",
        f"wait for it (`snakeval status {run}`), or stop it (`snakeval kill {run}`)",
    )
