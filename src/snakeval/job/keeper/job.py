"""What all parts of the keeper know of the task, and how an attempt ends badly."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from ..paths import TaskPaths, folder_mark
from .settings import Settings
from .stop import Stop
from .variables import Variables


class Failed(Exception):
    """The attempt has failed; the text is its cause, in one sentence."""


class Job:
    """One task on its way.

    here         the task's folder
    begun_with   the caller's variables
    number       of the attempt; 0 before it has begun
    urls         addresses that the harness asks
    way          host and port at which the harness reaches the gateway; None: there is none
    lifeline     only this process holds its writing end. However it dies, readers see the end
    """

    def __init__(
        self,
        script: Path,
        settings: Settings,
        texts: Mapping[str, str],
        environment: Mapping[str, str],
    ) -> None:
        self.settings = settings
        self.texts = texts
        self.script = script
        self.here = script.parent
        self.run_dir = self.here.parent
        self.lib = self.run_dir / "lib"
        self.paths = TaskPaths(self.here)
        self.work = self.paths.work(settings.digest)
        self.record = self.paths.record(settings.digest)
        self.folder = folder_mark(self.here)
        self.container = f"snakeval-{self.run_dir.name}-{settings.task}-{self.folder}"
        self.begun_with = dict(environment)
        self.stop = Stop()
        self.variables = Variables(settings, self.begun_with)
        self.image = settings.image
        self.endpoint_url = settings.endpoint_url
        self.urls: list[str] = []
        self.way: tuple[str, int] | None = None
        self.number = 0
        self.log = self.paths.logs
        self._lifeline: tuple[int, int] | None = None

    @property
    def lifeline(self) -> int:
        """The reading end."""
        if self._lifeline is None:
            self._lifeline = os.pipe()
        return self._lifeline[0]

    def say(self, text: str, path: str = "") -> None:
        """A line for the person who waits. Nobody may be reading any more: that ends nothing.

        path  of a file, or what is to be typed: on a line of its own, which may be copied whole
        """
        called = self.settings.called or self.settings.task
        line = f"{time.strftime('%H:%M:%S')} {called}: {text}\n" + (f"{path}\n" if path else "")
        data = line.encode("utf-8", errors="backslashreplace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(1, data) :]


def from_here(path: Path) -> str:
    """A path as it is typed where the caller is: short where it is below that folder."""
    try:
        return str(path.relative_to(os.getcwd()))
    except (OSError, ValueError):
        return str(path)


def exit_code(returned: int) -> int:
    """As a shell has it: 128 and the number of the signal."""
    return returned if returned >= 0 else 128 - returned
