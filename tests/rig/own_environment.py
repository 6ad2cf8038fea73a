"""Environments of their own, for packages whose pins are not ours. Made once per machine."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from .docker_engine import RigUnavailable

FOLDER = Path.home() / ".cache" / "snakeval-rig"


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of an environment with these packages and what they need.

    name  of its folder; says the versions. Raises RigUnavailable where it cannot be made.
    """
    folder = FOLDER / name
    python, done = folder / "bin" / "python", folder / "done"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            uv = str(Path(sys.executable).with_name("uv"))
            _run(name, uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _run(name, uv, "pip", "install", "--quiet", "--python", str(python), *packages)
            done.touch()
    return python


def _run(name: str, *command: str) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RigUnavailable(f"no environment {name}: {error}") from None
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["no message"]
        raise RigUnavailable(f"no environment {name}: {said[-1]}")
