"""What a ledger tells: an account for each endpoint. Standard library only.

python lib/gateway.py account RECORD_DIR     prints the accounts as JSON
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .ledger import LEDGER, rows

ANSWERED, REPLAYED, UNREACHABLE = "answered", "replayed", "unreachable"
Identity = tuple[str, str, int]
"""Endpoint, key and occurrence: which request it is."""

ARROW = " -> "
QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass
class Account:
    """What was asked of an endpoint, over all attempts. Answers that were replayed cost nothing:
    tokens, times, ends and texts are those of the answers that the endpoint gave.

    requests      for an answer, as the harness made them; not those that were never sent
    answered      by the endpoint; replayed: from those on disk
    sources       replayed answers by the record that they were taken from, where it is another one
    given         when the replayed ones were given: the first and the last, seconds since 1970
    unanswered    different requests (repeats count one by one) that never got an answer
    failures      requests without an answer, by status or by what happened instead
    tokens        sums of prompt, completion, cached, reasoning, of all that the endpoint has sent
    uncounted     answers whose tokens the endpoint does not tell
    latency       seconds from request to answer: mean, median, p90, p99, max; first_byte the same
    seconds       from the first request to the last answer, summed over attempts
    finish        answers by the reason why they end
    as_asked      answers, replayed ones too, that name no other model than the one asked for
    other_models  answers in use (the last to a request) that name another: 'asked -> named': number
    empty         answers that say nothing
    all_equal     whether there are two answers or more, and all say the same
    all_cut       whether there are answers, and all were cut for length
    held          seconds that requests were held back, summed
    harness_got   what the result stands on: requests of all kinds, answers among them, choices or
                  vectors in those (parts), answers from disk (replayed), tokens of all replies;
                  other: requests to which no rule says what an answer is
    """

    requests: int = 0
    answered: int = 0
    replayed: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    given: tuple[float, float] | None = None
    unanswered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    uncounted: int = 0
    latency: dict[str, float] = field(default_factory=dict)
    first_byte: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    finish: Counter[str] = field(default_factory=Counter)
    as_asked: int = 0
    other_models: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    all_equal: bool = False
    all_cut: bool = False
    held: float = 0.0
    harness_got: Counter[str] = field(default_factory=Counter)

    @property
    def answers_per_second(self) -> float | None:
        return self.answered / self.seconds if self.seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        known = self.answered and not self.uncounted
        return self.tokens["completion"] / self.seconds if self.seconds and known else None

    @property
    def is_mixed(self) -> bool:
        """Whether answers to one model's name come from several models."""
        asked = [each.partition(ARROW)[0] for each in self.other_models]
        return bool(asked) and (self.as_asked > 0 or len(set(asked)) < len(asked))

    def as_json(self) -> dict[str, Any]:
        speed = {
            "answers_per_second": self.answers_per_second,
            "tokens_per_second": self.tokens_per_second,
        }
        return {**vars(self), **speed}


def accounts(record: Path, since: int = 0) -> dict[str, Account]:
    """The account of each endpoint that was asked for answers; none without a ledger.

    since  attempts before this one count for what was paid, not for what is unanswered and by which
           model: it has begun in an empty folder, and the result stands on what it has asked. One
           that has asked nothing is not believed to have begun so; but its harness got nothing.
    """
    ledger = record / LEDGER
    found = _accounts(ledger, since)
    if found is not None:
        return found
    found = _accounts(ledger, 0) or {}
    for account in found.values():
        account.harness_got.clear()
    return found


def _accounts(ledger: Path, since: int) -> dict[str, Account] | None:
    """The same; None where nothing was asked since."""
    drafts: dict[str, _Draft] = {}
    failed: set[Identity] = set()
    others: Counter[str] = Counter()
    has_asked = not since
    for row in rows(ledger):
        is_now = row.get("attempt", 0) >= since
        has_asked = has_asked or (is_now and "method" not in row)
        if "key" not in row:
            others[str(row.get("endpoint"))] += is_now and "method" not in row
            continue
        drafts.setdefault(str(row.get("endpoint")), _Draft()).add(row, is_now)
        if is_now and not _is_answer(row):
            failed.add(_identity(row))
    if not has_asked:
        return None
    for endpoint, left in _never_answered(ledger, failed).items():
        drafts[endpoint].account.unanswered = left
    for endpoint, draft in drafts.items():
        draft.account.harness_got["other"] += others[endpoint]
    return {endpoint: draft.finished() for endpoint, draft in drafts.items()}


