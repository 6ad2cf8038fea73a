"""The texts of a config: characters that mislead or break out, and what no YAML file should hold.

Every text is looked at before the model reads it, so that nothing behind it meets a control
character, a value that JSON cannot write, or a mapping that holds itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from snakeval.config.index import field_at
from snakeval.config.sections import SeveralLines
from snakeval.errors import Problem

Loc = tuple[int | str, ...]
Where = Callable[[Sequence[int | str]], str]
"""The file and key of a path, for messages."""

MOST_VALUES = 200_000
"""Values that a config may have, each counted as often as an alias repeats it."""

DEEPEST = 100
"""Levels that a config may have."""

LONGEST_LINE = 4096
"""Characters of a text that is one line."""

BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of writing around."""

PLAIN = (str, bool, int, float, type(None))


@dataclass(frozen=True)
class Text:
    """A text of the config: a value, or the name of a key.

    free  it may have several lines, and any script's marks of direction
    """

    loc: Loc
    text: str
    free: bool
    is_key: bool = False


def texts_of(raw: Any, model: type[BaseModel], loc: Loc = ()) -> Iterator[Text]:
    """Every text of a mapping that a model is to be made from."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            if isinstance(key, str):
                yield Text((*loc, key), key, False, True)
            yield from texts_of(value, model, (*loc, key))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from texts_of(value, model, (*loc, index))
    elif isinstance(raw, str):
        yield Text(loc, raw, _is_free(model, loc))


def _is_free(model: type[BaseModel], loc: Loc) -> bool:
    """Whether the model says of a place that a text there may have several lines."""
    field = field_at(model, loc)
    return field is not None and any(isinstance(mark, SeveralLines) for mark in field.metadata)


def unreadable(raw: Any, model: type[BaseModel], where: Where) -> Iterator[Problem]:
    """What is wrong with the characters, and with the length of lines, of a config's texts."""
    for each in texts_of(raw, model):
        if bad := [char for char in each.text if not _may_stand(char, each.free)]:
            names = ", ".join(dict.fromkeys(f"U+{ord(char):04X}" for char in bad[:5]))
            lines = set(bad) <= {"\n", "\r"}
            what = "a line break" if lines else f"characters that cannot be seen ({names})"
            yield Problem(
                where(each.loc),
                f"the key holds {what}" if each.is_key else f"holds {what}",
                "write it on one line" if lines else "remove them",
            )
        elif not each.free and len(each.text) > LONGEST_LINE:
            yield Problem(
                where(each.loc)[:LONGEST_LINE],
                f"is too long ({len(each.text)} characters)",
                f"at most {LONGEST_LINE} characters are allowed here",
            )


def _may_stand(char: str, free: bool) -> bool:
    if char in "\n\r\t":
        return free
    kind = unicodedata.category(char)
    return kind not in ("Cc", "Cs") and (free or (char not in BIDI and kind not in ("Zl", "Zp")))


def strange(raw: Any, where: Where) -> Iterator[Problem]:
    """Values that are neither text, numbers nor truth values, a mapping that holds itself, and a
    file that is far too large once its aliases are written out."""
    budget = [MOST_VALUES]
    yield from _strange(raw, (), where, budget)
    if budget[0] < 0:
        fix = "are there aliases (*name) of aliases?"
        yield Problem(where(()), f"holds more than {MOST_VALUES} values", fix)


def _no_text(mapping: dict[Any, Any], loc: Loc, where: Where) -> Iterator[Problem]:
    for key in mapping:
        if not isinstance(key, str):
            fix = f"put it in quotes: '{key}'"
            yield Problem(where((*loc, str(key))), f"keys must be text (found {key})", fix)


def _strange(node: Any, loc: Loc, where: Where, budget: list[int]) -> Iterator[Problem]:
    budget[0] -= 1
    if budget[0] < 0:
        return
    if len(loc) > DEEPEST:
        budget[0] = 0  # it has been told: nothing more is looked at
        fix = "does an alias (*name) stand inside what it stands for?"
        yield Problem(where(loc[:3]), f"has more than {DEEPEST} levels", fix)
    elif isinstance(node, dict):
        if {type(key) for key in node} not in ({str}, {int}, set()):
            yield from _no_text(node, loc, where)
        for key, value in node.items():
            yield from _strange(value, (*loc, str(key)), where, budget)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _strange(value, (*loc, index), where, budget)
    elif not isinstance(node, PLAIN):
        yield Problem(
            where(loc),
            f"is read as a {type(node).__name__}, which cannot be used here",
            "put it in quotes",
        )
