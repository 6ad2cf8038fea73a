"""The numbers over several benchmarks: an average over what all models have, and a suite's."""

from __future__ import annotations

import math
from dataclasses import replace

from snakeval.across.board import Board, Cell, Row
from snakeval.compare import statistics
from snakeval.compare.statistics import Interval
from snakeval.compare.suite import Given, Suite
from snakeval.errors import count


def averaged(board: Board) -> Board:
    """The board with its averages, the best models first; checkpoints in the order of their steps.

    The average counts only benchmarks that every model with a score has: a mean over others would
    favour whoever failed at the hard ones. And only scores between 0 and 1 of which more is better.
    """
    rows = [row for row in board.rows if row.scored]
    columns = [
        column.key
        for column in board.columns
        if rows and column.better == "higher" and all(_fits(row.cells[column.key]) for row in rows)
    ]
    if len(columns) < 2:
        columns = []
    made = [_with_numbers(row, columns, board.suite) for row in board.rows]
    over_time = all(row.step is not None for row in made)

    def order(row: Row) -> tuple[str, float] | tuple[bool, float]:
        if over_time:  # one training run, or several: each from its first step on
            return row.series, float(row.step or 0)
        number = row.suite if board.suite else row.average
        return number is None, -(number or 0.0)

    return replace(
        board,
        rows=tuple(sorted(made, key=order)),
        averaged=tuple(columns),
        average_note=_note(board, columns, len(rows)),
    )


def _fits(cell: Cell) -> bool:
    return cell.value is not None and 0 <= cell.value <= 1


def _note(board: Board, columns: list[str], models: int) -> str:
    all_of_them = count(len(board.columns), "benchmark")
    if not models:
        return "No model has a score yet."
    if not columns:
        return (
            "No average: fewer than two benchmarks have a score between 0 and 1, better when "
            f"higher, for all {count(models, 'model')}."
        )
    told = f"The average is over {len(columns)} of {all_of_them}"
    if len(columns) == len(board.columns):
        return f"{told}."
    left = [column.name for column in board.columns if column.key not in columns]
    shown = ", ".join(left[:6]) + (f" and {len(left) - 6} more" if len(left) > 6 else "")
    return (
        f"{told}: those that all {count(models, 'model')} have, with scores between 0 and 1 that "
        f"are better when higher. Left out: {shown}."
    )


def _with_numbers(row: Row, columns: list[str], suite: Suite | None) -> Row:
    if columns and row.scored:
        cells = [row.cells[key] for key in columns]
        row = replace(row, average=_mean(cells), average_interval=_interval(cells))
    if suite:
        number = suite.number(_scores(row, suite))
        row = replace(
            row,
            suite=number.value,
            suite_interval=number.interval,
            suite_missing=number.missing,
        )
    return row


def _scores(row: Row, suite: Suite) -> dict[str, Given]:
    """The scores of the suite's benchmarks, by its names for them."""
    found = {}
    for cell in row.cells.values():
        if cell.value is None or cell.task is None:
            continue
        task = cell.task
        names = (task.own_label, task.name, task.benchmark.task, task.benchmark.id)
        for name in suite.benchmarks:
            if name in names:
                better = str(cell.row["better"] or "unknown")
                found[name] = Given(cell.value, cell.error, better)
    return found


def _mean(cells: list[Cell]) -> float:
    return sum(cell.value or 0.0 for cell in cells) / len(cells)


def _interval(cells: list[Cell]) -> Interval | None:
    """Of the mean for these benchmarks; None where an error is not known."""
    errors = [cell.error for cell in cells if cell.error is not None]
    if len(errors) < len(cells):
        return None
    half = statistics.normal_quantile() * math.hypot(*errors) / len(cells)
    return _mean(cells) - half, _mean(cells) + half
