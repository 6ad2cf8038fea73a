"""What stops an attempt: a signal, or what the heartbeat has seen. Waiting so that it is heard.

No handler does anything but note the first reason: whoever waits looks at it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TypeVar

SIGNALS = {signal.SIGTERM: "TERM", signal.SIGINT: "INT", signal.SIGHUP: "HUP"}

FULL, MOVED, DEAD, SPENT, LOST = "full", "moved", "dead", "spent", "lost"
UNPAID, BROKEN = "unpaid", "broken"
"""Reasons that are no signal: the disk, a server that is elsewhere or dead, max_walltime, the
lease; the budget, the gateway."""

Found = TypeVar("Found")


class Stopped(Exception):
    """Raised where somebody waits, when the attempt is to stop before its harness runs."""


class Stop:
    """Why the attempt stops (`by`; empty: it does not), and ways to wait meanwhile."""

    def __init__(self) -> None:
        self.by = ""
        self._heeded: list[signal.Signals] = []
        self._reads, self._writes = os.pipe()
        for end in (self._reads, self._writes):
            os.set_blocking(end, False)

    def heed(self) -> None:
        """From now on the signals are noted. Those that the caller ignores (nohup) stay so."""
        signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only to wake who waits
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._heeded.append(number)
                signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.ask(SIGNALS[signal.Signals(number)])

    @staticmethod
    def ignore() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def let_go(self) -> None:
        """As a new program expects them."""
        for number in (*self._heeded, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)

    def ask(self, reason: str) -> None:
        """Only the first reason counts. Any thread may ask."""
        self.by = self.by or reason
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._writes, b"\0")

    def look(self) -> None:
        """Raises Stopped when the attempt is to stop."""
        if self.by:
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Waits; a signal, and the end of a child, end it early."""
        with contextlib.suppress(OSError):
            select.select([self._reads], [], [], seconds)
            while os.read(self._reads, 4096):
                pass

    def sleep(self, seconds: float) -> None:
        """Waits as long as it says. Raises Stopped."""
        until = time.monotonic() + seconds
        self.look()
        while (left := until - time.monotonic()) > 0:
            self.pause(left)
            self.look()

    def ended(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Whether a process ends in time; whatever else is asked for."""
        until = time.monotonic() + seconds
        while process.poll() is None:
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.pause(min(left, 1.0))
        return True

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a process. Raises Stopped, and ends the process then."""
        try:
            while process.poll() is None:
                self.look()
                self.pause(1.0)
        except Stopped:
            process.terminate()
            raise
        return process.returncode

    def during(self, work: Callable[[], Found]) -> Found:
        """What a function returns or raises; it runs beside, and is left to itself when the
        attempt is to stop. Raises Stopped."""
        results: list[Found] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)
            finally:
                self._wake()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while not results and not errors:
            self.look()
            self.pause(1.0)
        if errors:
            raise errors[0]
        return results[0]
