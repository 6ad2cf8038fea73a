"""A suite's number in a comparison: candidate minus base, from the differences of its benchmarks.

These are of the same samples, so the number's interval is narrower than that of two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from snakeval.compare import statistics
from snakeval.compare.model import Compared, Comparison
from snakeval.compare.statistics import Difference
from snakeval.compare.suite import Given, Member, Suite


def with_suites(comparison: Comparison, suites: Sequence[Suite]) -> Comparison:
    """The comparison with a row for each suite, or a note that says why it has none."""
    rows, notes = list(comparison.suites), list(comparison.notes)
    for suite in suites:
        found = _compared(comparison, suite)
        if isinstance(found, Compared):
            rows.append(found)
        else:
            notes.append(f"{row_name(suite.name)}: no number, without {', '.join(found)}")
    return replace(comparison, suites=tuple(rows), notes=tuple(notes))


def row_name(suite: str) -> str:
    """What a suite is called where benchmarks stand."""
    return f"suite {suite}"


def _compared(comparison: Comparison, suite: Suite) -> Compared | tuple[str, ...]:
    """The row of a suite, or what is missing for it."""
    chosen = {
        part.name: score
        for part in suite.parts
        if (score := _score_of(comparison, part.name, part.member)) is not None
    }
    base, candidate = (
        suite.number({name: _given(score, which) for name, score in chosen.items()})
        for which in ("base", "candidate")
    )
    if base.value is None or candidate.value is None:
        return tuple(dict.fromkeys([*base.missing, *candidate.missing]))
    found = suite.difference(
        {
            name: (score.difference.value, score.difference.interval)
            for name, score in chosen.items()
        }
    )
    assert found.value is not None, "nothing is missing"
    p = None
    if found.interval:
        error = (found.interval[1] - found.interval[0]) / (2 * statistics.normal_quantile())
        p = 2 * NormalDist().cdf(-abs(found.value) / error) if error else 1.0
    # A number that stands on a guessed error is guessed as well.
    guessed = any(score.difference.kind == "cautious" for score in chosen.values())
    return Compared(
        row_name(suite.name),
        None,
        None,
        f"v{suite.file.version}",
        None,
        None,
        base.value,
        candidate.value,
        Difference("cautious" if guessed else "suite", found.value, found.interval, p),
        "higher",
        p_holm=p,
    )


def _score_of(comparison: Comparison, name: str, member: Member) -> Compared | None:
    """The score of a benchmark that counts in a suite."""
    scores = [
        score
        for score in comparison.scores
        if score.subtask is None and (score.task == name or name.endswith(f".{score.task}"))
    ]
    if member.score:
        wanted = (member.score, member.metric) if not member.filter else (member.score,)
        scores = [each for each in scores if each.name in wanted or each.filter == member.score]
    known = [score for score in scores if score.better in ("higher", "lower")]
    return next(iter(known or scores), None)


def _given(score: Compared, which: str) -> Given:
    return Given(getattr(score, which), None, score.better)
