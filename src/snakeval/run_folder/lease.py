"""Who works on a task now: the lease that `run.sh` takes, as others see it."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

SILENCE = 30.0
"""Seconds without a heartbeat after which an owner is dead; the same number is in run.sh."""


@dataclass(frozen=True)
class Owner:
    """A `run.sh` that holds a task."""

    host: str
    pid: int
    job: str
    container: str
    digest: str
    alive: bool
    here: bool
    """Whether its pid is one of this machine's, and not of a container with the same host name."""


def owner_of(lease: Path) -> Owner | None:
    """The owner of a task, or None when nobody holds it."""
    try:
        lines = (lease / "owner").read_text(encoding="utf-8").splitlines()
        beat = (lease / "beat").stat().st_mtime
    except OSError:
        return None
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    pid = int(fields.get("pid") or 0)
    host, _, namespace = fields.get("host", "").partition(" ")
    living = time.time() - beat < SILENCE
    here = host == platform.node() and namespace == _pid_namespace()
    if here and not _exists(pid):
        living = False
    return Owner(
        host,
        pid,
        fields.get("job", ""),
        fields.get("container", ""),
        fields.get("digest", ""),
        living,
        here,
    )


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
