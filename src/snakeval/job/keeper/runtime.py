"""The one interface of all ways to start a harness."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple, Optional, Protocol

if TYPE_CHECKING:
    from .killed import Counts

GRACE = 10.0
"""Seconds from TERM to KILL."""


class Launch(NamedTuple):
    """A command, as the system takes it."""

    words: list[str]
    environment: dict[str, str]
    folder: Optional[str] = None  # noqa: UP045 # Python 3.9
    has_lifeline: bool = False
    """Whether it reads the lifeline, which a watchdog of its own waits for."""


class Runtime(Protocol):
    def lacking(self) -> str:
        """What is not on this machine, in half a sentence; empty: nothing."""

    def take_archive(self, file: str) -> None:
        """The image is in a file that was prefetched. Raises Failed, Stopped."""

    def seen_by_harness(self, url: str) -> str:
        """An address of this machine as the harness knows it."""

    def ways_here(self) -> list[str]:
        """Names or addresses by which the harness may reach what listens on this machine, the best
        one first."""

    def has_reached(self, code: int) -> bool:
        """Whether the harness, which has ended with this exit code, could reach it by `job.way`."""

    def launch(self) -> Launch:
        """What starts the harness. Raises Failed."""

    def start(self, launch: Launch, output: int) -> subprocess.Popen[bytes]:
        """Starts it, so that it ends when this process does."""

    def tend(self) -> None:
        """Called now and then while it runs."""

    def stop(self, harness: subprocess.Popen[bytes]) -> None:
        """TERM, and KILL after `GRACE`; returns when nothing of it runs."""

    def killed_by(self, counts: Counts, since: float) -> str:
        """Evidence of who has killed it, where somebody has: a key of `causes.KILLED`; empty: none.

        since  when it was started, in seconds since 1970; `counts` began then too
        """

    def after(self) -> None:
        """Called when the harness has ended: nothing of it is left then."""

    def sweep(self) -> None:
        """Ends what an earlier owner has left running on this machine."""
