"""A dockerd for one test, which may stop and kill it: others use another one."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import zlib
from collections.abc import Iterator

import psutil

from .docker_engine import DockerEngine, locked, rig_dir
from .waiting import PATIENCE, wait_until

_ENDING = "3"
"""Seconds that its containers have to end when it does."""


class OwnEngine:
    """Without rules of a firewall: its containers reach this machine, and nothing else."""

    def __init__(self) -> None:
        self.folder = rig_dir() / "own-engine"
        self.folder.mkdir(exist_ok=True)
        self.engine = DockerEngine(f"unix://{self.folder / 'socket'}")
        place = zlib.crc32(str(rig_dir()).encode()) % 250
        self._bridge, self._address = f"snakeval-{place}", f"10.98.{place}.1/24"
        self._process: subprocess.Popen[bytes] | None = None

    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if self.lives():
            return
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--data-root={self.folder / 'data'}",
                    f"--exec-root={self.folder / 'exec'}",
                    f"--pidfile={self.folder / 'pid'}",
                    f"--host={self.engine.host}",
                    f"--bridge={self._bridge}",
                    "--iptables=false",
                    f"--shutdown-timeout={_ENDING}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.engine.answers, every=0.2, told=self._log)

    def stop(self) -> None:
        """As `systemctl stop` does."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)
        (self.folder / "pid").unlink(missing_ok=True)

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-1000:]

    def _sweep(self) -> None:
        """What it has left when it was killed: containerd, and what holds containers."""
        mark = str(self.folder)
        for each in psutil.process_iter(["name", "cmdline"]):
            words = " ".join(each.info["cmdline"] or [])
            if mark in words and each.info["name"].startswith(("dockerd", "containerd")):
                with contextlib.suppress(psutil.Error):
                    each.send_signal(signal.SIGKILL)

    def make_network(self) -> None:
        self.remove_network()
        for words in (
            ["link", "add", self._bridge, "type", "bridge"],
            ["address", "add", self._address, "dev", self._bridge],
            ["link", "set", self._bridge, "up"],
        ):
            subprocess.run(["ip", *words], check=True)

    def remove_network(self) -> None:
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True, check=False)


@contextlib.contextmanager
def own_engine(given: DockerEngine, image: str) -> Iterator[OwnEngine]:
    """One with this image of the given engine."""
    with locked("own-engine"):
        own = OwnEngine()
        own._sweep()
        (own.folder / "pid").unlink(missing_ok=True)
        own.make_network()
        try:
            own.start()
            if image not in own.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}"):
                archive = own.folder / "image.tar"
                given.docker("save", "--output", str(archive), image)
                own.engine.docker("load", "--input", str(archive))
                archive.unlink()
            yield own
        finally:
            if own.lives():
                own.stop()
            own._sweep()
            own.remove_network()
