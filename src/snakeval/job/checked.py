"""check.json: what the check of a result has found, so that nobody reads the harness's files again.

The check writes it; tables, exports, report and comparison read the scores from it. A folder of an
earlier version has a check.json without scores: its result files are read as they were then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from .result_formats import Coverage, Results, Score


def content(cause: str | None, results: Results | None) -> dict[str, Any]:
    """What check.json holds. `cause`: why the result does not hold; None: it does."""
    coverage = results.coverage if results else Coverage()
    found: dict[str, Any] = {"passed": cause is None, "cause": cause, **asdict(coverage)}
    found["totals"] = results.totals if results else {}
    if results:
        found["scores"] = [asdict(score) for score in results.scores]
        found["notes"] = list(results.notes)
    return found


def results_in(checked: Mapping[str, Any]) -> Results | None:
    """The scores, the coverage and the totals in a check.json; None where it holds no scores.

    Raises ValueError for one that holds something else.
    """
    scores = checked.get("scores")
    if not isinstance(scores, list) or not scores:
        return None
    try:
        return Results(
            [_score(each) for each in scores],
            Coverage(**{each.name: _count(checked.get(each.name)) for each in fields(Coverage)}),
            totals_in(checked),
            tuple(map(str, checked.get("notes") or ())),
        )
    except TypeError as error:
        raise ValueError(f"check.json holds something else than scores: {error}") from None


def totals_in(checked: Mapping[str, Any]) -> dict[str, float]:
    """Tokens and times, as far as they are numbers."""
    given = checked.get("totals")
    found = given.items() if isinstance(given, dict) else ()
    return {str(name): float(value) for name, value in found if _is_number(value)}


def _score(given: Any) -> Score:
    score = Score(**given)
    if not _is_number(score.value) or not isinstance(score.metric, str):
        raise TypeError(f"the score {score.metric} is {score.value!r}")
    return score


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
