"""An environment of its own with the launcher and NVIDIA's core, whose pins are not ours.

Made once per machine, in a few seconds; SNAKEVAL_LAUNCHER_PYTHON names the interpreter of another.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from rig.docker_engine import RigUnavailable

PACKAGES = ("nemo-evaluator-launcher==0.2.6", "nemo-evaluator==0.2.8")
FOLDER = Path.home() / ".cache" / "snakeval-rig" / "launcher-0.2.6"


def launcher_python() -> Path:
    """Its interpreter. Raises RigUnavailable where it cannot be made."""
    named = os.environ.get("SNAKEVAL_LAUNCHER_PYTHON")
    if named:
        return Path(named)
    python, done = FOLDER / "bin" / "python", FOLDER / "done"
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            uv = str(Path(sys.executable).with_name("uv"))
            _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER))
            _run(uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES)
            done.touch()
    return python


def _run(*command: str) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RigUnavailable(f"no environment with the launcher: {error}") from None
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["no message"]
        raise RigUnavailable(f"no environment with the launcher: {said[-1]}")
