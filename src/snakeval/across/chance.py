"""Which scores of a column may be the best one, and which drop is more than chance.

Where two standard errors do not settle it, the samples that both models answered do: exact McNemar
for right or wrong, else a t test of the paired differences, question by question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from snakeval.across.board import Board, Cell, Column
from snakeval.compare import statistics
from snakeval.compare.pairs import NotComparable, Pairs, means_of, pairs, samples_of
from snakeval.compare.statistics import CONFIDENCE
from snakeval.job.scores import is_mean
from snakeval.plan.run import Run, Task
from snakeval.results.clusters import of_questions
from snakeval.results.published import kept_apart

if TYPE_CHECKING:
    import pandas as pd

SETTLED = 1e-4
"""A p of independent scores that is not looked at again: pairs only make it smaller, and it counts
as no chance among 500 models."""


@dataclass(frozen=True)
class Tested:
    """The difference of two scores. p: None where nothing is known that would test it."""

    p: float | None
    why: str = ""


def marked(board: Board) -> Board:
    """The board with the best of every column: the first by its number, and every other one that
    differs from it by no more than chance (Holm over the column)."""
    columns, best = [], set()
    for column in board.columns:
        cells = [row.cells[column.key] for row in board.rows]
        found, why = _best(column, cells)
        best |= {id(cell) for cell in found}
        columns.append(replace(column, untested=why))
    rows = [
        replace(
            row,
            cells={
                key: replace(cell, best=True) if id(cell) in best else cell
                for key, cell in row.cells.items()
            },
        )
        for row in board.rows
    ]
    return replace(board, columns=tuple(columns), rows=tuple(rows))


def _best(column: Column, cells: Sequence[Cell]) -> tuple[list[Cell], str]:
    """The cells that may be the best one, or why that cannot be said."""
    scored = [cell for cell in cells if cell.value is not None]
    if len(scored) < 2:
        return [], "fewer than two scores"
    if column.better == "unknown":
        return [], "it is not known whether a higher score is better"
    sign = 1 if column.better == "higher" else -1
    top, *others = sorted(scored, key=lambda cell: -sign * (cell.value or 0.0))
    tested = [differ(top, other) for other in others]
    if unknown := next((each.why for each in tested if each.p is None), ""):
        return [], unknown
    corrected = statistics.holm([each.p for each in tested if each.p is not None])
    equal = [other for other, p in zip(others, corrected, strict=True) if p >= 1 - CONFIDENCE]
    return [top, *equal], ""


def differ(one: Cell, other: Cell) -> Tested:
    """Whether two scores differ by more than chance (two-sided)."""
    if one.value == other.value and one.stderr is not None and other.stderr is not None:
        return Tested(1.0)
    by_errors = statistics.unpaired(*_with_error(one), *_with_error(other)).p
    if by_errors is not None and by_errors < SETTLED:
        return Tested(by_errors)
    paired = kept_apart(lambda: _paired(one, other), lambda cause: Tested(None, cause))
    if paired is not None:
        return paired
    if by_errors is None:
        return Tested(None, "neither single samples nor standard errors are known")
    return Tested(by_errors)


def _with_error(cell: Cell) -> tuple[float, float | None]:
    assert cell.value is not None
    if cell.stderr is not None:
        return cell.value, cell.stderr
    ends = cell.row.get("lowest"), cell.row.get("highest")
    return cell.value, statistics.cautious_stderr(cell.value, cell.n, *ends)


def _paired(one: Cell, other: Cell) -> Tested | None:
    """Over the samples of both; None where there are none, or where their mean is not the published
    score."""
    if one.run is None or other.run is None or one.task is None or other.task is None:
        return None
    ours, theirs = _samples(one.run, one.task), _samples(other.run, other.task)
    if ours is None or theirs is None:
        return None
    metric, score = one.row["metric"], one.row["score"]
    filtered = None if score in (None, "none", metric) else score
    subtask = one.row["subtask"]
    for cell, frame in ((one, ours), (other, theirs)):
        mean = means_of(frame, metric, filtered).get(subtask)
        if mean is None or not is_mean(cell.row["value"], mean):
            return None
    try:
        found = [
            each for each in pairs(ours, theirs) if (each.metric, each.filter) == (metric, filtered)
        ]
    except NotComparable as reason:
        return Tested(None, f"not the same questions: {reason}")
    p = _p(found[0]) if found else None
    return None if p is None else Tested(p)


@lru_cache(maxsize=4)  # the best one is held against all others
def _samples(run: Run, task: Task) -> pd.DataFrame | None:
    return samples_of(run, task)


def _p(found: Pairs) -> float | None:
    import numpy as np

    gaps = found.candidate - found.base
    binary = bool(np.isin(np.concatenate([found.base, found.candidate]), (0.0, 1.0)).all())
    if binary and len(set(found.questions)) == len(found.questions):
        return statistics.mcnemar(int((gaps > 0).sum()), int((gaps < 0).sum()))
    values = of_questions(gaps, found.questions)
    n = len(values)
    if n < 2:
        return None
    stderr = float(values.std(ddof=1)) / math.sqrt(n)
    mean = float(gaps.mean())
    if stderr < 1e-12:
        return 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - n)
    from scipy.stats import t

    return float(2 * t.sf(abs(mean) / stderr, n - 1))
