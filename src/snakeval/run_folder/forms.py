"""Specs whose digest is another by now: work of an earlier version stays where it is, and is found.

A new form of the digest (say, one that looks at more of a benchmark's files) gives an unchanged
spec another digest. What was done under the old one is noted, when it is met, to stand for the new
one (`record/<old>/stands_for`); from then on only the new one decides whether the spec has changed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from snakeval.job.files import write_atomically
from snakeval.job.paths import TaskPaths
from snakeval.job.record import STANDS_FOR

DIGEST = re.compile(r"[0-9a-f]{12}\Z")


def found(paths: TaskPaths, digest: str, earlier: str | None) -> str | None:
    """The digest under which the work on a spec lies; None: there is none yet.

    earlier  that of the same spec in the earlier form, where it is another
    """
    if paths.work(digest).is_dir():
        return digest
    if earlier is None:
        return None
    noted = dict(_noted(paths))
    for name, stands_for in noted.items():
        if stands_for == digest and paths.work(name).is_dir():
            return name
    return earlier if earlier not in noted and paths.work(earlier).is_dir() else None


def note(paths: TaskPaths, used: str, digest: str) -> None:
    """Notes that the work under one digest is that of another, where it is not noted yet."""
    noted = paths.record(used) / STANDS_FOR
    if used != digest and paths.work(used).is_dir() and not noted.exists():
        with contextlib.suppress(OSError):  # a folder of somebody else: it is read as it is
            noted.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(noted, digest + "\n")


def _noted(paths: TaskPaths) -> Iterator[tuple[str, str]]:
    for place in sorted((paths.dir / "record").glob(f"*/{STANDS_FOR}")):
        if DIGEST.match(place.parent.name):
            with contextlib.suppress(OSError):
                yield place.parent.name, place.read_text(encoding="utf-8").strip()
