"""The servers of the pipeline that a task asks: they stay as long as somebody uses them, and may
move while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import read_text
from ..paths import ServerPaths

if TYPE_CHECKING:
    from .job import Job

HICCUP = 1.0
"""Seconds: a network file system may show less than there is, once."""


class Servers:
    """The servers of one task; without any, nothing of it costs anything."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._names = job.settings.servers
        self._seen: dict[str, str] = {}
        self._away: dict[str, float] = {}
        """Since when (monotonic) those that are not where they were have been away."""
        self._dead: dict[str, str] = {}
        self.why_dead = ""
        """What has become of one that nobody brings up again, in a sentence."""
        self.addresses: dict[str, str] = {}
        self.patience = 0.0
        """Seconds that a server may be away: a gateway holds back what is asked meanwhile."""

    def _folder(self, name: str) -> Path:
        return self._job.run_dir / "deployments" / name

    def _sign(self, name: str) -> Path:
        return ServerPaths(self._folder(name)).users / self._job.settings.task

    def use(self) -> None:
        for name in self._names:
            with contextlib.suppress(OSError):
                self._sign(name).touch()

    def leave(self) -> None:
        for name in self._names:
            with contextlib.suppress(OSError):
                self._sign(name).unlink()

    def wait(self) -> None:
        """Until all are healthy; their addresses are read anew in each attempt. Raises Stopped, or
        Failed."""
        if not self._names:
            return
        from .. import server
        from .job import Failed

        for name in self._names:
            folder, timeout = self._folder(name), self._job.settings.server_timeout
            try:
                address = self._job.stop.during(
                    lambda folder=folder, timeout=timeout: server.address(folder, timeout)  # type: ignore[misc]
                )
            except server.NoServer as why:
                raise Failed(str(why)) from None
            self.addresses[name] = address
            self._seen[name] = read_text(ServerPaths(folder).endpoint)

    def follow(self, lead: Callable[[str, str], bool]) -> bool:
        """Looks where the servers are now; whether the attempt is to end since it cannot go on
        with one that has moved or gone: it is not the benchmark that has failed. Only an attempt
        that has begun has noted an address.

        lead  takes a server and its new address; whether the harness asks there from now on
        """
        from .. import server

        for name, seen in self._seen.copy().items():
            now = read_text(ServerPaths(self._folder(name)).endpoint)
            if now == seen:
                self._away.pop(name, None)
                continue
            url = server.address_in(now)
            if url and lead(name, url):
                self._seen[name] = now
                self._away.pop(name, None)
                continue
            since = self._away.setdefault(name, time.monotonic())
            # One that is gone may come back, and what is asked of it is held back for so long. One
            # that does not belong to a cluster's job is not waited for here.
            patience = HICCUP if url else max(HICCUP, self.patience)
            if server.is_a_job(seen) and time.monotonic() - since >= patience:
                return True
        return False

    def have_died(self) -> bool:
        """Whether one has ended with its supervisor, so that waiting for it is of no use. Seen
        twice: once may be a hiccup of a network file system."""
        from .. import server

        seen = {
            name: why
            for name, seen in self._seen.copy().items()
            if (why := server.died(self._folder(name), seen))
        }
        again = [name for name in seen if name in self._dead]
        self._dead = seen
        if again:
            self.why_dead = f"the server '{again[0]}' ended during this attempt: {seen[again[0]]}"
        return bool(again)

    def are_gone(self) -> bool:
        """The same, after a failure: a cluster ends a server and its supervisor together, and the
        harness may have ended before the supervisor has said so."""
        from .. import server

        return any(server.has_gone(self._folder(name), seen) for name, seen in self._jobs())

    def _jobs(self) -> list[tuple[str, str]]:
        if not self._seen:
            return []
        from .. import server

        return [(name, seen) for name, seen in self._seen.copy().items() if server.is_a_job(seen)]

    def trouble(self) -> str:
        """What a failed attempt has to say about its servers. One that does not answer has gone,
        though its supervisor may not have seen it yet: that is waited for."""
        if not self._names:
            return ""
        from .. import server

        told = ""
        for name, seen in self._seen.items():
            server.has_gone(self._folder(name), seen)
            told += server.trouble(self._folder(name), seen)
        return told
