"""Scores over training steps, and the first step at which a benchmark drops for good reason.

Every checkpoint is held against the best one before it. Many looks find a drop by chance alone, and
the best of many is the luckiest: so each p is multiplied by the number of pairs of checkpoints in
all curves (Bonferroni), and the chance of one false alarm or more on a page is at most 5%.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from snakeval.across.board import Board, Cell, Column, Row
from snakeval.across.chance import differ
from snakeval.compare.statistics import CONFIDENCE
from snakeval.results.steps import origin_of


@dataclass(frozen=True, eq=False)
class Point:
    step: int
    cell: Cell
    label: str


@dataclass(frozen=True)
class Drop:
    """The first checkpoint that is worse than the best before it by more than chance."""

    at: Point
    best: Point
    p: float

    def __str__(self) -> str:
        return (
            f"drops at step {self.at.step:,}: {self.at.cell.value:.4g} after "
            f"{self.best.cell.value:.4g} at step {self.best.step:,}"
        )


@dataclass(frozen=True)
class Curve:
    """The checkpoints of one training run, those with a score, in order of their steps.

    number  of the training run on the page
    missing steps of those without a score, and why
    """

    series: str
    number: int
    points: tuple[Point, ...]
    missing: tuple[Point, ...] = ()
    drop: Drop | None = None


@dataclass(frozen=True)
class Panel:
    """One benchmark over time. untested: why no drop can be told"""

    column: Column
    curves: tuple[Curve, ...]
    untested: str = ""


def panels(board: Board) -> tuple[Panel, ...]:
    """A panel for each benchmark that some training run has at several steps."""
    series: dict[str, list[Row]] = {}
    for row in board.rows:
        if row.step is not None:
            series.setdefault(row.series, []).append(row)
    apart = dict(each for name, rows in series.items() for each in _told_apart(name, rows))
    several = {name: rows for name, rows in apart.items() if len(rows) > 1}
    drawn = [
        (column, curves)
        for column in board.columns
        if (curves := list(_curves(column, several))) and max(map(_length, curves)) > 1
    ]
    pairs = sum(_pairs(curve) for column, curves in drawn if _known(column) for curve in curves)
    return tuple(
        Panel(
            column,
            tuple(replace(curve, drop=_drop(column, curve, pairs)) for curve in curves),
            "" if _known(column) else "it is not known whether a higher score is better",
        )
        for column, curves in drawn
    )


def _told_apart(name: str, rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Two trainings of one name would be one line with two scores at a step: by their folders."""
    by_origin: dict[str, list[Row]] = {}
    for row in rows:
        by_origin.setdefault(origin_of(row.run), []).append(row)
    if len(by_origin) == 1 or len({row.step for row in rows}) == len(rows):
        yield name, rows
        return
    called, _, params = name.rpartition("-")
    for origin, own in by_origin.items():
        yield f"{called} ({origin})-{params}", own


def _curves(column: Column, series: dict[str, list[Row]]) -> Iterator[Curve]:
    for number, (name, rows) in enumerate(series.items()):
        every = [
            Point(row.step or 0, row.cells[column.key], row.label)
            for row in sorted(rows, key=lambda row: row.step or 0)
        ]
        points = tuple(point for point in every if point.cell.value is not None)
        missing = tuple(point for point in every if point.cell.value is None)
        if points:
            yield Curve(name.rpartition("-")[0], number, points, missing)


def _length(curve: Curve) -> int:
    return len(curve.points)


def _pairs(curve: Curve) -> int:
    return _length(curve) * (_length(curve) - 1) // 2


def _known(column: Column) -> bool:
    return column.better != "unknown"


def _drop(column: Column, curve: Curve, pairs: int) -> Drop | None:
    """The first drop; None where none is seen, or the direction is not known."""
    if not _known(column):
        return None
    sign = 1 if column.better == "higher" else -1

    def worth(point: Point) -> float:
        return sign * (point.cell.value or 0.0)

    best, *later = curve.points
    for point in later:
        if worth(point) >= worth(best):
            best = point
            continue
        p = differ(best.cell, point.cell).p
        if p is not None and p * pairs < 1 - CONFIDENCE:
            return Drop(point, best, min(1.0, p * pairs))
    return None


def told(found: Sequence[Panel]) -> Iterator[str]:
    """The drops as sentences, for the terminal."""
    for panel in found:
        for curve in panel.curves:
            if curve.drop:
                several = f" ({curve.series})" if len(panel.curves) > 1 else ""
                yield f"{panel.column.name}{several} {curve.drop}"
