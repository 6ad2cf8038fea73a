"""Promises in seconds, with the machine's own slowness taken out.

On a busy machine everything takes longer, and by how much is measured: a small program is run
beside, over and over, and takes some times longer than the processor worked on it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rig.waiting import wait_until

_REFERENCE = (sys.executable, "-I", "-S", "-c", "sum(range(100_000))")
_EVERY = 0.5
"""Seconds from one measurement to the next."""


class Pace:
    """How slow this machine is meanwhile; a context manager.

    slowness  1.0: a program has a processor whenever it wants one; 10.0: a tenth of the time
    """

    def __init__(self) -> None:
        self._waited, self._worked = 0.0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    @property
    def slowness(self) -> float:
        return max(1.0, self._waited / self._worked) if self._worked else 1.0

    def __enter__(self) -> Pace:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        while True:
            began = time.monotonic()
            pid = os.posix_spawn(_REFERENCE[0], _REFERENCE, os.environ)
            _, _, used = os.wait4(pid, 0)
            self._waited += time.monotonic() - began
            self._worked += used.ru_utime + used.ru_stime
            if self._over.wait(_EVERY):
                return


@contextlib.contextmanager
def promised(seconds: float) -> Iterator[None]:
    """Asserts that a quiet machine needs no longer for what is done meanwhile."""
    began = time.monotonic()
    with Pace() as pace:
        yield
        took = time.monotonic() - began
    assert took <= seconds * pace.slowness, (
        f"{took:.1f} s on a machine that is {pace.slowness:.1f} times slower than quiet;"
        f" promised are {seconds:g} s"
    )


def within(
    seconds: float,
    condition: Callable[[], Any],
    told: Callable[[], Any] = lambda: "it did not come true",
) -> None:
    """Waits until the condition holds, and asserts that a quiet machine needs no longer for it."""
    with promised(seconds):
        wait_until(condition, every=0.1, told=told)
