"""The life of a model's server that a service runs, as `server.sh` starts and ends it.

`serve` lives as long as its stdin, which is the supervisor's lifeline: however that one dies, what
the service runs for it is taken down. What a service is asked is its executor's (`endpoint.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

from snakeval.job.text import plain


class HostedServer(ABC):
    """What a service runs for a deployment, at most one at a time.

    folder  the deployment's
    ended   set once nobody wants it any more
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended = threading.Event()

    @property
    def address(self) -> Path:
        """The file with the URL."""
        return self.folder / "address"

    @property
    @abstractmethod
    def reached(self) -> bool:
        """Whether the service was ever asked: else nothing can be there."""

    @abstractmethod
    def come_up(self) -> None:
        """Creates it, or takes it over where that is right. Raises what `in_words` can tell."""

    @abstractmethod
    def watch(self) -> None:
        """Returns when nobody wants it any more. Raises what keeps it from going on."""

    @abstractmethod
    def sweep(self) -> None:
        """Deletes all that there is of it. Raises what keeps it there."""

    @abstractmethod
    def in_words(self, trouble: Exception) -> str: ...

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(plain(f"{time.strftime('%H:%M:%S')} {text}"), flush=True)

    def tell(self, text: str, last: str) -> str:
        """Says what has not just been said; the text."""
        if text != last:
            self.say(text)
        return text


def live(server: HostedServer) -> str:
    """A server from its creation to its deletion; why it failed, or nothing."""
    failed = ""
    try:
        server.come_up()
        server.watch()
    except Exception as trouble:
        failed = "" if server.ended.is_set() else server.in_words(trouble)
    server.ended.set()
    if server.reached:
        try:
            server.sweep()
        except Exception as trouble:
            failed = "; ".join(filter(None, [failed, server.in_words(trouble)]))
    return failed


def serve(server: HostedServer) -> int:
    """Brings it up and keeps it until stdin ends, or a signal says so; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: server.ended.set())
    threading.Thread(target=_until_eof, args=(server.ended,), daemon=True).start()
    failed = live(server)
    if failed:
        server.say(failed)
    return 1 if failed else 0


def _until_eof(ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    ended.set()