def asks_otherwise(record: Path, endpoint: str) -> bool:
    """Whether an endpoint was asked for what no rule can judge."""
    return any(
        "key" not in row and "method" not in row and row.get("endpoint") == endpoint
        for row in rows(record / LEDGER)
    )


def unanswered(ledger: Path) -> Counter[str]:
    """Requests that never got an answer, by endpoint; one that was tried again counts once."""
    failed = {_identity(row) for row in rows(ledger) if "key" in row and not _is_answer(row)}
    return _never_answered(ledger, failed)


def _never_answered(ledger: Path, failed: set[Identity]) -> Counter[str]:
    """Reads the ledger again, so that only failures need be kept in memory."""
    if failed:
        failed = failed.difference(
            _identity(row) for row in rows(ledger) if "key" in row and _is_answer(row)
        )
    return Counter(endpoint for endpoint, _, _ in failed)


def _identity(row: dict[str, Any]) -> Identity:
    return str(row.get("endpoint")), str(row["key"]), int(row.get("occurrence", 0))


def _is_answer(row: dict[str, Any]) -> bool:
    return row.get("outcome") in (ANSWERED, REPLAYED)


class _Draft:
    """An account while the ledger is read."""

    def __init__(self) -> None:
        self.account = Account()
        self._latency, self._first = array("d"), array("d")
        self._spans: dict[Any, tuple[float, float]] = {}
        self._texts: set[Any] = set()
        self._others: dict[Identity, str] = {}

    def add(self, row: dict[str, Any], is_now: bool = True) -> None:
        """is_now: whether the result stands on it"""
        if row.get("unsent"):
            return
        self.account.requests += 1
        self.account.held += row.get("held", 0.0)
        outcome = row.get("outcome")
        if is_now:
            self._got(row)
        if is_now and _is_answer(row):
            self._model(row)
        if outcome != REPLAYED:  # an answer that is none may have been paid for
            self.account.tokens.update(row.get("tokens", {}))
        if outcome == ANSWERED:
            self._answered(row)
        elif outcome == REPLAYED:
            self.account.replayed += 1
            if is_now:
                self._replayed(row)
        else:
            status = row.get("status", 200)
            self.account.failures[str(outcome if status == 200 else status)] += 1

    def _got(self, row: dict[str, Any]) -> None:
        got, is_answer = self.account.harness_got, _is_answer(row)
        got["requests"] += 1
        got["answers"] += is_answer
        got["parts"] += row.get("parts", 1) if is_answer else 0
        got["replayed"] += row.get("outcome") == REPLAYED
        got.update(row.get("tokens", {}))

    def _replayed(self, row: dict[str, Any]) -> None:
        account = self.account
        if row.get("source"):
            account.sources[row["source"]] += 1
        if "given" in row:
            first, last = account.given or (row["given"], row["given"])
            account.given = min(first, row["given"]), max(last, row["given"])

    def _answered(self, row: dict[str, Any]) -> None:
        account = self.account
        account.answered += 1
        account.uncounted += "completion" not in row.get("tokens", {})
        account.finish[row.get("finish") or "unknown"] += 1
        account.empty += bool(row.get("empty"))
        if len(self._texts) < 2:  # more would be no news
            self._texts.add(row.get("text"))
        self._time(row)

    def _model(self, row: dict[str, Any]) -> None:
        if row.get("named"):
            self._others[_identity(row)] = f"{row.get('model')}{ARROW}{row['named']}"
        else:
            self.account.as_asked += 1
            self._others.pop(_identity(row), None)

    def _time(self, row: dict[str, Any]) -> None:
        began, seconds = float(row["time"]), float(row["seconds"])
        self._latency.append(seconds)
        self._first.append(float(row.get("first_byte", seconds)))
        first, last = self._spans.get(row.get("attempt"), (began, began))
        self._spans[row.get("attempt")] = min(first, began), max(last, began + seconds)

    def finished(self) -> Account:
        account = self.account
        account.other_models = Counter(self._others.values())
        account.latency, account.first_byte = quantiles(self._latency), quantiles(self._first)
        account.seconds = round(sum(last - first for first, last in self._spans.values()), 3)
        account.all_equal = (
            account.answered > 1 and len(self._texts) == 1 and None not in self._texts
        )
        account.all_cut = account.answered > 0 and set(account.finish) == {"length"}
        return account


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Mean, median, p90, p99 (nearest rank) and max; nothing of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    found = {
        name: ordered[int(share * (len(ordered) - 1) + 0.5)] for name, share in QUANTILES.items()
    }
    return {"mean": round(sum(ordered) / len(ordered), 4), **found, "max": ordered[-1]}
