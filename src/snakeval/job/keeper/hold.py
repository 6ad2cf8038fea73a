"""The task's lease: taken, kept by a heartbeat, given back. One owner at a time, on all nodes.

Who is alive is `job/lease.py`'s to say. The heartbeat also looks at all else that may stop an
attempt: the disk, the time that is left, the servers.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import lease
from .job import Failed
from .stop import DEAD, FULL, LOST, MOVED, SPENT

if TYPE_CHECKING:
    from .job import Job
    from .servers import Servers

RESERVE = 4096 * 1024
"""Bytes. A harness that can no longer store answers goes on asking for them: it is ended before."""
DISK_FULL = f"the disk is full (less than {RESERVE >> 20} MB left)"
TRIES = 5


class Hold:
    """This process's hold on the task.

    sweep        ends what a dead owner has left running here
    is_complete  whether somebody else has finished the task
    until        when the time of all attempts is used up, by `time.monotonic`; None: never
    """

    def __init__(self, job: Job, servers: Servers) -> None:
        self._job = job
        self._servers = servers
        self._dir = job.paths.lease
        self._mine = ""
        self._over = threading.Event()
        self._beating: threading.Thread | None = None
        self._missed = 0
        self.until: float | None = None
        self.lead: Callable[[str, str], bool] = lambda name, url: False
        """Leads the harness to a server that has moved; whether that can be done."""

    # --- taking it -------------------------------------------------------------------------------

    def take(self, sweep: Callable[[], None], is_complete: Callable[[], bool]) -> bool:
        """Waits for a living owner, takes over from a dead one; False where somebody has finished
        the task meanwhile, and the lease is not held. Raises Failed, Stopped."""
        seen: object = None
        since, waiting, failures = time.monotonic(), "", 0
        me = self._me()
        while not self._make(me):
            if is_complete():
                return False
            if not self._dir.is_dir():
                failures += 1
                if failures >= TRIES:
                    raise Failed(f"the lease cannot be made: {self._trouble}")
                continue
            text = self.text()
            owner = lease.parsed(text)
            sign = (text, lease.mark_of(self._dir / "beat"))
            if sign != seen:
                seen, since = sign, time.monotonic()
            if owner.runs() is False or time.monotonic() - since >= lease.SILENCE:
                self._take_over(text, sweep)
                since = time.monotonic()
                continue
            if waiting != text:
                waiting = text
                self._job.say(f"pid {owner.pid} on {owner.host} is running this task; waiting")
            self._job.stop.sleep(1.0)
        self._mine = me
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        if is_complete():
            self.release()
            return False
        return True

    def _make(self, me: str) -> bool:
        try:
            return lease.make(self._dir, me)
        except OSError as error:
            self._trouble = str(error)
            return False

    def _me(self) -> str:
        environment, settings = os.environ, self._job.settings
        return lease.this_process(
            job=environment.get("SLURM_JOB_ID") or environment.get("LEPTON_JOB_NAME") or "",
            container=self._job.container,
            digest=settings.digest,
        )

    def _take_over(self, seen_dead: str, sweep: Callable[[], None]) -> None:
        """Only one may clear a dead owner's lease, and only the one that was seen dead."""
        taking, me = self._dir.with_name("lease.taking"), lease.this_process()
        try:
            is_mine = lease.make(taking, me)
        except OSError:
            is_mine = False
        if not is_mine:
            self._wait_for_who_takes_over(taking, seen_dead)
            return
        try:
            if self.text() == seen_dead:
                owner = lease.parsed(seen_dead)
                who = f"{owner.pid} on {owner.host}"
                self._job.say(f"the former owner ({who}) is gone; taking over")
                sweep()
                lease.remove(self._dir, seen_dead)
        finally:
            lease.remove(taking, me)

    def _wait_for_who_takes_over(self, taking: Path, seen_dead: str) -> None:
        """Another one is at it; if it dies there, its mark is removed: at once where that can be
        seen, else after a while."""
        mark, since = lease.mark_of(taking), time.monotonic()
        while taking.is_dir() and self.text() == seen_dead:
            now, other = lease.mark_of(taking), lease.text_of(taking)
            if now != mark:
                mark, since = now, time.monotonic()
            is_silent = time.monotonic() - since >= 2 * lease.SILENCE
            if lease.parsed(other).runs() is False or is_silent:
                lease.remove(taking, other)
                return
            self._job.stop.sleep(1.0)

    # --- having it -------------------------------------------------------------------------------

    def text(self) -> str:
        """What the lease says of its owner; empty where there is none."""
        return lease.text_of(self._dir)

    def owner(self) -> lease.Owner:
        return lease.parsed(self.text())

    def is_mine(self) -> bool:
        return bool(self._mine) and self.text() == self._mine

    def is_to_sweep(self) -> bool:
        """Whether what runs of this task on this machine is ours to end. Where another start on
        this machine has taken over, it has ended ours, and what runs now is its own."""
        return self.is_mine() or self.owner().host_id != lease.host_id()

    def _beat(self) -> None:
        stop, next_beat = self._job.stop, 0.0
        while not self._over.is_set():
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + lease.BEAT
                with contextlib.suppress(Exception):  # whatever goes wrong, the heart goes on
                    self._beat_once()
            if not has_room(self._job):
                stop.ask(FULL)
            if self.until is not None and time.monotonic() >= self.until:
                stop.ask(SPENT)
            self._over.wait(1.0)

    def _beat_once(self) -> None:
        if not self.is_mine():
            self._missed += 1  # once may be a hiccup of a network file system
            # Suspended for so long that another one took over: two must not write into one folder.
            if self._missed == 2:
                self._job.stop.ask(LOST)
            return
        self._missed = 0
        with contextlib.suppress(OSError):
            (self._dir / "beat").touch()
        self._servers.use()
        if self._servers.follow(self.lead):
            self._job.stop.ask(MOVED)
        elif self._servers.have_died():
            self._job.stop.ask(DEAD)

    # --- giving it back --------------------------------------------------------------------------

    def release(self) -> None:
        self._over.set()
        if self._beating is not None:
            self._beating.join(5.0)
        if self.is_mine():
            self._servers.leave()
            lease.remove(self._dir, self._mine)
        self._mine = ""


def has_room(job: Job) -> bool:
    try:
        found = os.statvfs(job.here)
    except OSError:
        return True
    return found.f_bavail * found.f_frsize >= RESERVE
