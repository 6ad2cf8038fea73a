"""podman as it works for root on Debian, with storage of its own in the rig's folder."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .docker_engine import DockerEngine, RigUnavailable, locked, rig_dir


@dataclass(frozen=True)
class Podman:
    """argv: how to call it; environment: the variables without which the plain call fails."""

    argv: tuple[str, ...]
    environment: dict[str, str]

    def podman(self, *arguments: str) -> str:
        """Standard output of a podman command, stripped; `RigUnavailable` when it fails."""
        done = subprocess.run(
            [*self.argv, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=os.environ | self.environment,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise RigUnavailable(f"podman {arguments[0]}: {said[0]}")
        return done.stdout.strip()

    def ensure_image(self, engine: DockerEngine, tag: str) -> str:
        """Bring an image of the Docker engine over, unless it is here; its name in podman."""
        name = f"localhost/{tag}"
        with locked("podman"):
            if self._id_of(name) != engine.docker("image", "inspect", "--format", "{{.Id}}", tag):
                self._load(engine, tag)
        return name

    def _id_of(self, name: str) -> str | None:
        try:
            return f"sha256:{self.podman('image', 'inspect', '--format', '{{.Id}}', name)}"
        except RigUnavailable:
            return None

    def _load(self, engine: DockerEngine, tag: str) -> None:
        archive = rig_dir() / "podman" / "image.tar"
        try:
            engine.docker("save", "--output", str(archive), tag)
            self.podman("load", "--input", str(archive))
        finally:
            archive.unlink(missing_ok=True)


def podman_here() -> Podman:
    """podman for this user; `RigUnavailable` where there is none."""
    if shutil.which("podman") is None:
        raise RigUnavailable("podman is missing (Debian: apt-get install podman)")
    folder = rig_dir() / "podman"
    folder.mkdir(exist_ok=True)
    podman = Podman(("podman",), _root_settings(folder) if os.geteuid() == 0 else {})
    podman.podman("info")
    return podman


def _root_settings(folder: Path) -> dict[str, str]:
    """Settings by file, so that the plain `podman run` of a user works as it stands.

    For root without systemd, podman 4.3 needs another cgroup manager, runc in place of crun, and
    limits that do not exceed those of the machine.
    """
    lines = [
        "[containers]",
        # The threads of all of root's processes count, those of other containers too, and the
        # adapter of the NeMo image alone starts hundreds.
        'default_ulimits = ["nofile=1024:1024", "nproc=32768:32768"]',
        "pids_limit = 0",
        "[engine]",
        'cgroup_manager = "cgroupfs"',
        'events_logger = "file"',
    ]
    if runc := shutil.which("runc"):
        lines.append(f'runtime = "{runc}"')
    # For --init where podman's own (catatonit) is missing: Docker's understands the same words.
    if shutil.which("catatonit") is None and (init := shutil.which("docker-init")):
        lines.append(f'init_path = "{init}"')
    containers = folder / "containers.conf"
    containers.write_text("\n".join(lines) + "\n")
    storage = folder / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    return {"CONTAINERS_CONF": str(containers), "CONTAINERS_STORAGE_CONF": str(storage)}


def rootless_settings(home: Path) -> dict[str, str]:
    """What a podman of an ordinary user needs on a machine without systemd; by file, as above."""
    runtime = home / "run"
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = home / "containers.conf"
    lines = [
        "[containers]",
        "pids_limit = 0",
        "[engine]",
        'cgroup_manager = "cgroupfs"',
        'events_logger = "file"',
    ]
    if shutil.which("catatonit") is None and (init := shutil.which("docker-init")):
        lines.append(f'init_path = "{init}"')
    settings.write_text("\n".join(lines) + "\n")
    return {"CONTAINERS_CONF": str(settings), "XDG_RUNTIME_DIR": str(runtime)}
