"""A model's server as its supervisor has it: a process that is started, looked at and ended.

It is `server.sh serve`; its stdin is a pipe that only the supervisor writes to. When the pipe
closes, however the supervisor ended, the server ends. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
from collections.abc import Callable

from . import processes
from .endpoint import free_port, is_free
from .files import tail
from .paths import ServerPaths

GRACE = 8.0
"""Seconds that a server has to end; its own watchdog sends KILL after 5."""
LARGEST_LOG = 200_000_000
KEPT_OF_LOG = 1_000_000
"""Bytes of a server's log, and of its end that is kept when it has become larger."""


class CannotStart(Exception):
    """Why the server cannot be started, in a sentence."""


class ServerProcess:
    """One server, started as often as it takes.

    options  of `supervise.py`
    say      tells the person who reads the supervisor's log
    host     the address that it listens at
    port     in its latest start
    log      of its latest start
    """

    def __init__(
        self, paths: ServerPaths, options: argparse.Namespace, say: Callable[[str], None]
    ) -> None:
        self._paths, self._options, self._say = paths, options, say
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self.host = "127.0.0.1"
        self.port = 0
        self.log = paths.server_log

    def start(self) -> None:
        """Raises CannotStart."""
        number = 1 + sum(1 for _ in self._paths.logs.glob("server.*.log"))
        self.log = self._paths.logs / f"server.{number}.log"
        self.port = self._options.port if self._options.fixed_port else free_port(self.host)
        if self._options.fixed_port and self._options.own_network and not is_free(self.port):
            raise CannotStart(
                f"port {self.port} is taken on {platform.node()}: free it, or leave "
                "deployment.port out and a free one is chosen",
            )
        reading, writing = os.pipe()
        # Appended to, so that it can be cut while it is written.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", str(self._paths.script), "serve"],
                stdin=reading,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    processes.MARK: str(self._paths.dir),
                    "SNAKEVAL_PORT": str(self.port),
                    "SNAKEVAL_ADDRESS": self.host,
                },
                start_new_session=True,
            )
        os.close(reading)
        self._lifeline = writing
        link = self._paths.server_log
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
            link.symlink_to(self.log.name)
        self._say(f"starting the server (log: {self.log})")

    def stop(self) -> None:
        """Ends the server, and proves it."""
        self._paths.endpoint.unlink(missing_ok=True)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._process is None:
            return
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.sweep()
        self._process = None
        self.end_what_is_left()

    def end_what_is_left(self) -> None:
        """What a server has left in sessions of its own, or a killed supervisor's server."""
        killed = processes.end(self._paths.dir)
        if killed:
            self._say(f"{killed} more processes of the server were ended")

    def sweep(self, *when: str) -> None:
        """Removes what an engine, or a service, still has of it.

        when  `before-start`: what there is may be taken over instead
        """
        swept = subprocess.run(
            ["bash", str(self._paths.script), "sweep", *when],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if swept.returncode and swept.stdout.strip():
            self._say(f"something may be left: {swept.stdout.strip()}")

    def ended(self) -> int | None:
        """The server's exit code once it has ended by itself."""
        return self._process.poll() if self._process else None

    def last_lines(self) -> str:
        return tail(self.log)

    def base_url(self) -> str | None:
        """The server's address, as far as it is known: an engine says it after the start."""
        if self._options.own_network:
            return f"http://{self.host}:{self.port}"
        answer = subprocess.run(
            ["bash", str(self._paths.script), "address"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        address = answer.stdout.split()
        if not address:
            return None
        return address[0] if "://" in address[0] else f"http://{address[0]}"

    def is_own_listener(self) -> bool:
        """Whether what answers at the port is this server, and not somebody who was there first.
        An engine's port is the container's own."""
        if not self._options.own_network:
            return True
        own = processes.of_server(self._paths.dir)
        return processes.all_listeners_are(own, self.port) is not False

    def lost_its_port(self) -> bool:
        """Whether somebody has taken the free port before the server did."""
        own = self._options.own_network and not self._options.fixed_port
        return bool(own) and not is_free(self.port, self.host)

    def cut_log(self) -> None:
        """Keeps a log from filling the disk: of one that is too large its end stays."""
        with contextlib.suppress(OSError):
            size = self.log.stat().st_size
            if size <= LARGEST_LOG:
                return
            with self.log.open("r+b") as log:
                log.seek(-KEPT_OF_LOG, os.SEEK_END)
                end = log.read()
                log.truncate(0)
            with self.log.open("ab") as log:
                log.write(f"[snakeval: {size - len(end)} bytes before this were cut]\n".encode())
                log.write(end)

    def let_go(self) -> None:
        """Closes the lifeline and looks no further: somebody else supervises by now."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
