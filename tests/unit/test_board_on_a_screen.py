"""The leaderboard in a terminal: one table where that fits, and sane where nothing does."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len

from snakeval.across import table
from snakeval.across.board import Board, Cell, Column, Row
from snakeval.terminal import Terminal

MODELS = ("org/llama-3.1-8b", "org/llama-3.1-70b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B")


def board(models: int, benchmarks: int, **states: str) -> Board:
    """states  of the second model's benchmarks, by name: they have no score"""
    columns = tuple(
        Column(f"b{n}", f"benchmark_name_{n}", f"b{n}", f"h.b{n}", "exact_match (strict-match)")
        for n in range(benchmarks)
    )
    row: dict[str, Any] = {"scored": 4, "expected": 4, "unanswered": 0}
    rows = []
    for number in range(models):
        name = MODELS[number] if number < len(MODELS) else f"org/model-{number}"
        cells = {
            each.key: Cell("published", row=row, value=0.5, interval=(0.4, 0.6), best=True)
            if number != 1 or each.key not in states
            else Cell(states[each.key], cause="no task x")
            for each in columns
        }
        made: Any = (None, name, name, None, "", None, name, cells)
        rows.append(Row(*made, average=0.5, average_interval=(0.45, 0.55)))
    return Board(columns, tuple(rows))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Any:
    def draw(width: int, shown: Board) -> str:
        out = io.StringIO()
        monkeypatch.setattr(table, "Terminal", lambda wide: Terminal(width, file=out))
        table.print_board(shown)
        return out.getvalue()

    return draw


def tables(said: str) -> int:
    return said.count("┏")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(("models", "benchmarks"), [(3, 3), (3, 8), (2, 12), (3, 40), (6, 3)])
def test_few_models_or_few_benchmarks_are_one_table(
    drawn: Any, width: int, models: int, benchmarks: int
) -> None:
    said = drawn(width, board(models, benchmarks))

    assert tables(said) == 1
    assert all(cell_len(line) <= width for line in said.splitlines() if line[:1] in "┏┃┡│└")


@pytest.mark.parametrize("width", [80, 120])
def test_many_of_both_are_no_more_than_some_screens(drawn: Any, width: int) -> None:
    said = drawn(width, board(12, 40))

    assert tables(said) <= 5
    assert len(said.splitlines()) < 170
    assert all(cell_len(line) <= width for line in said.splitlines() if line[:1] in "┏┃┡│└")
    assert all(said.count(f"benchmark_name_{n} ") >= 1 for n in range(40))


def test_intervals_are_shown_where_there_is_room_and_else_said_to_be_elsewhere(drawn: Any) -> None:
    wide, narrow = drawn(120, board(3, 4)), drawn(80, board(5, 5))

    assert "0.500 ±0.100*" in wide and "exact_match" in wide
    assert "0.500*" in narrow and "the intervals, and what is measured, are in the files" in narrow


def test_names_are_not_broken_where_there_is_room(drawn: Any) -> None:
    assert "exact_match (strict-match)" in drawn(120, board(3, 2))


def test_what_has_no_score_is_seen_and_told_once_for_all_models(drawn: Any) -> None:
    said = drawn(80, board(3, 4, b1="cancelled", b2="failed"))

    assert "cancelled" in said and "failed" in said
    assert "org/llama-3.1-70b: benchmark_name_2: failed: no task x" in said


def test_names_are_broken_between_their_parts() -> None:
    assert table.folded("lm-evaluation-harness.mmlu_pro", 12) == [
        "lm-", "evaluation-", "harness.", "mmlu_pro",
    ]  # fmt: skip
    assert table.folded("llama-3.1-8b", 12) == ["llama-3.1-8b"]
    assert table.folded("x" * 30, 12) == ["x" * 12, "x" * 12, "x" * 6]
