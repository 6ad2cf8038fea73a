"""The board for the person who waited: as many benchmarks side by side as the screen is wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from snakeval.across.board import ABSENT, Board, Cell, Column, Row
from snakeval.compare.statistics import Interval
from snakeval.terminal import Terminal, middle

CELL = 15
"""Columns of the screen that a benchmark takes at least."""

LONGEST_NAME = 60
"""Columns of the screen that a name takes in all its lines; the files have the whole one."""

MARKS = {"best": "*", "partial": "~"}


def print_board(board: Board, drops: Sequence[str] = ()) -> None:
    """Scores with half their interval; below, what is missing and why, and what is averaged.

    drops  sentences about checkpoints
    """
    console = Terminal(200)
    label = min(40, max((len(row.label) for row in board.rows), default=10))
    numbers = 2 * CELL if board.suite else CELL
    at_once = max(1, (console.width - label - numbers - 8) // CELL)
    pieces = [
        board.columns[start : start + at_once] for start in range(0, len(board.columns), at_once)
    ] or [()]
    console.print(Group(*(_table(board, columns, n, label) for n, columns in enumerate(pieces))))
    for line in [*told(board), *drops]:
        console.say(line)


def _table(board: Board, columns: Sequence[Column], number: int, label: int) -> Table:
    table = Table(title=board.title if not number else None, title_justify="left")
    table.add_column("model", max_width=label, overflow="fold")
    if not number:
        if board.suite:
            table.add_column(board.suite.title, justify="right", no_wrap=True)
        table.add_column("average", justify="right", no_wrap=True)
    for column in columns:
        heading = f"{middle(column.name, LONGEST_NAME)}\n{column.metric}"
        heading += " (lower is better)" if column.better == "lower" else ""
        table.add_column(heading, justify="right", min_width=CELL - 3, overflow="fold")
    for row in board.rows:
        cells: list[Text | str] = [middle(row.label, 2 * LONGEST_NAME)]
        if not number:
            if board.suite:
                cells.append(_number(row.suite, row.suite_interval))
            cells.append(_number(row.average, row.average_interval))
        table.add_row(*cells, *(shown(row.cells[column.key]) for column in columns))
    return table


def _number(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return with_half(value, (interval[1] - interval[0]) / 2 if interval else None)


def with_half(value: float, half: float | None) -> str:
    """`0.712 ±0.031`; decimals by the size."""
    digits = 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" + (f" ±{half:.{digits}f}" if half is not None else "")


def shown(cell: Cell) -> Text:
    """A cell: a score, or why there is none."""
    if cell.value is None:
        word = "-" if cell.state == ABSENT else cell.state
        return Text(word, style="" if cell.state == ABSENT else "red")
    marks = ("best" if cell.best else "", "partial" if cell.partial else "")
    text = with_half(cell.value, cell.half) + "".join(MARKS[mark] for mark in marks if mark)
    return Text(text, style="bold green" if cell.best else "")


def told(board: Board) -> Iterator[str]:
    """What stands below the table."""
    if any(cell.best for row in board.rows for cell in row.cells.values()):
        yield (
            "* best, or not different from the best by more than chance (p < 0.05 by Holm); "
            "± half of the 95% interval"
        )
    if any(cell.partial for row in board.rows for cell in row.cells.values()):
        yield "~ not all samples were scored"
    yield from board.notes
    why: dict[str, list[str]] = {}
    for column in board.columns:
        scored = sum(row.cells[column.key].value is not None for row in board.rows)
        if column.untested and scored > 1:
            why.setdefault(column.untested, []).append(column.name)
    for reason, names in why.items():
        yield f"{', '.join(names)}: no best is marked: {reason}"
    yield board.average_note
    if board.suite:
        for row in board.rows:
            if row.suite_missing:
                yield (
                    f"{row.label}: no {board.suite.title}, without " + ", ".join(row.suite_missing)
                )
    yield from missing(board)


def missing(board: Board) -> Iterator[str]:
    """Every benchmark without a score, with its cause."""
    untold: dict[str, list[str]] = {}
    for row, column, cell in _without_score(board):
        if cell.state == "pending" and not cell.cause:
            untold.setdefault(row.label, []).append(column.name)
        elif cell.state != ABSENT:
            yield f"{row.label}: {column.name}: {cell.state}: {cell.cause or 'not run yet'}"
    for label, names in untold.items():
        yield f"{label}: not run yet: {', '.join(names)}"
    absent = [(row, column) for row, column, cell in _without_score(board) if cell.state == ABSENT]
    if absent:
        yield f"- {len(absent)} of {len(board.rows) * len(board.columns)} were not asked for"


def _without_score(board: Board) -> Iterator[tuple[Row, Column, Cell]]:
    for row in board.rows:
        for column in board.columns:
            cell = row.cells[column.key]
            if cell.value is None:
                yield row, column, cell
