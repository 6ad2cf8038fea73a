"""A task's `record/<digest>`: what is ours about one spec. No container sees it writable.

    command.sh, ...     what the harness is given; mounted read-only
    check_spec.json     what the check must know
    check.json          what the check has found, and the files it has read
    complete            the mark of a finished result, with the digests of those files
    forgotten           since when poisoned answers are forgotten
    from_empty          the last attempt that began in an empty work folder
    behind_gateway      the attempts whose requests went through a gateway
    without_gateway     a line of JSON for each attempt that was to have one and went without: why
    doubted             the attempts whose answers may be of another model: asked again
    cache-since         since when root may have added files to a shared cache
    stands_for          the digest that this spec has by now, where it was made with an earlier form
    version_1           a mark that an earlier version left in the work folder, not checked yet

A copy lies in every run folder's `lib/`; standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import hostile
from .files import read_json, read_text, write_atomically

CHECK, SPEC, COMPLETE, FORGOTTEN = "check.json", "check_spec.json", "complete", "forgotten"
VERSION_1, STANDS_FOR = "version_1", "stands_for"
FROM_EMPTY, BEHIND, DOUBTED = "from_empty", "behind_gateway", "doubted"
WITHOUT = "without_gateway"

LAYOUT = 2
"""Of a run folder: the number `layout` in run.json; folders of version 1 have none."""

SMALL = 64 * 1024
"""Bytes of a file whose content is always looked at; a larger one, when size or time differ."""


def fingerprints(work: Path, names: Iterable[str]) -> dict[str, Any]:
    """Size, time and SHA-256 of files in a work folder. Raises OSError."""
    return {name: _fingerprint(work, name) for name in sorted(names)}


def _fingerprint(work: Path, name: str) -> dict[str, Any]:
    return {**_seen(work, name), "sha256": hostile.digest(work, name)}


def _seen(work: Path, name: str) -> dict[str, int]:
    """What a look tells, without reading the file. Raises OSError."""
    with hostile.open_binary(work, name) as file:
        found = os.fstat(file.fileno())
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def mark(record: Path, files: Mapping[str, Any], when: str) -> None:
    """Marks the work folder of this record complete, as far as these files are what they were."""
    content = {"completed": when, "files": files}
    write_atomically(record / COMPLETE, json.dumps(content, indent=1) + "\n")


def completed(record: Path) -> str:
    """When the result was made; empty without a mark."""
    return str(read_json(record / COMPLETE).get("completed") or "")


def changed(record: Path, work: Path) -> str | None:
    """A sentence where a published result is no longer what was checked; else None."""
    marked = read_json(record / COMPLETE).get("files")
    if not isinstance(marked, dict):
        return f"the mark {record / COMPLETE} cannot be read"
    other = [name for name, known in marked.items() if not _is_as_known(work, name, known)]
    if not other:
        return None
    shown = ", ".join(map(ascii, other[:3])) + (" and others" if len(other) > 3 else "")
    return (
        f"the result was changed after it was published ({shown}); put the file back, or evaluate "
        "again with fresh=<task>"
    )


def _is_as_known(work: Path, name: str, known: Any) -> bool:
    try:
        seen = _seen(work, name)
        if seen["size"] != known["size"]:
            return False
        if seen == {key: known[key] for key in seen} and seen["size"] > SMALL:
            return True
        return bool(hostile.digest(work, name) == known["sha256"])
    except (OSError, KeyError, TypeError):
        return False


def begin_anew(record: Path, attempt: int = 0) -> None:
    """For a work folder in which nothing is left: what was found in it counts no more, and what an
    earlier attempt had poisoned there is forgotten.

    attempt  the one that begins there: its requests are all that its result stands on
    """
    for name in (COMPLETE, CHECK):
        with contextlib.suppress(FileNotFoundError):
            (record / name).unlink()
    record.mkdir(parents=True, exist_ok=True)
    (record / FORGOTTEN).touch()
    (record / FROM_EMPTY).write_text(f"{attempt}\n", encoding="utf-8")


def from_empty(record: Path) -> int:
    """The last attempt that began in an empty folder; 0: none is known."""
    return max(_numbers(record / FROM_EMPTY), default=0)


def note_gateway(record: Path, attempt: int) -> None:
    """Notes an attempt that is behind a gateway. Raises OSError."""
    _add_number(record / BEHIND, attempt)


def forget_gateway(record: Path, attempt: int) -> None:
    """The attempt goes without, after all. Raises OSError."""
    kept = [number for number in _numbers(record / BEHIND) if number != attempt]
    (record / BEHIND).write_text("".join(f"{number}\n" for number in kept), encoding="utf-8")


def note_without(record: Path, attempt: int, why: str) -> None:
    """Notes why an attempt went without a gateway. Raises OSError."""
    with (record / WITHOUT).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"attempt": attempt, "why": why}) + "\n")


def without_gateway(record: Path) -> list[str]:
    """Why attempts that the work folder stands on went without: each reason once."""
    since, reasons = from_empty(record), dict[str, None]()
    for line in read_text(record / WITHOUT).splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            noted = json.loads(line)
            if noted["attempt"] >= since:
                reasons[str(noted["why"])] = None
    return list(reasons)


def behind_gateway(record: Path) -> set[int]:
    """The attempts whose every request went through a gateway."""
    return set(_numbers(record / BEHIND))


def is_behind_gateway(record: Path, attempts: Iterable[int]) -> bool:
    """Whether all that the work folder stands on went through a gateway.

    attempts  the numbers of all of its spec
    """
    since, behind = from_empty(record), behind_gateway(record)
    return all(number in behind for number in attempts if number >= since)


def doubt(record: Path, attempt: int) -> None:
    """Notes that the answers that an attempt was given may be of another model. Raises OSError."""
    _add_number(record / DOUBTED, attempt)


def doubted(record: Path) -> set[int]:
    """The attempts whose answers are not to be used."""
    return set(_numbers(record / DOUBTED))


def is_doubted(record: Path) -> bool:
    """Whether what is in the work folder may stand on such answers."""
    return max(doubted(record), default=-1) >= from_empty(record)


def _add_number(file: Path, number: int) -> None:
    with file.open("a", encoding="utf-8") as numbers:
        numbers.write(f"{number}\n")


def _numbers(file: Path) -> list[int]:
    try:
        return [int(word) for word in file.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []
