"""What all readers of single samples share: one sample, the files that a pattern names, a score."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import hostile
from .model import CheckFailed

Record = Mapping[str, Any]

_WORDS = re.compile(r"(\*\*/|\*|\?)")
_WILD = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}

WORDS = {
    **dict.fromkeys(("true", "yes", "correct", "right", "pass", "passed"), 1.0),
    **dict.fromkeys(("false", "no", "incorrect", "wrong", "fail", "failed"), 0.0),
    **dict.fromkeys(("safe", "compliant"), 1.0),
    **dict.fromkeys(("unsafe", "not_compliant"), 0.0),
}

NOTHING = object()
"""What `at` finds where there is nothing; null is something."""


class OwnSample(NamedTuple):
    """One sample, or one of its repeats. A score is None where there is no verdict, and missing
    where the file says nothing of it."""

    part: str | None
    id: str
    repeat: int
    prompt: Any
    expected: Any
    answer: Any
    extracted: Any
    scores: dict[str, float | None]


def sample_files(work: Path, pattern: str) -> list[Path]:
    """The files that a pattern names, in the order of their names; no caches."""
    fits = re.compile("".join(_WILD.get(word, re.escape(word)) for word in _WORDS.split(pattern)))
    try:
        names = [name for name, _ in hostile.entries(work)]
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples are not read: {refused}") from None
    return sorted(name for name in names if name.parts[0] != "cache" and fits.fullmatch(str(name)))


def json_lines(work: Path, name: Path) -> Iterator[Record]:
    """The objects of a file of JSON lines, whatever it is called. Raises CheckFailed."""
    try:
        for line in filter(str.strip, hostile.lines(work, name)):
            record = hostile.parse_json(line)
            if isinstance(record, dict):
                yield record
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {name.name} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"the samples file {name.name} is truncated") from None


def whole_json(work: Path, name: Path) -> Any:
    """A file of one JSON value. Raises CheckFailed where it is not."""
    try:
        return hostile.load_json(work, name)
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {name.name} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"the samples file {name.name} is truncated") from None


def at(found: Any, path: list[str]) -> Any:
    """What stands at a path of keys and places in lists, or `NOTHING`."""
    for step in path:
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return NOTHING
    return found


def at_or_none(found: Any, path: str) -> Any:
    """What stands at a path with dots, or None."""
    value = at(found, path.split("."))
    return None if value is NOTHING else value


def number_of(value: Any) -> float | None:
    """A score: a number, a truth value, a word for one, or the mean of a list of them."""
    if isinstance(value, list):
        parts = [number_of(item) for item in value]
        known = [part for part in parts if part is not None]
        return sum(known) / len(known) if known and len(known) == len(parts) else None
    if isinstance(value, str):
        word = value.strip().lower()
        first = re.match("[a-z_]*", word)
        try:
            value = WORDS[first[0]] if first and first[0] in WORDS else float(word)
        except ValueError:
            return None
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
