"""What the service runs: a container's command, for real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leptonai.api.v2.types.deployment import EnvVar, Mount

from ..docker_engine import DockerEngine
from .wire import Refused

LABEL = "snakeval-test.lepton"


@dataclass
class Machine:
    """Where workloads run: an engine, or this machine itself."""

    volumes: dict[str, Path]
    engine: DockerEngine | None
    secrets: dict[str, str]
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    running: list[Workload] = field(default_factory=list)
    hosts: Callable[[], Iterable[str]] = tuple
    """Names that containers find at this machine."""

    def mounts(self, wanted: Sequence[Mount]) -> list[tuple[Path, str]]:
        """Folders of this machine and where a container sees them. Raises Refused."""
        found = []
        for mount in wanted:
            root = self.volumes.get(mount.from_)
            if root is None:
                raise Refused(400, f"no storage '{mount.from_}' for a mount")
            folder = root / (mount.path or "/").lstrip("/")
            if not folder.is_dir():
                raise Refused(400, f"'{mount.path}' is not on {mount.from_}")
            if self.engine is None and folder != Path(mount.mount_path):
                raise Refused(400, f"without an engine {folder} cannot be at {mount.mount_path}")
            found.append((folder, mount.mount_path))
        return found

    def variables(self, wanted: Sequence[EnvVar]) -> dict[str, str]:
        """Variables with the secrets' values. Raises Refused for a secret that is not there."""
        found = {}
        for variable in wanted:
            reference = variable.value_from and variable.value_from.secret_name_ref
            if reference and reference not in self.secrets:
                raise Refused(400, f"secret '{reference}' is not in this workspace")
            found[variable.name] = self.secrets[reference] if reference else variable.value or ""
        return found

    def start(
        self,
        image: str,
        command: Sequence[str],
        mounts: Sequence[tuple[Path, str]] = (),
        variables: dict[str, str] | None = None,
    ) -> Workload:
        """Runs a command in an image; the image's own entry point does not count."""
        workload = Workload(self, image, list(command), list(mounts), dict(variables or {}))
        self.running.append(workload)
        return workload

    def close(self) -> None:
        for workload in self.running:
            workload.kill()


class Workload:
    """A container (or a process) that runs; its output is kept."""

    def __init__(
        self,
        machine: Machine,
        image: str,
        command: list[str],
        mounts: list[tuple[Path, str]],
        variables: dict[str, str],
    ) -> None:
        self._engine = machine.engine
        hosts = [word for name in machine.hosts() for word in ("--add-host", f"{name}:127.0.0.1")]
        self._container = f"lepton-rig-{machine.name}-{uuid.uuid4().hex[:8]}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 # as long as the workload
        self._lock = threading.Lock()
        words = command
        environment = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), **variables}
        if self._engine:
            names = [word for name in variables for word in ("--env", name)]
            volumes = [word for folder, at in mounts for word in ("--volume", f"{folder}:{at}")]
            words = [
                *("docker", "--host", self._engine.host, "run", "--rm", "--init"),
                *("--name", self._container, "--label", LABEL, "--network", "host"),
                *(*names, *volumes, *hosts),
                *(("--entrypoint", command[0]) if command else ()),
                *(image, *command[1:]),
            ]
        self._process = subprocess.Popen(
            words,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def code(self) -> int | None:
        """The exit code; None while it runs."""
        with self._lock:
            return self._process.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.code()

    @property
    def log(self) -> bytes:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0)

    def stop(self, grace: float = 20.0) -> None:
        """TERM, and KILL after the grace."""
        self._signal(signal.SIGTERM)
        if self.wait(grace) is None:
            self.kill()

    def kill(self) -> None:
        if self.code() is None:
            self._signal(signal.SIGKILL)
            self.wait(20)

    def _signal(self, number: signal.Signals) -> None:
        if self._engine:
            subprocess.run(
                [
                    *("docker", "--host", self._engine.host, "kill"),
                    *("--signal", number.name, self._container),
                ],
                capture_output=True,
                check=False,
            )
            if number != signal.SIGKILL:
                return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
