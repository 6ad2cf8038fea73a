"""A comparison: its scores, what was not compared, and the sentence that stands above it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from snakeval.compare import statistics
from snakeval.compare.statistics import CONFIDENCE, Difference
from snakeval.errors import count
from snakeval.job.files import now


@dataclass(frozen=True)
class Flip:
    """A sample that one run got right and the other wrong; texts are the first characters."""

    subtask: str | None
    sample: str
    base: float
    candidate: float
    prompt: str | None = None
    base_answer: str | None = None
    candidate_answer: str | None = None


@dataclass(frozen=True)
class Part:
    """A subtask under one score: told beside the score of the whole, which alone is decided on.

    p_holm    corrected for the parts of this score
    """

    subtask: str
    n: int
    base: float
    candidate: float
    difference: Difference
    p_holm: float | None = None


@dataclass(frozen=True)
class Compared:
    """One score in both runs: candidate minus base, of the same n samples.

    better    higher, lower or unknown: what a better model's score is
    filter    how answers were extracted, or the score's name; None: there is one only
    won, lost samples that only the candidate, only the base got right; None: not right or wrong
    p_holm    corrected for all scores of the comparison
    parts     the subtasks, where there are several
    """

    task: str
    group: str | None
    subtask: str | None
    metric: str
    filter: str | None
    n: int | None
    base: float
    candidate: float
    difference: Difference
    better: str = "unknown"
    p_holm: float | None = None
    won: int | None = None
    lost: int | None = None
    unscored: int = 0
    flips: tuple[Flip, ...] = ()
    parts: tuple[Part, ...] = ()
    label: str = ""
    """What the benchmark is called where people read."""

    @property
    def shown(self) -> str:
        return self.label or self.task

    @property
    def name(self) -> str:
        """`exact_match (strict-match)`."""
        name = f"{self.metric} ({self.filter})" if self.filter else self.metric
        part = self.subtask or self.group
        return f"{part}: {name}" if part else name

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `no difference seen` (after correction), or `not testable`."""
        if self.p_holm is None:
            return "not testable"
        if self.p_holm >= 1 - CONFIDENCE:
            return "no difference seen"
        return "higher" if self.difference.value > 0 else "lower"

    @property
    def meaning(self) -> str:
        """The verdict as `better` or `worse`, where it is known which way is better."""
        if self.verdict not in ("higher", "lower") or self.better == "unknown":
            return self.verdict
        return "better" if self.verdict == self.better else "worse"


@dataclass(frozen=True)
class Refused:
    """A benchmark that is not compared, and why."""

    task: str
    reason: str
    label: str = ""

    @property
    def shown(self) -> str:
        return self.label or self.task


@dataclass(frozen=True)
class Changed:
    """What is not the same in the two runs; None: not there."""

    key: str
    base: Any
    candidate: Any


@dataclass(frozen=True)
class Comparison:
    base: str
    candidate: str
    base_model: str
    candidate_model: str
    scores: tuple[Compared, ...]
    refused: tuple[Refused, ...]
    changed: tuple[Changed, ...]
    notes: tuple[str, ...] = ()
    suites: tuple[Compared, ...] = ()

    @property
    def headline(self) -> str:
        """`3 scores: 1 better, 0 worse, 2 no difference seen; pooled ...`."""
        counted = Counter(score.meaning for score in self.scores)
        always = ("better", "worse", "no difference seen")
        names = dict.fromkeys([*always[:2], "higher", "lower", always[2], "not testable"])
        told = [f"{counted[name]} {name}" for name in names if counted[name] or name in always]
        return f"{count(len(self.scores), 'score')}: {', '.join(told)}{self._pooled}"

    @property
    def _pooled(self) -> str:
        """Over the first score of each benchmark, between 0 and 1, each counting alike."""
        first = {score.task: score for score in reversed(self.scores)}.values()
        known = [
            score
            for score in first
            if score.difference.interval
            and min(score.base, score.candidate) >= 0
            and max(score.base, score.candidate) <= 1
            and score.better != "lower"
        ]
        if len(known) < 2:
            return ""
        mean, (low, high) = statistics.pooled([score.difference for score in known])
        return (
            f"; pooled over {len(known)} benchmarks {mean:+.4f}, "
            f"95% interval {low:+.4f} to {high:+.4f}"
        )

    def content(self) -> dict[str, Any]:
        """The comparison as its JSON file holds it."""
        return {
            "written": now(),
            "confidence": CONFIDENCE,
            "headline": self.headline,
            **asdict(self),
        }


Tested = TypeVar("Tested", Compared, Part)


def corrected(scores: Sequence[Tested]) -> Iterator[Tested]:
    """The same scores, with the p of each corrected for all of them (Holm)."""
    ps = iter(
        statistics.holm([score.difference.p for score in scores if score.difference.p is not None])
    )
    for score in scores:
        yield score if score.difference.p is None else replace(score, p_holm=next(ps))
