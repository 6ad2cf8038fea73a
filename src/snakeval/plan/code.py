"""Which pipeline this is: its version, its revision, and a digest of the code itself.

A version says what was released, a revision what was committed; the digest also sees what somebody
has edited since.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from snakeval import __version__
from snakeval.job.files import read_text

ROOT = Path(__file__).resolve().parents[3]
"""The clone that this code belongs to."""

CODE = ("Snakefile", "rules", "scripts", "src", "config/catalogue", "requirements.lock")
"""What decides what the pipeline does; below it files of these suffixes, and those without one."""
SUFFIXES = ("", ".py", ".sh", ".smk", ".yaml", ".lock")

REVISION = "REVISION"
"""A file in a copy of a clone that has no `.git`: the revision that it was copied of."""


def revision() -> str | None:
    """The git revision of the pipeline, where it is a clone, or the copy of one."""
    if shutil.which("git"):
        asked = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if said:
            return said
    return read_text(ROOT / REVISION) or None


@cache
def code_digest() -> str:
    """Eight hex digits over the files of `CODE`, names and contents."""
    over = hashlib.sha256()
    for path in _files():
        over.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        over.update(hashlib.sha256(path.read_bytes()).digest())
    return over.hexdigest()[:8]


def _files() -> Iterator[Path]:
    for name in CODE:
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            parts = path.relative_to(ROOT).parts
            made = any(part.startswith((".", "__pycache__")) for part in parts)
            made = made or any(part.endswith(".egg-info") for part in parts)
            if path.suffix in SUFFIXES and not made and path.is_file():
                yield path


def in_words() -> str:
    """`0.1.0 (ab12cd34)`: version and digest."""
    return f"{__version__} ({code_digest()})"
