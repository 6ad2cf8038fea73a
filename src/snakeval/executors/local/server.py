"""A server on this machine: its supervisor is a process of its own, in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import NoReturn

from snakeval.errors import Problem
from snakeval.executors import base
from snakeval.executors.base import did_not_come_up
from snakeval.job.endpoint import is_free
from snakeval.job.files import make_executable, write_atomically
from snakeval.job.lease import send
from snakeval.plan.run import Run
from snakeval.plan.server import Server
from snakeval.render.server import render
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import ServerPaths

DOWN = 20.0
"""Seconds that a server has to end."""


class Servers(base.Servers):
    """Servers of this machine."""

    @property
    def on_this_machine(self) -> bool:
        return True

    def check(self, run: Run, server: Server, runtime: str) -> Iterable[Problem]:
        """What one machine cannot be, and a fixed port that somebody has taken."""
        if server.several:
            yield Problem(
                run.place(*server.keys),
                f"`{server.several}` asks for several nodes or instances, and this is one machine "
                "(nobody has tried it with this version)",
                "take it out, or use profiles/slurm",
            )
        if server.type != "process" or not server.port:
            return
        if not state.supervisor_of(run.paths.server(server.name)) and not is_free(server.port):
            yield Problem(
                run.place(*server.keys, "port"),
                f"port {server.port} is taken on this machine",
                "free it, or leave deployment.port out and a free one is chosen",
            )

    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, int | str],
    ) -> None:
        """Writes `server.sh`."""
        script = run.paths.server(server.name).script
        write_atomically(script, render(server, runtime, image))
        make_executable(script)

    def where(self, paths: ServerPaths) -> str:
        owner = state.supervisor_of(paths)
        return f"{owner.host}, pid {owner.pid}" if owner else ""

    def bring_up(self, paths: ServerPaths) -> None:
        """Returns when the server is healthy. Raises InputError when it will not be."""
        owner = state.supervisor_of(paths)
        if owner and owner.digest != state.script_digest(paths):
            # The config has changed: another server, which must not answer for this one.
            print(f"{paths.dir.name}: the server that runs is of an earlier config; it is replaced")
            self.take_down(paths)
            owner = None
        if owner:
            print(f"{paths.dir.name}: supervised by pid {owner.pid} since an earlier start")
            if _comes_up(paths, None):
                return
            if not state.ended_unasked(paths):
                raise did_not_come_up(paths, str(state.record_of(paths).get("cause")))
            print(f"{paths.dir.name}: that one has just ended; another one is started")
        before = state.record_of(paths)
        supervisor = _start(paths)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: _give_up(paths))
        if not _comes_up(paths, supervisor):
            record = state.record_of(paths)
            said = record.get("cause") if record != before else None  # else it is an earlier one's
            raise did_not_come_up(paths, said or _last_line(paths))

    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        """Asks for the server's end and waits for it; whether it is down.

        when  `now`, or `unused`: as soon as no benchmark uses it
        """
        owner = state.supervisor_of(paths)
        if owner is None or state.ask_to_end(paths, when, DOWN):
            return True
        if when == "now" and owner.here:
            send(owner, signal.SIGKILL, paths.dir)  # its server ends with it
            return state.ask_to_end(paths, when, 5)
        return False


def _start(paths: ServerPaths) -> subprocess.Popen[bytes]:
    paths.logs.mkdir(parents=True, exist_ok=True)
    paths.stop.unlink(missing_ok=True)
    with paths.supervisor_log.open("ab") as log:
        return subprocess.Popen(
            ["bash", str(paths.script)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _give_up(paths: ServerPaths) -> NoReturn:
    """Nobody waits for the server any more."""
    paths.stop.write_text("now", encoding="utf-8")
    os._exit(130)


def _comes_up(paths: ServerPaths, supervisor: subprocess.Popen[bytes] | None) -> bool:
    """Waits until the server is healthy; False when nobody supervises it any more."""
    began = time.monotonic()
    while True:
        live = state.endpoint_of(paths)
        if live:
            waited = time.monotonic() - began
            print(f"{paths.dir.name}: up at {live['url']} (waited {waited:.1f} s)")
            return True
        ended = supervisor is None or supervisor.poll() is not None
        if ended and not state.supervisor_of(paths):
            return False
        time.sleep(0.1)


def _last_line(paths: ServerPaths) -> str:
    try:
        lines = paths.supervisor_log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "its supervisor ended without a word"
