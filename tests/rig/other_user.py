"""An ordinary user of this machine, as whom root's tests start programs.

What the user needs and root keeps in folders closed to others (an interpreter, an engine's
socket) is shown in a mount namespace of the user's own; nothing on the machine is opened.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rig.docker_engine import RigUnavailable


@dataclass(frozen=True)
class OtherUser:
    """uid: of the user and of the user's own group. home: the user's, removed at the end."""

    name: str
    uid: int
    home: Path

    def command(
        self, *command: str, sees: Sequence[Path] = (), groups: Sequence[int] = ()
    ) -> list[str]:
        """A command line that runs a command as this user.

        sees: files and folders that must be reachable. groups: further groups, by number.
        """
        numbers = ",".join(map(str, (self.uid, *groups)))
        become = f"setpriv --reuid={self.uid} --regid={self.uid} --groups={numbers} --inh-caps=-all"
        script = f'set -e\n{_opened(sees)}\nexec {become} "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", *command]


@contextlib.contextmanager
def other_user() -> Iterator[OtherUser]:
    """A user that exists until the end. Raises RigUnavailable."""
    if os.geteuid() != 0:
        raise RigUnavailable("only root can make another user")
    for program in ("useradd", "userdel", "setpriv", "unshare"):
        if shutil.which(program) is None:
            raise RigUnavailable(f"{program} is missing")
    name = f"snakeval-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="snakeval-user-", dir="/tmp") as folder:
        home = Path(folder) / "home"
        _root("useradd", "--create-home", "--home-dir", str(home), "--shell", "/bin/sh", name)
        try:
            Path(folder).chmod(0o755)
            yield OtherUser(name, pwd.getpwnam(name).pw_uid, home)
        finally:
            _end_processes_of(name)
            _root("userdel", name)


def _end_processes_of(name: str) -> None:
    """A rootless podman leaves one that keeps its namespace."""
    left = [process for process in psutil.process_iter(["username"])
            if process.info["username"] == name]  # fmt: skip
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def _root(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigUnavailable(f"{command[0]}: {done.stderr.strip()}")


def _opened(paths: Sequence[Path]) -> str:
    """Shell commands that show these paths where a folder above them is closed to others."""
    lines = []
    closed: dict[Path, list[Path]] = {}
    for path in paths:
        for above in reversed(path.parents):
            if not above.stat().st_mode & 0o001:
                closed.setdefault(above, []).append(path)
                break
    for above, below in closed.items():
        lines.append("kept=$(mktemp -d) && mount -t tmpfs tmpfs $kept && chmod 755 $kept")
        for number, path in enumerate(below):
            make = "mkdir" if path.is_dir() else "touch"
            lines.append(f"{make} $kept/{number}")
            lines.append(f"mount --bind {shlex.quote(str(path))} $kept/{number}")
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(above))}")
        for number, path in enumerate(below):
            place = shlex.quote(str(path))
            make = "mkdir -p" if path.is_dir() else "touch"
            lines.append(f"mkdir -p {shlex.quote(str(path.parent))} && {make} {place}")
            lines.append(f"mount --bind $kept/{number} {place}")
    return "\n".join(lines)
