"""Starts of Snakemake without its imports, which are most of what a start costs.

A helper process imports Snakemake once, and forks for each start: a process of its own, with the
caller's folder, variables and command line, that ends as Snakemake ends. Nothing of the pipeline
itself is imported before the fork; executor plugins are, as Snakemake imports them all, and the one
for Slurm asks the cluster then: there is a helper for each cluster. Where a test is about the
command (who is killed, what stands on a command line, what is imported), it starts the command:
`Project.started`, `Project.run`.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
_IMPORTED = (
    "snakemake.cli",
    "snakemake.api",
    "snakemake.executors.local",
    "hydra",
    "omegaconf",
    "pandas",
    "psutil",
    "pydantic",
    "requests",
    "rich.table",
    "yaml",
)
_LENGTH = 8


class WarmSnakemake:
    """The helper process, from its first use to the end of this one.

    variables  what it imports Snakemake with
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._begin()

    def _begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="snakeval-warm-")
        self._path = str(Path(self._folder.name, "socket"))
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._path)
        listening.listen(16)
        # Its end of the pipe closes when this process ends, however it ends.
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno())],
            stdin=subprocess.PIPE,
            env={name: text for name, text in self._variables.items() if name != "PYTHONPATH"},
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        listening.close()

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        variables: Mapping[str, str],
        output: int,
        timeout: float | None,
    ) -> int:
        """Runs a `snakemake ...` to its end; its exit code as `subprocess` tells it.

        output  a file descriptor for stdout and stderr
        timeout  seconds, after which it is killed, and TimeoutError raised
        """
        if self._process.poll() is not None:  # a test of kills may have met it
            self._folder.cleanup()
            self._begin()
        asked = json.dumps([list(command), str(folder), dict(variables)]).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._path)
            connection.sendmsg([len(asked).to_bytes(_LENGTH, "big")], _as_ancillary(output))
            connection.sendall(asked)
            pid = _number(connection)
            connection.settimeout(timeout)
            try:
                return _number(connection)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                raise


@functools.cache
def _warm_snakemake(path: str, cluster: str | None) -> WarmSnakemake:
    """One helper for each test process and cluster."""
    variables = {**os.environ, "PATH": path} | ({"SLURM_CONF": cluster} if cluster else {})
    helper = WarmSnakemake(variables)
    atexit.register(helper.end)
    return helper


def warm_snakemake(
    command: Sequence[str], variables: Mapping[str, str], sees: str
) -> WarmSnakemake | None:
    """The helper for a command; None where it matters what was imported before, and how.

    sees  the only PYTHONPATH that the helper knows how to add
    """
    told = {name for name in variables if name.startswith("PYTHON")}
    path = os.pathsep.join([str(Path(SNAKEMAKE).parent), os.environ["PATH"]])
    if (
        list(command[:1]) != [SNAKEMAKE]
        or (variables.get("PYTHONPATH"), variables["PATH"]) != (sees, path)
        or not told <= {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    ):
        return None
    return _warm_snakemake(path, variables.get("SLURM_CONF"))


def _as_ancillary(descriptor: int) -> list[tuple[int, int, Any]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]


def _number(connection: socket.socket) -> int:
    said = connection.recv(_LENGTH, socket.MSG_WAITALL)
    if len(said) < _LENGTH:
        raise RuntimeError("the helper that starts Snakemake has ended")
    return int.from_bytes(said, "big", signed=True)


# --- in the helper process ------------------------------------------------------------------------


def _serve(listening: socket.socket) -> None:
    """Forks for each connection; returns in the process that is to become Snakemake."""
    import gc
    import importlib
    import select

    for name in _IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who waits for a start
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            raise SystemExit
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _start(connection)
        connection.close()


def _start(connection: socket.socket) -> None:
    """Starts one, waits for it and tells its code; returns in it."""
    said, ancillary, _, _ = connection.recvmsg(_LENGTH, socket.CMSG_SPACE(4))
    output = array.array("i", ancillary[0][2])[0]
    asked = b""
    while len(asked) < int.from_bytes(said, "big"):
        asked += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        connection.close()
        return _become(output, *json.loads(asked))
    os.close(output)
    with contextlib.suppress(OSError):
        connection.sendall(pid.to_bytes(_LENGTH, "big", signed=True))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        code = os.waitstatus_to_exitcode(status)
        connection.sendall(code.to_bytes(_LENGTH, "big", signed=True))
    os._exit(0)


def _become(output: int, command: list[str], folder: str, variables: dict[str, str]) -> None:
    """This process has that folder, those variables, that command line and that output, and a
    session of its own: who ends all of a session does not end the helper."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.closerange(3, max(nothing, output) + 1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    # As where Python starts: the script's folder first, then PYTHONPATH.
    sys.path[:0] = [str(Path(command[0]).parent), *variables["PYTHONPATH"].split(os.pathsep)]
    sys.argv[:] = command


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder, which nothing of Snakemake knows
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from snakemake.cli import main

    sys.exit(main())
