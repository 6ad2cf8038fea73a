"""The board as files for programs: CSV (a row per model) and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snakeval.across.board import Board, Cell, Column, Row
from snakeval.job.files import now, write_atomically
from snakeval.results.cells import as_csv

NAME = "leaderboard"


def write_csv(board: Board, path: Path) -> None:
    """A row per model; for every benchmark its score, the interval's ends, and what it is."""
    columns = ["run", "model", "name", "step"]
    columns += [board.suite.title] if board.suite else []
    columns += ["average"]
    for column in board.columns:
        columns += [column.name, *(f"{column.name} {what}" for what in ("low", "high", "state"))]
    write_atomically(path, as_csv(columns, [_flat(board, row) for row in board.rows]))


def _flat(board: Board, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "run": row.run.paths.id,
        "model": row.model,
        "name": row.name,
        "step": row.step,
        "average": row.average,
    }
    if board.suite:
        found[board.suite.title] = row.suite
    for column in board.columns:
        cell = row.cells[column.key]
        low, high = cell.interval or (None, None)
        found |= {
            column.name: cell.value,
            f"{column.name} low": low,
            f"{column.name} high": high,
            f"{column.name} state": "best" if cell.best else cell.state,
        }
    return found


def write_json(board: Board, path: Path) -> None:
    write_atomically(path, json.dumps(content(board), indent=1) + "\n")


def content(board: Board) -> dict[str, Any]:
    """All of it as plain values."""
    return {
        "written": now(),
        "average": {
            "note": board.average_note,
            "benchmarks": [column.name for column in board.columns if column.key in board.averaged],
        },
        "suite": board.suite and {"name": board.suite.name, "version": board.suite.file.version},
        "notes": list(board.notes),
        "benchmarks": [
            {
                "name": column.name,
                "benchmark": column.benchmark,
                "metric": column.metric,
                "better": column.better,
                "no_best_because": column.untested or None,
            }
            for column in board.columns
        ],
        "models": [_of_row(board, row) for row in board.rows],
    }


def _of_row(board: Board, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "run": row.run.paths.id,
        "model": row.model,
        "label": row.label,
        "name": row.name,
        "step": row.step,
        "average": row.average,
        "average_interval": row.average_interval,
        "scores": {
            column.name: _of_cell(column, row.cells[column.key]) for column in board.columns
        },
    }
    if board.suite:
        found["suite"] = {
            "value": row.suite,
            "interval": row.suite_interval,
            "missing": list(row.suite_missing),
        }
    return found


def _of_cell(column: Column, cell: Cell) -> dict[str, Any]:
    if cell.value is None:
        return {"state": cell.state, "cause": cell.cause}
    return {
        "state": cell.state,
        "value": cell.value,
        "stderr": cell.stderr,
        "interval": cell.interval,
        "n": cell.n,
        "scored": cell.row["scored"],
        "expected": cell.row["expected"],
        "unanswered": cell.row["unanswered"],
        "best": None if column.untested else cell.best,
    }
