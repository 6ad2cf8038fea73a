"""A file system of a few megabytes, and a file that takes what is free of it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .unavailable import unavailable


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """The folder, which is made, is a file system of its own meanwhile; that needs root."""
    if os.geteuid() != 0:
        unavailable("only root can mount a small file system")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        unavailable(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all space but `leave` bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
        if leave:
            file.truncate(max(0, file.tell() - leave))
    return ballast
