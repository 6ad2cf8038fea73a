"""A budget: what a run, or one of its benchmarks, may ask of its endpoints.

The ledgers of the run folder are the account. Each gateway follows all of them, so it is kept over
processes, machines and starts, and nothing that was recorded is ever forgotten. Requests of other
gateways are seen a second or two late; what is in flight is counted as if it were over already.
Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .accounts import ANSWERED, REPLAYED
from .ledger import LEDGER

KINDS = ("usd", "tokens", "requests", "hours")
MILLION = 1_000_000
UNCOUNTED = 10
"""So many answers without a word of their tokens, and none with: they will not be told."""


@dataclass
class Spent:
    """Sums of lines of ledgers.

    minutes  since 1970 in which something was asked; hours are counted by them
    used     tokens by endpoint: prompt and completion
    counted  answers that told their tokens; uncounted: that did not
    """

    requests: int = 0
    tokens: int = 0
    minutes: set[int] = field(default_factory=set)
    used: dict[str, Counter[str]] = field(default_factory=dict)
    counted: int = 0
    uncounted: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        if "key" not in row or row.get("outcome") == REPLAYED or row.get("unsent"):
            return
        self.requests += 1
        began = float(row.get("time", 0.0))
        ended = began + float(row.get("seconds", 0.0))
        self.minutes.update(range(int(began // 60), int(ended // 60) + 1))
        tokens = row.get("tokens", {})
        used = self.used.setdefault(str(row.get("endpoint")), Counter())
        for kind in ("prompt", "completion"):
            self.tokens += tokens.get(kind, 0)
            used[kind] += tokens.get(kind, 0)
        if row.get("outcome") == ANSWERED:
            self.counted += "completion" in tokens
            self.uncounted += "completion" not in tokens

    def of(self, kind: str, prices: Mapping[str, Mapping[str, float]]) -> float:
        """How much of one kind. prices: by endpoint, of a million prompt_tokens and
        completion_tokens; what has none is not asked for."""
        if kind == "usd":
            return sum(
                tokens * prices.get(endpoint, {}).get(f"{name}_tokens", 0.0) / MILLION
                for endpoint, used in self.used.items()
                for name, tokens in used.items()
            )
        if kind == "hours":
            return len(self.minutes) / 60
        return float(self.requests if kind == "requests" else self.tokens)


class Tail:
    """Follows a ledger: each look reads what is new and whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def new(self) -> Iterable[dict[str, Any]]:
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._at += len(line)
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if isinstance(row, dict):
                        yield row


class Budget:
    """Limits of a run and of a task, and what of them is used.

    task_dir  `<run>/<task>`; own: the ledger that this process writes
    options   run and task, each with limits by their kinds; prices by endpoint; currency
    """

    def __init__(self, task_dir: Path, own: Path, options: Mapping[str, Any]) -> None:
        self._task_dir, self._own = task_dir, own / LEDGER
        self._limits = {of: dict(options.get(of) or {}) for of in ("run", "task")}
        self._prices = dict(options.get("prices") or {})
        self._currency = str(options.get("currency") or "USD")
        self._spent = {"run": Spent(), "task": Spent()}
        self._tails: dict[Path, Tail] = {}
        self._looked = 0.0
        self.in_flight = 0
        """Of this gateway."""
        self.waiting = 0
        """Requests that wait for a larger one."""

    @property
    def is_set(self) -> bool:
        return any(self._limits.values())

    def add(self, row: Mapping[str, Any]) -> None:
        """A line of this process's own ledger."""
        if self.is_set:
            for spent in self._spent.values():
                spent.add(row)

    def look(self) -> None:
        """Reads what others have added; of many ledgers not every second."""
        if not self.is_set or time.monotonic() - self._looked < 0.02 * len(self._tails) - 1.0:
            return
        run_dir = self._task_dir.parent
        for path in run_dir.glob(f"*/record/*/{LEDGER}"):
            if path != self._own:
                self._tails.setdefault(path, Tail(path))
        for path, tail in self._tails.items():
            of_task = path.parents[2] == self._task_dir
            for row in tail.new():
                self._spent["run"].add(row)
                if of_task:
                    self._spent["task"].add(row)
        self._looked = time.monotonic()
        if self.in_flight:
            for spent in self._spent.values():
                spent.minutes.add(int(time.time() // 60))

    def used_up(self) -> str | None:
        """Why no further request may go out, in a sentence; else None."""
        for of, limits in self._limits.items():
            spent = self._spent[of]
            whose = "the run" if of == "run" else "this benchmark"
            for kind, limit in limits.items():
                used = spent.of(kind, self._prices)
                if used + self._in_flight(kind, spent) >= limit:
                    return self._sentence(whose, kind, used, limit)
            needs_tokens = {"usd", "tokens"} & limits.keys()
            if needs_tokens and not spent.counted and spent.uncounted >= UNCOUNTED:
                return (
                    f"the endpoint does not tell tokens, so that the budget of {whose} cannot be "
                    "kept: give it in requests or hours, and start again to continue"
                )
        return None

    def _in_flight(self, kind: str, spent: Spent) -> float:
        """What is under way, at the mean of what is over."""
        if kind == "hours" or not self.in_flight:
            return 0.0
        if kind == "requests":
            return float(self.in_flight)
        return self.in_flight * spent.of(kind, self._prices) / max(1, spent.requests)

    def _sentence(self, whose: str, kind: str, used: float, limit: float) -> str:
        unit = {"usd": self._currency}.get(kind, kind)
        shown = f"{used:,.4g}" if kind in ("usd", "hours") else f"{used:,.0f}"
        return (
            f"the budget of {whose} is used up ({shown} of {limit:,.10g} {unit}); raise "
            f"budget.{kind} and start again to continue"
        )
