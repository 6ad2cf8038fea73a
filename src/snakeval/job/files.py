"""Files that others may read at any moment, JSON that may be broken, and times as text."""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

TAIL = 20


def now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def epoch(text: str) -> float:
    """Seconds since 1970 of what `now` has written."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def write_atomically(path: Path, text: str, durable: bool = False) -> None:
    """Replaces a file in one step: a reader, or a full disk, never sees half of it.

    durable: it is on the disk when this returns
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_changed(path: Path, text: str, mode: int | None = None) -> None:
    """Writes a file whose content has changed, in one step."""
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_atomically(path, text)
    if mode is not None:
        path.chmod(mode)


def link(target: str, path: Path) -> None:
    """Makes or replaces a relative symbolic link in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    os.symlink(target, temporary)
    os.replace(temporary, path)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def tail(log: Path) -> str:
    """The last lines of a log."""
    with contextlib.suppress(OSError):
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_000))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-TAIL:])
    return ""
