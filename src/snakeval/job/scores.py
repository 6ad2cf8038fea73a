"""Which of a harness's numbers are scores, which way is better, and what its claims are held to.

NaN beside good scores, stand-ins for "not measured" (-1, lm-eval's `bypass`) and statements of the
harness's own gaps (`num_missing`, `api_error_fraction`) are no scores: they are told, and the rest
is published. The gaps count as samples without an answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from . import hostile
from .result_formats import (
    HIGHER,
    LOWER,
    UNKNOWN,
    CheckFailed,
    Coverage,
    Results,
    Score,
    Spec,
    has,
    shown,
)

MISSING_COUNTS = re.compile(
    r"^(num|n|number_of|count_of|total)_(missing|failed|failures|errors|api_errors|unanswered)$"
    r"|^(missing|failed|failure|error|api_error|unanswered)_count$"
)
MISSING_SHARES = re.compile(
    r"^(api_error|missing|failed|failure|unanswered|judge_error)_(fraction|share|rate)$"
    r"|^fraction_(missing|failed|unanswered)$|^error_fraction$"
)

BYPASS = "bypass"
"""lm-eval's metric under --predict_only; its value, 999, means nothing."""

NEVER_RUN = -1.0
"""What RULER and others write for a part that was not run."""

NEVER_SCORED = 999.0
"""What lm-eval writes under --predict_only, whatever the metric is called."""

MAY_BE_LARGE = re.compile(
    r"ppl|perplexity|elo|rating|token|length|chars|latency|time|second|count|num|cost|loss|reward"
    r"|point|throughput|score|^n_"
)

MAY_BE_NEGATIVE = re.compile(
    r"mcc|matthews|corr|pearson|spearman|kendall|kappa|reward|log|bleurt|comet|gain|diff|delta"
)


NO_QUALITY = re.compile(
    r"(^|_)(tokens?|seconds|ms|time|latency|entries|samples|counts?|num|n|std|stddev|stdev|var"
    r"|variance|stderr|width|chars|characters|nulls|cost)(_|$)"
)
"""Names of what is counted or measured beside a score: that more is better must be said of them by
name, not by a pattern that fits many."""

SUMMARY = re.compile(
    r"(micro|macro|mean|avg|average|overall|total|all|value|score|weighted)\b|.*_of_"
)
"""Names of scores that say how a metric was summed up, and not what it is."""


def judged(results: Results, spec: Spec) -> Results:
    """The scores among a harness's numbers, with direction, range and unit, the headline first; the
    others as notes, what they count as totals.

    Raises CheckFailed where none is left, for one outside its range, and for too many gaps.
    """
    kept: list[Score] = []
    notes, totals = list(results.notes), dict(results.totals)
    coverage = results.coverage
    for score in results.scores:
        if gap := _gap(score, spec):
            coverage = _with_gap(coverage, score, spec)
            notes.extend([f"{_named(score)} is {score.value:g}: {gap}"] if score.value else [])
        elif _fits(score, spec.facts.counters):
            totals.update({score.score: score.value} if math.isfinite(score.value) else {})
        elif why := _no_score(score, spec):
            notes.append(f"{_named(score)} {why}, and is left out")
        else:
            kept.append(_in_range(_directed(score, spec), spec))
    if results.scores and not kept:
        told = f" ({notes[0]})" if notes else ""
        raise CheckFailed(f"the harness ended with a result file that has no score in it{told}")
    kept = headline_first(kept, spec)
    return replace(
        results, scores=kept, coverage=coverage, totals=totals, notes=tuple(dict.fromkeys(notes))
    )


def headline_first(scores: list[Score], spec: Spec) -> list[Score]:
    """The scores with units, the one that the benchmark is named after marked and in front.

    Of the whole rather than of a part. Without facts there is one only where there is one score.
    """
    scores = [replace(score, unit=_first(spec.facts.units, score)) for score in scores]
    patterns = spec.facts.headline or (("*",) if len(scores) == 1 else ())
    for pattern in patterns:
        fitting = [score for score in scores if _fits(score, (pattern,))]
        if fitting:
            first = next((score for score in fitting if score.task is None), fitting[0])
            others = [score for score in scores if score is not first]
            return [replace(first, headline=True), *others]
    return scores


