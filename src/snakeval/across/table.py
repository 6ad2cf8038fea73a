"""The board for the person who waited: in the form that the screen is wide enough for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from snakeval.across.board import ABSENT, Board, Cell, Column, Row
from snakeval.compare.statistics import Interval
from snakeval.terminal import Terminal, middle

LONGEST_NAME = 60
"""Columns of the screen that a name takes in all its lines; the files have the whole one."""

LABELS = (34, 26, 20)
"""Columns that the first column takes at most: as many of these as there is room for."""

LINES = (1, 2, 3)
"""Of a heading: as few of them as there is room for."""

NARROWEST, LONGEST_PART = 7, 14
"""Columns of any column at least, and of a part of a name that is not broken."""

PART = re.compile(r"(?<=[-_/ ])|(?<=\.)(?=\D)")
"""Where a name may be broken."""

LISTED = 20
"""Benchmarks without a score that are told one by one."""

MARKS = {"best": "*", "partial": "~"}


def print_board(board: Board, drops: Sequence[str] = ()) -> None:
    """One table where the screen is wide enough for it: scores with half their interval, models or
    benchmarks as rows; else without the intervals; else in as few pieces as can be. Below, what is
    missing and why, and what is averaged.

    drops  sentences about checkpoints
    """
    console = Terminal(200)
    grid, pieces = fitting(board, console.width)
    for number, columns in enumerate(pieces):
        console.print(_drawn(board, grid, columns, number))
    if not grid.with_halves and any(row.scored for row in board.rows):
        console.say("the intervals, and what is measured, are in the files")
    for line in [*told(board), *drops]:
        console.say(line)


@dataclass(frozen=True)
class Grid:
    """Texts of a table: a heading for each column, and rows that begin with a name.

    names  columns that the first column takes at most; lines: of a heading
    """

    headings: list[str]
    rows: list[list[Text]]
    with_halves: bool
    names: int = LABELS[-1]
    lines: int = LINES[-1]

    @cached_property
    def widths(self) -> list[int]:
        """Of each column, without its border; headings and names are folded into it."""
        cells = [
            max(
                (cell_len(line) for row in self.rows for line in row[n].plain.split("\n")),
                default=0,
            )
            for n in self._columns
        ]
        headings = [_least(heading, self.lines) for heading in self.headings]
        others = [max(NARROWEST, each) for each in map(max, cells[1:], headings[1:])]
        return [max(min(self.names, cells[0]), cell_len(self.headings[0])), *others]

    @property
    def _columns(self) -> range:
        return range(len(self.headings))

    @property
    def width(self) -> int:
        """Of all columns side by side."""
        return 1 + sum(self.widths) + 3 * len(self.widths)

    @property
    def height(self) -> int:
        """Lines of a piece."""
        names = [row[0].plain for row in self.rows]
        heads = zip(self.headings, self.widths, strict=True)
        high = [len(_lines(heading, width)) for heading, width in heads]
        return 3 + max(high) + sum(len(_lines(name, self.widths[0])) for name in names)

    def pieces(self, width: int) -> list[list[int]]:
        """The columns that stand side by side on a screen of a width, the names in each."""
        all_room = width - 1 - self.widths[0] - 3
        found: list[list[int]] = [[0]]
        room = all_room
        for number in self._columns[1:]:
            wide = self.widths[number] + 3
            if len(found[-1]) > 1 and wide > room:
                found.append([0])
                room = all_room
            found[-1].append(number)
            room -= wide
        return found


def folded(text: str, width: int) -> list[str]:
    """A name in lines of a width at most, broken between its parts where that can be."""
    lines = [""]
    for part in PART.split(text):
        if lines[-1] and cell_len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        while cell_len(lines[-1] + part.rstrip()) > width:
            lines[-1:] = [part[:width], ""]
            part = part[width:]
        lines[-1] += part
    return [line.rstrip() for line in lines]


def _lines(text: str, width: int) -> list[str]:
    """The same of a text that has lines already."""
    return [part for line in text.split("\n") for part in folded(line, width)]


def _least(heading: str, lines: int) -> int:
    """The columns that a heading takes at least in so many lines (each of its own), in whole words
    where that can be."""
    parts = [cell_len(part.strip()) for line in heading.split("\n") for part in PART.split(line)]
    width = min(max(parts), LONGEST_PART)
    while any(len(folded(line, width)) > lines for line in heading.split("\n")):
        width += 1
    return width


def fitting(board: Board, width: int) -> tuple[Grid, list[list[int]]]:
    """The grid that a screen of a width shows best, and its columns piece by piece: the first one
    that fits as a whole, else the shortest."""
    found: list[Grid] = []
    for with_halves in (True, False):
        for of in (_models_as_rows, _benchmarks_as_rows):
            made = of(board, with_halves)
            grids = [
                replace(made, names=names, lines=lines) for lines, names in product(LINES, LABELS)
            ]
            found += grids
            if whole := [grid for grid in grids if grid.width <= width]:
                return _shortest(whole, width)
    return _shortest(found, width)


def _shortest(grids: Sequence[Grid], width: int) -> tuple[Grid, list[list[int]]]:
    both = [(grid, grid.pieces(width)) for grid in grids]
    return min(both, key=lambda each: len(each[1]) * each[0].height)


def _models_as_rows(board: Board, with_halves: bool) -> Grid:
    means = _means(board)
    headings = ["model", *means, *(_named(column, with_halves) for column in board.columns)]
    rows = [
        [
            Text(middle(row.label, LONGEST_NAME)),
            *(_number(*mean(row), with_halves) for mean in means.values()),
            *(shown(row.cells[column.key], with_halves) for column in board.columns),
        ]
        for row in board.rows
    ]
    return Grid(headings, rows, with_halves)


def _benchmarks_as_rows(board: Board, with_halves: bool) -> Grid:
    headings = ["benchmark", *(middle(row.label, LONGEST_NAME) for row in board.rows)]
    rows = [
        [
            Text(_named(column, with_halves)),
            *(shown(row.cells[column.key], with_halves) for row in board.rows),
        ]
        for column in board.columns
    ]
    rows += [
        [
            Text(name, style="bold"),
            *(_number(*mean(row), with_halves) for row in board.rows),
        ]
        for name, mean in _means(board).items()
    ]
    return Grid(headings, rows, with_halves)


Mean = Callable[[Row], tuple[float | None, Interval | None]]


def _means(board: Board) -> dict[str, Mean]:
    """What each model has over several benchmarks, by its name."""
    found: dict[str, Mean] = {}
    if board.suite:
        found[board.suite.title] = lambda row: (row.suite, row.suite_interval)
    found["average"] = lambda row: (row.average, row.average_interval)
    return found


def _named(column: Column, with_metric: bool) -> str:
    name = middle(column.name, LONGEST_NAME)
    lower = " (lower is better)" if column.better == "lower" else ""
    return f"{name}\n{column.metric}{lower}" if with_metric else f"{name}{lower}"


def _drawn(board: Board, grid: Grid, columns: Sequence[int], number: int) -> Table:
    table = Table(title=board.title if not number else None, title_justify="left")
    for each in columns:
        width = grid.widths[each]
        heading = "\n".join(_lines(grid.headings[each], width))
        table.add_column(heading, justify="right" if each else "left", width=width)
    for name, *cells in grid.rows:
        first = Text("\n".join(_lines(name.plain, grid.widths[0])), style=name.style)
        table.add_row(first, *(cells[each - 1] for each in columns[1:]))
    return table


def _number(value: float | None, interval: Interval | None, with_half_of_it: bool) -> Text:
    if value is None:
        return Text("-")
    half = (interval[1] - interval[0]) / 2 if interval and with_half_of_it else None
    return Text(with_half(value, half))


def with_half(value: float, half: float | None) -> str:
    """`0.712 ±0.031`; decimals by the size."""
    digits = 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" + (f" ±{half:.{digits}f}" if half is not None else "")


def shown(cell: Cell, with_its_half: bool = True) -> Text:
    """A cell: a score, or why there is none."""
    if cell.value is None:
        word = "-" if cell.state == ABSENT else cell.state
        return Text(word, style="" if cell.state == ABSENT else "red")
    marks = ("best" if cell.best else "", "partial" if cell.partial else "")
    text = with_half(cell.value, cell.half if with_its_half else None) + "".join(
        MARKS[mark] for mark in marks if mark
    )
    return Text(text, style="bold green" if cell.best else "")


def told(board: Board) -> Iterator[str]:
    """What stands below the table."""
    if any(cell.best for row in board.rows for cell in row.cells.values()):
        yield (
            "* best, or not different from the best by more than chance (p < 0.05 by Holm); "
            "±: half of the 95% interval"
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
    yield from _missing_in_short(board)


def _missing_in_short(board: Board) -> Iterator[str]:
    """As `missing`, with one line for all models that lack a benchmark for the same cause, and not
    more lines than somebody reads."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for row, column, cell in _without_score(board):
        if cell.state != ABSENT and (cell.state != "pending" or cell.cause):
            said = column.name, cell.state, cell.cause or "not run yet"
            alike.setdefault(said, []).append(row.label)
    lines = [
        f"{', '.join(labels[:3])}{f' and {len(labels) - 3} more' if len(labels) > 3 else ''}: "
        f"{name}: {state}: {cause}"
        for (name, state, cause), labels in alike.items()
    ]
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"and {len(lines) - LISTED} more without a score: the page has them all"
    yield from _not_run(board)


def missing(board: Board) -> Iterator[str]:
    """Every benchmark without a score, with its cause."""
    for row, column, cell in _without_score(board):
        if cell.state != ABSENT and (cell.state != "pending" or cell.cause):
            yield f"{row.label}: {column.name}: {cell.state}: {cell.cause or 'not run yet'}"
    yield from _not_run(board)


def _not_run(board: Board) -> Iterator[str]:
    """What was not tried, and what was not asked for."""
    untold: dict[str, list[str]] = {}
    for row, column, cell in _without_score(board):
        if cell.state == "pending" and not cell.cause:
            untold.setdefault(row.label, []).append(column.name)
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
