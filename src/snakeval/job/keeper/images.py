"""An image that was prefetched into a file: one job of a node loads it, the others wait."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import lease
from ..files import make_private
from .commands import quietly
from .job import Failed

if TYPE_CHECKING:
    from .job import Job

PARENT = "/tmp"
LONGEST = 1800.0
"""Seconds that a job waits for another one that loads."""


def loaded(job: Job, engine: str, file: str) -> str:
    """The image as the engine has it now: under its own id, as a loaded one has no digest of a
    registry. Raises Failed, Stopped."""
    wanted = job.settings.archive_id
    if _has(engine, job.image):
        return job.image
    folder = own_folder(job)
    lock = folder / f"load-{wanted.removeprefix('sha256:')}" if folder else None
    until = time.monotonic() + LONGEST
    while lock and not _has(engine, wanted) and not _take(lock) and time.monotonic() < until:
        if not _is_loading(lock):
            lock.unlink(missing_ok=True)
            continue
        job.stop.sleep(1.0)
    try:
        if not _has(engine, wanted):
            _load(job, engine, file, wanted)
    finally:
        # Also that of a job which was killed while it loaded.
        if lock and (_loader(lock) == os.getpid() or not _is_loading(lock)):
            lock.unlink(missing_ok=True)
    return wanted


def _load(job: Job, engine: str, file: str, wanted: str) -> None:
    import tempfile

    job.say(f"loading the image from {file}")
    words = [engine, "load", "--input", file]
    with tempfile.TemporaryFile() as output:  # without a name: nothing is left by whoever is killed
        loading = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        if job.stop.wait(loading) != 0:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines() or [""]
            raise Failed(f"the image cannot be loaded from {file}: {lines[-1]}")
    if not _has(engine, wanted):
        raise Failed(f"{file} has another image than {wanted}: start again, or prefetch again")


def _has(engine: str, image: str) -> bool:
    return quietly(engine, "image", "inspect", image)


def _take(lock: Path) -> bool:
    """Whether this process is the one that loads; the link names it."""
    try:
        os.symlink(str(os.getpid()), lock)
    except OSError:
        return False
    return True


def _loader(lock: Path) -> int:
    try:
        return lease.pid_in(os.readlink(lock))
    except OSError:
        return 0


def _is_loading(lock: Path) -> bool:
    pid = _loader(lock)
    return bool(pid and lease.born(pid))


def own_folder(job: Job) -> Path | None:
    """A folder of this user on this machine, where nobody else writes; None where somebody else
    made it."""
    folder = Path(PARENT, f"snakeval-{os.getuid()}")
    try:
        make_private(folder)
    except OSError:
        job.say(f"{folder} is not this user's alone and is not used")
        return None
    return folder