def _fits(score: Score, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits the metric, the score, or both: `metric/score`."""
    names = (score.metric, score.score, f"{score.metric}/{score.score}")
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _named(score: Score) -> str:
    what = score.metric if score.score in ("", score.metric) else f"{score.metric} {score.score}"
    part = score.task or score.group
    return f"{what} of {part}" if part else what


# ---------------------------------------------------------------- what is no score


def _no_score(score: Score, spec: Spec) -> str | None:
    if not math.isfinite(score.value):
        return "is not a finite number"
    if score.metric.partition("__")[0] == BYPASS:  # NeMo joins a metric and its filter so
        return "stands for 'nothing was scored' (--predict_only)"
    if score.value == NEVER_RUN and spec.format != "scores" and not _may_be_negative(score, spec):
        return "is -1, which stands for 'not measured'"
    if score.value == NEVER_SCORED and spec.format != "scores" and not _may_be_large(score):
        return "is 999, which stands for 'nothing was scored'"
    return None


def _may_be_large(score: Score) -> bool:
    return bool(MAY_BE_LARGE.search(f"{score.metric} {score.score}".lower()))


def _may_be_negative(score: Score, spec: Spec) -> bool:
    ends = _first(spec.score_range, score)
    named = MAY_BE_NEGATIVE.search(f"{score.metric} {score.score}".lower())
    return bool(named) or (ends is not None and float(ends[0]) <= NEVER_RUN)


def _gap(score: Score, spec: Spec) -> str | None:
    """What a number says of samples that were lost; None for one that is a score."""
    if _fits(score, spec.facts.lost):
        return "so many were lost"
    names = {score.metric.lower(), score.score.lower()}
    if any(map(MISSING_COUNTS.match, names)):
        return "so many were lost"
    if any(map(MISSING_SHARES.match, names)):
        return "so large a share was lost"
    return None


def _with_gap(coverage: Coverage, score: Score, spec: Spec) -> Coverage:
    """Held against what is allowed. A share of samples whose number nobody knows is a refusal."""
    lost = score.value
    if not math.isfinite(lost) or lost <= 0:
        return coverage
    known = coverage.unanswered or 0
    if not any(map(MISSING_SHARES.match, (score.metric.lower(), score.score.lower()))):
        return replace(coverage, unanswered=max(known, math.ceil(lost)))
    share = lost / 100 if lost > 1 else lost
    base = coverage.expected or coverage.scored
    if base:
        return replace(coverage, unanswered=max(known, math.ceil(share * base)))
    if share > spec.max_unanswered:
        raise CheckFailed(
            f"the harness says that {share:.1%} were lost ({_named(score)}); at most "
            f"{spec.max_unanswered:.1%} are allowed (max_unanswered)"
        )
    return coverage


# ---------------------------------------------------------------- direction and range


def _directed(score: Score, spec: Spec) -> Score:
    if score.better != UNKNOWN:
        return score
    if of_part := _named_by(spec.facts.better_of_parts, (score.task or "",))[1]:
        return replace(score, better=str(of_part))
    pattern, found = _named_by(spec.higher_is_better, _deciding(score, spec))
    if found is None or (found and _is_no_quality(score) and "*" in pattern):
        return score
    return replace(score, better=HIGHER if found else LOWER)


def _deciding(score: Score, spec: Spec) -> tuple[str, ...]:
    """The names that decide a direction. NeMo's harnesses put numbers of any kind under one metric
    (`pass@1`: correct, no_answer, avg_tokens): there the number's own name does, where it has one.
    """
    own = score.score.lower()
    if spec.format == "nemo" and own not in ("", score.metric.lower()) and not SUMMARY.match(own):
        return (own,)
    return score.metric.lower(), own


def _is_no_quality(score: Score) -> bool:
    names = score.metric.lower(), score.score.lower()
    return any(NO_QUALITY.search(name) and "throughput" not in name for name in names)


def _in_range(score: Score, spec: Spec) -> Score:
    ends = _first(spec.score_range, score)
    if ends is not None and score.lowest is None and score.highest is None:
        score = replace(score, lowest=float(ends[0]), highest=float(ends[1]))
    low = -math.inf if score.lowest is None else score.lowest
    high = math.inf if score.highest is None else score.highest
    if not low <= score.value <= high:
        raise CheckFailed(
            f"the score {_named(score)} is {score.value:g}, outside its range {low:g} to {high:g}"
        )
    return score


def _first(patterns: Mapping[str, Any] | None, score: Score) -> Any:
    """What the first pattern says that fits the metric's or the score's name."""
    return _named_by(patterns, (score.metric.lower(), score.score.lower()))[1]


def _named_by(patterns: Mapping[str, Any] | None, names: Iterable[str]) -> tuple[str, Any]:
    """The first pattern that fits one of the names, and what it says."""
    names = tuple(names)
    for pattern, value in (patterns or {}).items():
        if any(fnmatchcase(name, pattern.lower()) for name in names):
            return pattern, value
    return "", None


# ---------------------------------------------------------------- the declared samples


def held_against_samples(results: Results, work_dir: Path, spec: Spec) -> Results:
    """What the file with single samples says about the scores, where the harness declares one.

    Raises CheckFailed where it is missing, or holds fewer samples than were scored. A score that
    is not the mean of its samples is told: it may be none (F1).
    """
    if not spec.samples_file:
        return results
    number, means = _samples(work_dir, spec.samples_file)
    scored = results.coverage.scored
    if scored is not None and number < scored:
        raise CheckFailed(
            f"{scored} samples were scored, and {spec.samples_file} holds only {number} of them"
        )
    other = [
        f"{score.metric} is {score.value:g}, and the mean of its samples {mean:g}"
        for score in results.scores
        if (mean := means.get(score.metric)) is not None and not is_mean(score.value, mean)
    ]
    return replace(results, notes=(*results.notes, *other))


def is_mean(value: float, mean: float) -> bool:
    """Whether a published value is this mean, to rounding."""
    digits = len(repr(value).partition(".")[2]) if "e" not in repr(value) else 9
    rounding = min(0.5 * 10.0**-digits, 5e-4 if abs(value) <= 1 else 5e-3)
    return abs(value - mean) <= max(rounding * 1.001, 1e-6 * max(1.0, abs(value)))


def _samples(work_dir: Path, name: str) -> tuple[int, dict[str, float]]:
    """How many different samples a file holds, and the means of their scores by metric."""
    if not has(work_dir, name):
        raise CheckFailed(f"the declared samples file {shown(name)} is missing")
    seen: set[str] = set()
    sums: dict[str, list[float]] = {}
    for sample in _records(work_dir, name):
        seen.add(repr((sample.get("subtask"), sample.get("id"))))
        for metric, score in _scores_of(sample):
            found = sums.setdefault(metric, [0.0, 0])
            found[0] += score
            found[1] += 1
    return len(seen), {metric: total / n for metric, (total, n) in sums.items()}


def _records(work_dir: Path, name: str) -> Iterator[dict[str, Any]]:
    try:
        for line in filter(str.strip, hostile.lines(work_dir, name)):
            sample = hostile.parse_json(line)
            yield sample if isinstance(sample, dict) else {}
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {shown(name)} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"the samples file {shown(name)} holds a line that is no JSON") from None


def _scores_of(sample: dict[str, Any]) -> Iterator[tuple[str, float]]:
    scores = sample.get("scores")
    given = scores if isinstance(scores, dict) else {"score": sample.get("score")}
    for metric, value in given.items():
        if isinstance(value, (bool, int, float)) and math.isfinite(value):
            yield metric, float(value)
