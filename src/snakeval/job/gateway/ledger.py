"""The ledger of a task: a line of JSON for every request; and the file with the answers.

    ledger.jsonl   appended to only, by one process at a time; a line that was cut is passed over
    answers.bin    the answers, compressed; a line of the ledger says at which byte one begins

An answer is written before its line, so what the ledger has is there. Both survive SIGKILL at any
moment: a line or an answer is one write. After a power cut the last seconds may be missing; an
answer that does not match its checksum is asked again. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import record

LEDGER = "ledger.jsonl"
ANSWERS = "answers.bin"
MODEL = "model"
"""The name of the endpoint of the model under evaluation."""

_line = json.JSONEncoder(separators=(",", ":")).encode
_NAMES = "model", "named", "source"
_HEAD = struct.Struct(">4sII")  # mark, length and checksum of what follows
_MARK = b"SVA1"


class Stored(NamedTuple):
    """An answer on disk: its media type, when it was given (seconds since 1970), its whole body."""

    content_type: str
    given: float
    body: bytes


def rows(ledger: Path) -> Iterator[dict[str, Any]]:
    """The lines of a ledger, oldest first; none where there is no ledger."""
    with contextlib.suppress(FileNotFoundError), ledger.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row


class Ledger:
    """Writes lines. Raises OSError where the disk is full: what is not recorded did not happen."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER
        self._file = _appended(self.path)
        if not _ends_with_newline(self.path):
            _write_all(self._file, b"\n")

    def add(self, row: Mapping[str, Any]) -> None:
        _write_all(self._file, f"{_line(row)}\n".encode())


class Found(NamedTuple):
    """An answer from disk: the byte at which it begins, the model that it names where that is not
    the one asked for, whose record it was taken from, if not the task's own, and how many choices
    or vectors are in it, where not one."""

    at: int
    stored: Stored
    named: str | None
    source: str | None
    parts: int | None


class Answers:
    """The answers of earlier attempts, and those of this one that nobody has received. Empty ones
    are asked again where they are no answers: of an endpoint that has said nothing else, and of a
    judge, whose silence is no verdict.

    Those of an attempt in which the model may have been another one are left out (`record.doubt`).

    others        records whose answers are taken where there is none, and kept here too; by names
    of_one_model  leaves out those that name another model than most: they are asked again
    seen          is shown every line of the ledger, which is read once
    """

    def __init__(
        self,
        folder: Path,
        of_one_model: bool = True,
        seen: Callable[[Mapping[str, Any]], None] = lambda _: None,
        others: Mapping[str, Answers] | None = None,
        is_read_only: bool = False,
    ) -> None:
        if is_read_only:
            self._file = os.open(folder / ANSWERS, os.O_RDONLY | os.O_CLOEXEC)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _appended(folder / ANSWERS)
        self._others = dict(others or {})
        doubted = record.doubted(folder)
        doubtful: set[int] = set()
        self._at: dict[bytes, int] = {}
        self._sources: dict[int, str] = {}
        self._parts: dict[int, int] = {}
        named: dict[bytes, tuple[str, str]] = {}
        as_asked: set[str] = set()
        empty: dict[bytes, str] = {}
        speaking: set[str] = set()
        for row in rows(folder / LEDGER):
            seen(row)
            if "at" not in row:
                continue
            try:
                place = _place(bytes.fromhex(row["key"]), row["occurrence"])
                hash(tuple(row.get(name) for name in ("at", "endpoint", "attempt", *_NAMES)))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                continue  # a line that no gateway has written
            is_of_model = row.get("endpoint", MODEL) == MODEL
            if is_of_model and row.get("outcome") == "answered" and row.get("attempt") in doubted:
                doubtful.add(row["at"])
            if row["at"] in doubtful:
                continue
            self._at[place] = row["at"]
            if row.get("empty"):
                empty[place] = row.get("endpoint", MODEL)
            elif row.get("outcome") == "answered":
                empty.pop(place, None)
                speaking.add(row.get("endpoint", ""))
            if row.get("parts"):
                self._parts[row["at"]] = row["parts"]
            if row.get("source"):
                self._sources[row["at"]] = row["source"]
            if row.get("named"):
                named[place] = row.get("model", ""), row["named"]
            elif row.get("outcome") == "answered":
                named.pop(place, None)
                as_asked.add(row.get("model", ""))
        silent = {
            place
            for place, endpoint in empty.items()
            if endpoint != MODEL or endpoint not in speaking
        }
        of_another = set(_of_others(named, as_asked)) if of_one_model else set()
        for place in silent | of_another:
            del self._at[place]
        self._named = {
            self._at[place]: name for place, (_, name) in named.items() if place in self._at
        }

    @property
    def is_empty(self) -> bool:
        return not self._at and all(other.is_empty for other in self._others.values())

    def keep(self, stored: Stored) -> int:
        """Writes an answer; the byte at which it begins."""
        head = json.dumps({"content_type": stored.content_type, "given": stored.given})
        packed = zlib.compress(head.encode() + b"\n" + stored.body, 1)
        at = os.lseek(self._file, 0, os.SEEK_END)
        _write_all(self._file, _HEAD.pack(_MARK, len(packed), zlib.crc32(packed)) + packed)
        return at

    def undelivered(self, key: bytes, occurrence: int, at: int) -> None:
        """Whoever asks next gets this one."""
        self._at[_place(key, occurrence)] = at

    def take(self, key: bytes, occurrence: int) -> Found | None:
        """An answer that is there; None: it is to be asked."""
        at = self._at.pop(_place(key, occurrence), None)
        stored = None if at is None else self.read(at)
        if at is not None and stored is not None:
            told = self._named.get(at), self._sources.get(at), self._parts.get(at)
            return Found(at, stored, *told)
        for name, other in self._others.items():
            if found := other.take(key, occurrence):
                at = self.keep(found.stored)
                return Found(at, found.stored, found.named, name, found.parts)
        return None

    def read(self, at: int) -> Stored | None:
        """The answer that begins at a byte; None where it is not whole."""
        try:
            mark, length, checksum = _unpacked(os.pread(self._file, _HEAD.size, at))
            packed = os.pread(self._file, length, at + _HEAD.size)
        except (OSError, TypeError, OverflowError):
            return None  # no place in a file
        if mark != _MARK or len(packed) != length or zlib.crc32(packed) != checksum:
            return None
        head, _, body = zlib.decompress(packed).partition(b"\n")
        told = json.loads(head)
        return Stored(told["content_type"], told["given"], body)


def _of_others(named: Mapping[bytes, tuple[str, str]], as_asked: set[str]) -> Iterator[bytes]:
    """Places of answers by another model than the rest of those to the same model's name.

    named  asked for, and named in the answer; as_asked: models that have answered by their name
    """
    most = {asked: name for (asked, name), _ in reversed(Counter(named.values()).most_common())}
    for place, (asked, name) in named.items():
        if asked in as_asked or name != most[asked]:
            yield place


def _place(key: bytes, occurrence: int) -> bytes:
    return key + occurrence.to_bytes(4, "big")


def _unpacked(head: bytes) -> tuple[bytes, int, int]:
    if len(head) != _HEAD.size:
        return b"", 0, 1
    mark, length, checksum = _HEAD.unpack(head)
    return mark, length, checksum


def _appended(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")


def _write_all(file: int, content: bytes) -> None:
    """One write; where the disk takes only a part of it, the rest raises."""
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
