"""Files that others may read at any moment, JSON that may be broken, and times as text."""

from __future__ import annotations

import calendar
import contextlib
import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

from .text import plain

TAIL = 20


def now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def epoch(text: str) -> float:
    """Seconds since 1970 of what `now` has written."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def is_full(error: BaseException) -> bool:
    """Whether it says that the disk, or what of it this user may have, is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Replaces a file in one step: a reader, or a full disk, never sees half of it.

    durable: it is on the disk when this returns
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def make_private(folder: Path) -> None:
    """Makes a folder of this user alone. Raises OSError where somebody else has made it, or may
    write in it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(13, "belongs to somebody else", str(folder))


def make_executable(path: Path) -> None:
    """Who may read a script may start it: never more than the umask has left."""
    mode = path.stat().st_mode
    path.chmod(mode | (mode & 0o444) >> 2)


def write_changed(path: Path, text: str, executable: bool = False) -> None:
    """Writes a file whose content has changed, in one step."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_atomically(path, text)
    if executable:
        make_executable(path)


def link(target: str, path: Path) -> None:
    """Makes or replaces a relative symbolic link in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    os.symlink(target, temporary)
    os.replace(temporary, path)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


class Unreadable(ValueError):
    """A JSON file of ours that cannot be used; the message says why, in half a sentence."""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of ours; empty where there is no such file. Raises Unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if text.strip() else None
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Unreadable("cannot be read: it is no JSON, or not all of it") from None
    if not isinstance(content, dict):
        what = "holds no JSON object" if text.strip() else "cannot be read: it is empty"
        raise Unreadable(what)
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The same for who goes without: empty where it cannot be used."""
    try:
        return read_object(path)
    except Unreadable:
        return {}


def mapping_in(content: dict[str, Any], key: str) -> dict[str, Any]:
    """What stands under a key, if it is an object; else nothing."""
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def objects_in(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of the list that stands under a key; what else is in it is left out."""
    found = content.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def trouble_with(path: Path) -> str:
    """Why a JSON file of ours cannot be used; empty where it can, or where there is none."""
    try:
        read_object(path)
    except Unreadable as error:
        return str(error)
    return ""


def keep_unreadable(path: Path) -> None:
    """Moves a JSON file that cannot be used out of the way of a new one; nothing is lost."""
    if not trouble_with(path):
        return
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable.{number}")).exists():
        number += 1
    os.replace(path, aside)


def tail(log: Path) -> str:
    """The last lines of a log, without what a terminal would obey."""
    with contextlib.suppress(OSError):
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_000))
            text = file.read().decode(errors="replace")
        return "\n".join(plain(text).splitlines()[-TAIL:])
    return ""
