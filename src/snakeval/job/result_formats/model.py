"""What a result is made of, what was asked for, and what does not hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .facts import Facts

NO_FACTS = Facts()

FORMATS = ("lm_eval", "nemo", "scores")

EVERY_ANSWER_EMPTY = "every answer of the model was empty"

HIGHER, LOWER, UNKNOWN = "higher", "lower", "unknown"


class CheckFailed(Exception):
    """The result does not hold; `cause` says what happened in one sentence. `lasting`: another
    try would end in the same way."""

    def __init__(self, cause: str, lasting: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.lasting = lasting


@dataclass(frozen=True)
class Score:
    """One number of a result. A group's own score has no task; stderr and n where known.

    better         higher, lower, or unknown: what a better model's score is
    lowest,highest the ends of its range, where known
    unit           what it counts (fraction, percent, ms), where known
    headline       the one number that the benchmark is named after
    """

    task: str | None
    group: str | None
    metric: str
    score: str
    value: float
    stderr: float | None = None
    n: int | None = None
    better: str = "unknown"
    lowest: float | None = None
    highest: float | None = None
    unit: str | None = None
    headline: bool = False


@dataclass(frozen=True)
class Coverage:
    """Samples asked for, scored, and scored without an answer of the model; None is unknown."""

    expected: int | None = None
    scored: int | None = None
    unanswered: int | None = None


@dataclass(frozen=True)
class Results:
    """What a finished work folder holds.

    totals  tokens and times, in the units they name
    notes   what a reader of the scores must be told, a sentence each
    """

    scores: list[Score]
    coverage: Coverage
    totals: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """What was asked for; made once from the task's JSON, unknown keys are ignored.

    higher_is_better  by patterns of metrics; what fits none is unknown
    score_range       lowest and highest score, by patterns of metrics
    samples_file      the file with single samples that the harness declares
    check_model       whether all answers must come from one model
    facts             what is known of the harness (`facts.py`)
    """

    format: str
    benchmark: str | None = None
    results: str | None = None
    limit_samples: int | float | None = None
    samples: int | None = None
    max_unanswered: float = 0.0
    repeats: int = 1
    cached: bool = False
    seeded: bool = False
    model_id: str | None = None
    higher_is_better: Mapping[str, bool] | None = None
    score_range: Mapping[str, Any] | None = None
    samples_file: str | None = None
    check_model: bool = True
    facts: Facts = NO_FACTS

    @classmethod
    def of(cls, raw: Mapping[str, Any] | Spec) -> Spec:
        """Read a mapping; CheckFailed when the format is none of the known ones."""
        if isinstance(raw, Spec):
            return raw
        if raw.get("format") not in FORMATS:
            known = ", ".join(FORMATS)
            raise CheckFailed(f"the format {raw.get('format')!r} is none of {known}")
        known_keys = cls.__dataclass_fields__
        given = {k: v for k, v in raw.items() if k in known_keys and v is not None}
        return cls(**{**given, "facts": Facts.of(raw.get("facts"))})

    def asked(self, size: int | None) -> int | None:
        """How many samples of a dataset of this size were asked for."""
        limit = self.limit_samples
        if limit is not None and limit < 1:  # a share, which lm-eval rounds up
            limit = None if size is None else math.ceil(size * limit)
        sizes = [int(n) for n in (size, limit) if n is not None]
        return min(sizes) if size is not None else None
