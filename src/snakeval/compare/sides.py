"""One benchmark in one of the two runs, and what its rows of the results table say of a score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snakeval.plan.run import Run, Task

Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """`rows`: the benchmark's published scores, as in results.csv."""

    run: Run
    task: Task
    rows: list[Row]


def is_of(row: Row, metric: str, filtered: str | None) -> bool:
    """Whether a row is of this metric and filter, as single samples name them."""
    return bool(row["metric"] == metric and plain(row) == (filtered or metric))


def plain(row: Row) -> str:
    """The filter of a row; `none` is lm-eval's word for no filter, which is told as the metric."""
    return str(row["metric"] if row["score"] in (None, "none") else row["score"])


def score_key(row: Row) -> tuple[Any, ...]:
    """What tells the scores of a benchmark apart."""
    return row["group"], row["subtask"], row["metric"], row["score"]


def better(rows: Iterable[Row]) -> str:
    """Which way a score is better, where all rows that say it agree."""
    said = {row["better"] for row in rows} - {"unknown", None}
    return said.pop() if len(said) == 1 else "unknown"
