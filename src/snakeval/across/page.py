"""Writes `leaderboard.html`: all runs of a folder, all benchmarks, curves over checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakeval import __version__
from snakeval.across.board import ABSENT, Board, Cell, Column, Row
from snakeval.across.curves import Curve, Panel
from snakeval.across.table import missing
from snakeval.job.files import now, write_atomically
from snakeval.report.self_contained import asset, assets, environment, number

LEVELS = 5
"""Shades of a column, by the place of a score between its worst and its best."""

WIDTH, HEIGHT, MARGIN = 250.0, 120.0, 8.0
"""Of a curve's plot, in its own units."""


def write_page(board: Board, panels: tuple[Panel, ...], path: Path) -> None:
    """Writes the page; links to reports are relative to it."""
    pages = environment()
    text = pages.from_string(asset(__package__, "page.html")).render(
        board=board,
        levels={column.key: _levels(board, column) for column in board.columns},
        report=lambda row: _report(row, path.parent),
        cell_title=_title,
        when=_when,
        absent=ABSENT,
        missing=list(missing(board)),
        panels=list(_drawn(panels)),
        series=_series(panels),
        **assets(__package__),
        written=now(),
        version=__version__,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)


def _report(row: Row, folder: Path) -> str | None:
    """The way to a run's report; None where it has none."""
    path = row.run.paths.report
    return Path(os.path.relpath(path, folder)).as_posix() if path.exists() else None


def _when(row: Row) -> str:
    return f"{row.created[:10]} {row.created[11:16].replace('-', ':')}"


def _title(cell: Cell) -> str:
    """What a pointer that rests on a cell is told."""
    if cell.value is None:
        return cell.cause or cell.state
    parts = [f"{cell.value:.6g}"]
    if cell.interval:
        parts.append(f"95% {number(cell.interval[0])} to {number(cell.interval[1])}")
    expected = cell.row["expected"]
    if cell.row["scored"] is not None:
        parts.append(f"{cell.row['scored']} of {'unknown' if expected is None else expected}")
    return ", ".join(parts)


def _levels(board: Board, column: Column) -> dict[int, int]:
    """For each row (by number) the shade of its score, the best ones darkest."""
    values = {
        at: value
        for at, row in enumerate(board.rows)
        if (value := row.cells[column.key].value) is not None
    }
    if column.better == "unknown" or len(set(values.values())) < 2:
        return {}
    low, high = min(values.values()), max(values.values())
    found = {at: (value - low) / (high - low) for at, value in values.items()}
    if column.better == "lower":
        found = {at: 1 - share for at, share in found.items()}
    return {at: min(LEVELS - 1, int(share * LEVELS)) for at, share in found.items()}


def _series(panels: tuple[Panel, ...]) -> list[tuple[int, str]]:
    found = {curve.number: curve.series for panel in panels for curve in panel.curves}
    return sorted(found.items()) if len(found) > 1 else []


def _drawn(panels: tuple[Panel, ...]) -> Iterator[Drawn]:
    """All panels over the same steps."""
    steps = [point.step for panel in panels for curve in panel.curves for point in curve.points]
    for panel in panels:
        cells = [point.cell for curve in panel.curves for point in curve.points]
        ends = [end for cell in cells for end in (*(cell.interval or ()), cell.value)]
        known = [end for end in ends if end is not None]
        low, high = min(known), max(known)
        if low == high:
            low, high = low - 0.5, high + 0.5
        yield Drawn(panel, low, high, min(steps), max(steps))


@dataclass(frozen=True)
class Drawn:
    """A panel in the units of its plot."""

    panel: Panel
    low: float
    high: float
    first: int
    last: int

    def x(self, step: int) -> float:
        width = max(1, self.last - self.first)
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (step - self.first) / width, 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share, 1)

    def line(self, curve: Curve) -> str:
        return " ".join(f"{x},{y}" for x, y, _ in self.dots(curve))

    def dots(self, curve: Curve) -> Iterator[tuple[float, float, Any]]:
        for point in curve.points:
            yield self.x(point.step), self.y(point.cell.value or 0.0), point

    def band(self, curve: Curve) -> str:
        """The outline of the intervals; empty where one is not known."""
        ends = [(point.step, point.cell.interval) for point in curve.points]
        known = [(step, interval) for step, interval in ends if interval]
        if len(known) < len(ends):
            return ""
        upper = [f"{self.x(step)},{self.y(high)}" for step, (_, high) in known]
        lower = [f"{self.x(step)},{self.y(low)}" for step, (low, _) in known[::-1]]
        return " ".join([*upper, *lower])
