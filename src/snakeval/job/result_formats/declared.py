"""Results in our own format, which a command of one's own writes (docs/own-benchmark.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..harness_log import Log
from .files import (
    claimed,
    direction,
    has,
    load_json,
    mapping,
    number_or_nan,
    optional_number,
)
from .model import CheckFailed, Coverage, Results, Score, Spec


def read(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    """`{"scores": {name: 0.5 | {value, stderr, n}}, "samples": {expected, scored, unanswered}}`."""
    if not spec.results:
        raise CheckFailed("the benchmark declares no result file (key results)")
    if not has(work_dir, spec.results):
        raise CheckFailed(f"the command ended without its result file ({spec.results})")
    data = mapping(load_json(work_dir, spec.results))
    samples = mapping(data.get("samples"))
    counts = {key: claimed(samples.get(key), key) for key in Coverage.__dataclass_fields__}
    scores = [
        _declared_score(name, entry, spec.benchmark, counts["scored"])
        for name, entry in mapping(data.get("scores")).items()
    ]
    for score in scores:
        _check_count(score, counts["scored"])
    if counts["scored"] is None:
        counts["scored"] = max((s.n for s in scores if s.n is not None), default=None)
    size_known = spec.asked(spec.samples)
    expected = counts["expected"] if size_known is None else size_known
    return Results(scores, Coverage(expected, counts["scored"], counts["unanswered"]))


def _check_count(score: Score, scored: int | None) -> None:
    """Raises CheckFailed for a score of more samples than were scored (repeats aside), and for an
    error that is none."""
    if score.n and scored and score.n > scored and score.n % scored:
        raise CheckFailed(
            f"the result file says that {score.metric} is of {score.n} samples, and that {scored} "
            "were scored"
        )
    if score.stderr is not None and score.stderr < 0:
        raise CheckFailed(f"the standard error of {score.metric} is {score.stderr:g}")


def _declared_score(name: str, entry: Any, task: str | None, scored: int | None) -> Score:
    body = entry if isinstance(entry, dict) else {"value": entry}
    n = claimed(body.get("n"), f"n of {name}")
    given = body.get("range")
    ends = given if isinstance(given, list) and len(given) == 2 else [None, None]
    return Score(
        task,
        None,
        name,
        name,
        number_or_nan(body.get("value")),
        optional_number(body.get("stderr")),
        scored if n is None else n,
        direction(body.get("higher_is_better")),
        optional_number(ends[0]),
        optional_number(ends[1]),
    )
