"""A harness that is a process group of this machine: how it is watched, ended and swept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from .. import lease
from .runtime import GRACE, Launch

if TYPE_CHECKING:
    from .hold import Hold
    from .job import Job
    from .killed import Counts

WATCHDOG = 'trap "" TERM INT HUP; read -r _; kill -TERM "-$1"; sleep 5; kill -KILL "-$1"'
"""Ends the group when the lifeline's writing end is gone."""

STEP = 0.2


class Group:
    """The part of a runtime that is the same for every process group."""

    def __init__(self, job: Job, hold: Hold) -> None:
        self.job = job
        self.hold = hold
        self.group = 0
        self._watchdog: subprocess.Popen[bytes] | None = None

    def seen_by_harness(self, url: str) -> str:
        """It is on this machine's network, in a container or not."""
        return url

    def ways_here(self) -> list[str]:
        return ["127.0.0.1"]

    def has_reached(self, code: int) -> bool:
        return True

    def start(self, launch: Launch, output: int) -> subprocess.Popen[bytes]:
        """In a session, and so a group, of its own: it can be ended as a whole, and a Ctrl-C
        reaches it through this process only."""
        harness = subprocess.Popen(
            launch.words,
            stdin=self.job.lifeline if launch.has_lifeline else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=launch.environment,
            cwd=launch.folder,
            start_new_session=True,
        )
        self.group = harness.pid
        self._watchdog = subprocess.Popen(
            ["sh", "-c", WATCHDOG, "sh", str(self.group)],
            stdin=self.job.lifeline,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.suppress(OSError):
            noted = f"{self.group} {lease.born(self.group)}\n"
            (self.job.paths.lease / "group").write_text(noted, encoding="utf-8")
        return harness

    @property
    def begun(self) -> list[int]:
        """What this has begun itself, and waits for."""
        return [self.group, self._watchdog.pid] if self._watchdog else [self.group]

    def tend(self) -> None:
        """Nothing else becomes this process's."""

    def stop(self, harness: subprocess.Popen[bytes]) -> None:
        _signal(self.group, signal.SIGTERM)
        until = time.monotonic() + GRACE
        # A leader that has ended counts until it is asked for.
        while harness.poll() is None or _signal(self.group, 0):
            if time.monotonic() >= until:
                break
            self.job.stop.pause(STEP)
        _signal(self.group, signal.SIGKILL)

    def killed_by(self, counts: Counts, since: float) -> str:
        """It is on this machine: the kernel has counted."""
        return counts.say()

    def after(self) -> None:
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.wait()
        _signal(self.group, signal.SIGKILL)  # what the harness may have left in its group

    def sweep(self) -> None:
        """Ends the former owner's harness. Its watchdog does so too, but not where the owner is
        only suspended."""
        try:
            text = (self.job.paths.lease / "group").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        number, _, began = text.strip().partition(" ")
        group = lease.pid_in(number)
        if not group or group == self.group or self.hold.owner().host_id != lease.host_id():
            return
        if lease.born(group) not in ("", began):
            return  # the number is somebody else's now
        since = time.monotonic()
        while (lasts := time.monotonic() - since) < 10:
            if not _signal(group, signal.SIGTERM if lasts < 5 else signal.SIGKILL):
                return
            time.sleep(STEP)


def _signal(group: int, number: int) -> bool:
    """Whether there is such a group, and it was told."""
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True
