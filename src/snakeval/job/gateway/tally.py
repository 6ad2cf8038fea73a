"""What has been asked and paid so far, in a few sums: kept while a gateway runs, for who looks on.

    gateway.json   of a record: the sums over all attempts, once a second while they change

A ledger of a million lines takes seconds to read; this file takes none. It is for looking at, and
made anew from the ledger by the next attempt: nothing is decided from it. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import read_json, write_atomically
from .accounts import ANSWERED, REPLAYED

LIVE = "gateway.json"


@dataclass
class Tally:
    """Sums of the lines of one endpoint.

    requests  that went out; answered: of them; replayed: answers from disk; failed: the others
    tokens    prompt, completion, cached, reasoning
    """

    requests: int = 0
    answered: int = 0
    replayed: int = 0
    failed: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a line of a ledger that asks for an answer."""
        outcome = row.get("outcome")
        if outcome == REPLAYED:
            self.replayed += 1
            return
        self.tokens.update(row.get("tokens", {}))
        if outcome == ANSWERED:
            self.answered += 1
        else:
            self.failed += 1
        self.requests += not row.get("unsent")


class Tallies:
    """The sums of a task, by endpoint; those of this attempt apart, for its progress."""

    def __init__(self, record: Path, attempt: int) -> None:
        self._path, self._attempt = record / LIVE, attempt
        self._all: dict[str, Tally] = {}
        self._now: dict[str, Tally] = {}
        self._changed = False
        self._paused = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        if "key" not in row:
            return
        name = str(row.get("endpoint"))
        self._all.setdefault(name, Tally()).add(row)
        if row.get("attempt") == self._attempt:
            self._now.setdefault(name, Tally()).add(row)
        self._changed = True

    def write(self, in_flight: int, paused: float = 0.0) -> None:
        """Where something has changed. A disk that is full is told elsewhere."""
        if not (self._changed or in_flight or paused or self._paused):
            return
        self._changed, self._paused = False, paused
        content = {
            "time": round(time.time(), 1),
            "attempt": self._attempt,
            "in_flight": in_flight,
            "paused": round(paused, 1),  # seconds for which an endpoint wants to be left alone
            "endpoints": {name: vars(each) for name, each in self._all.items()},
            "this_attempt": {name: vars(each) for name, each in self._now.items()},
        }
        with contextlib.suppress(OSError):
            write_atomically(self._path, json.dumps(content) + "\n")


def live(record: Path) -> dict[str, Any]:
    """What a gateway has said last; empty where there was none."""
    return read_json(record / LIVE)


def paused(live: Mapping[str, Any]) -> float:
    """Seconds for which an endpoint wants to be left alone, as they were told last."""
    given = live.get("paused")
    return float(given) if isinstance(given, (int, float)) else 0.0


def answers_of(live: Mapping[str, Any], endpoint: str) -> int | None:
    """Answers that this attempt's harness has got of an endpoint; None where nothing is known."""
    try:
        found = live["this_attempt"].get(endpoint) or {}
        return int(found.get("answered", 0)) + int(found.get("replayed", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def totals_of(live: Mapping[str, Any], endpoint: str) -> dict[str, float]:
    """The sums over all attempts, by the names of a check's totals."""
    try:
        found = live["endpoints"][endpoint]
        counts = {"requests": found["requests"], "answers": found["answered"]}
        tokens = {f"{kind}_tokens": n for kind, n in found["tokens"].items()}
        given = {**counts, "replayed": found["replayed"], **tokens}
        return {name: float(n) for name, n in given.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
