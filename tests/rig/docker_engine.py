"""A real Docker engine for the tests: the one that is there, else a dockerd of our own.

`python -m tests.rig.docker_engine up` starts one that stays and prints its DOCKER_HOST;
`down` ends it. Everything of it lies in the rig's folder ($SNAKEVAL_RIG_DIR).
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from .waiting import PATIENCE

# A unix socket's path holds 107 characters and the terminating zero (unix(7)).
_LONGEST_SOCKET_PATH = 107


class RigUnavailable(Exception):
    """A real part cannot be had on this machine; the text says why, on one line."""


def rig_dir() -> Path:
    """Where the rig keeps what is costly to make; never inside the repository."""
    folder = Path(os.environ.get("SNAKEVAL_RIG_DIR") or "~/.cache/snakeval-rig").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@contextlib.contextmanager
def locked(name: str, kind: int = fcntl.LOCK_EX) -> Iterator[IO[str]]:
    """Hold the rig's lock of that name: sessions may run side by side.

    Raises BlockingIOError with LOCK_NB and somebody else holding it.
    """
    with (rig_dir() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, kind)
        yield file


@dataclass(frozen=True)
class DockerEngine:
    """host: the value for DOCKER_HOST."""

    host: str

    def docker(self, *arguments: str, stdin: IO[bytes] | None = None, timeout: float = 600) -> str:
        """Standard output of a docker command, stripped; `RigUnavailable` when it fails.

        timeout: seconds.
        """
        command = ["docker", "--host", self.host, *arguments]
        done = subprocess.run(
            command, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=timeout
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            why = " | ".join(said[-3:]) or f"exit code {done.returncode}"
            raise RigUnavailable(f"docker {' '.join(arguments[:2])}: {why}")
        return done.stdout.decode().strip()

    def answers(self) -> bool:
        try:
            self.docker("version", "--format", "{{.Server.Version}}", timeout=20)
        except (RigUnavailable, subprocess.TimeoutExpired):
            return False
        return True

    def bridge_address(self) -> str:
        """This machine's address on the default bridge, as containers there see it."""
        # The interface is asked, as Docker 20.10 does not list the bridge's own address.
        option = '{{index .Options "com.docker.network.bridge.name"}}'
        interface = self.docker("network", "inspect", "bridge", "--format", option)
        for address in psutil.net_if_addrs().get(interface, []):
            if address.family == socket.AF_INET:
                return str(address.address)
        raise RigUnavailable(f"this machine has no address on the engine's bridge {interface!r}")


def given_engine() -> DockerEngine | None:
    """The engine of DOCKER_HOST or of docker's default context; None where there is none.

    Raises `RigUnavailable` when DOCKER_HOST names one that does not answer: starting another
    would hide the mistake.
    """
    if shutil.which("docker") is None:
        raise RigUnavailable("the docker command is missing (Debian: apt-get install docker.io)")
    if host := os.environ.get("DOCKER_HOST"):
        if not DockerEngine(host).answers():
            raise RigUnavailable(f"no Docker engine answers at DOCKER_HOST={host}")
        return DockerEngine(host)
    shown = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
        capture_output=True,
        text=True,
    )
    engine = DockerEngine(shown.stdout.strip() or "unix:///var/run/docker.sock")
    return engine if engine.answers() else None


@contextlib.contextmanager
def engine_for_session() -> Iterator[DockerEngine]:
    """An engine for one test session; one that a session started ends with the last session."""
    if given := given_engine():
        yield given
        return
    try:
        with locked("engine-users", fcntl.LOCK_SH):
            yield start_engine(ends_with_session=True)
    finally:
        _stop_if_last()


def start_engine(*, ends_with_session: bool = False) -> DockerEngine:
    """The rig's own dockerd: the living one, else a new one, ready to be used."""
    with locked("engine-start"):
        engine = DockerEngine(f"unix://{_socket_path()}")
        if engine.answers():
            return engine
        _check_that_dockerd_can_start()
        _remove_stale_pid_file()
        if ends_with_session:
            _session_mark().touch()
        else:
            _session_mark().unlink(missing_ok=True)
        process = _launch()
        deadline = time.monotonic() + PATIENCE
        while not engine.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                raise RigUnavailable(f"dockerd does not start: {_last_complaint()}")
            time.sleep(0.2)
        return engine


def stop_engine() -> None:
    """End the rig's own dockerd, with its containers; nothing happens where none is running."""
    with locked("engine-start"):
        process = _running_dockerd()
        if process is None:
            return
        process.terminate()
        deadline = time.monotonic() + PATIENCE  # it gives its containers 15 s, then kills them
        while _lives(process):
            if time.monotonic() > deadline:
                raise RigUnavailable(f"dockerd (pid {process.pid}) does not end")
            time.sleep(0.1)
        _session_mark().unlink(missing_ok=True)


def _lives(process: psutil.Process) -> bool:
    """Whether it runs. Another test process may have started it, and not asked how it ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _stop_if_last() -> None:
    """Stop what a session started, unless another session is using it."""
    if not _session_mark().exists():
        return
    with (
        contextlib.suppress(BlockingIOError),
        locked("engine-users", fcntl.LOCK_EX | fcntl.LOCK_NB),
    ):
        stop_engine()


def _folder() -> Path:
    folder = rig_dir() / "docker"
    folder.mkdir(exist_ok=True)
    return folder


def _socket_path() -> Path:
    return _folder() / "docker.sock"


def _pid_file() -> Path:
    return _folder() / "pid"


def _log() -> Path:
    return _folder() / "dockerd.log"


def _session_mark() -> Path:
    return _folder() / "ends-with-session"


def _check_that_dockerd_can_start() -> None:
    if os.geteuid() != 0:
        raise RigUnavailable("no Docker engine is running, and only root can start one")
    programs = {"dockerd": "docker.io", "containerd": "containerd", "iptables": "iptables"}
    for program, package in programs.items():
        if shutil.which(program) is None:
            raise RigUnavailable(f"{program} is missing (Debian: apt-get install {package})")
    if len(str(_socket_path())) > _LONGEST_SOCKET_PATH:
        raise RigUnavailable(
            f"the socket's path is too long, set SNAKEVAL_RIG_DIR: {_socket_path()}"
        )


def _launch() -> subprocess.Popen[bytes]:
    folder = _folder()
    with _log().open("wb") as log:
        return subprocess.Popen(
            [
                "dockerd",
                f"--data-root={folder / 'data'}",
                f"--exec-root={folder / 'exec'}",
                f"--pidfile={_pid_file()}",
                f"--host=unix://{_socket_path()}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in a test session must not end it before the containers.
            start_new_session=True,
        )


def _running_dockerd() -> psutil.Process | None:
    """The process of the pid file, if it is a dockerd of this folder."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(_pid_file().read_text()))
        if f"--pidfile={_pid_file()}" in process.cmdline():
            return process
    return None


def _remove_stale_pid_file() -> None:
    """After a crash dockerd would take any process of that number for itself and refuse."""
    if _running_dockerd() is None:
        _pid_file().unlink(missing_ok=True)


def _last_complaint() -> str:
    lines = _log().read_text(errors="replace").strip().splitlines()
    complaints = [line for line in lines if "level=" not in line or "level=fatal" in line]
    return (complaints or lines or ["it says nothing"])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description="The tests' own Docker engine.")
    parser.add_argument("action", choices=["up", "down"])
    try:
        if parser.parse_args().action == "down":
            stop_engine()
        else:
            print((given_engine() or start_engine()).host)
    except RigUnavailable as reason:
        raise SystemExit(f"docker engine: {reason}") from None


if __name__ == "__main__":
    main()
