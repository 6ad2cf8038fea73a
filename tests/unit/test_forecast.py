"""What the next start will ask and cost, from what earlier ones have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.prices import Budget, Prices
from snakeval.plan.run import Run, Task
from snakeval.run_folder.layout import RunPaths
from snakeval.start.forecast import about, duration, tell

EARLIER = "2026-11-01-10-00-00-0badcafe"
TOTALS = {"requests": 101, "answers": 100, "prompt_tokens": 50_000, "completion_tokens": 13_333}


def left(
    run: Run, task: Task, scored: int, limit: int | None = None, name: str = EARLIER, **account: Any
) -> None:
    """What a finished benchmark has left in a run beside this one."""
    paths = RunPaths(run.paths.dir.parent / name).task(task.name)
    record = paths.record("abcdef123456")
    record.mkdir(parents=True)
    gateway = {"model": {"seconds": 90.0, **account}}
    check = {"passed": True, "scored": scored, "totals": TOTALS, "gateway": gateway}
    (record / "check.json").write_text(json.dumps(check))
    params = {"limit_samples": limit} if limit else {}
    spec = {"benchmark": task.benchmark.id, "model_id": "another", "params": params}
    (record / "task.yaml").write_text(yaml.safe_dump(spec))


def of_size(run: Run, size: int | None, limit: int | None = None, **config: Any) -> Run:
    """The run with one benchmark of this size."""
    task = run.tasks[0]
    details = task.benchmark.details.model_copy(update={"samples": size})
    benchmark = replace(task.benchmark, details=details)
    given = {"limit_samples": limit} if limit else {}
    task = replace(task, benchmark=benchmark, params=given)
    return replace(run, tasks=(task,), config=run.config.model_copy(update=config))


def lines(run: Run) -> list[str]:
    return [line for line, _ in tell([run], run.tasks)]


def test_an_earlier_result_is_scaled_by_samples(run: Run) -> None:
    run = of_size(run, 1_000, prices=Prices(prompt_tokens=1, completion_tokens=2, currency="EUR"))
    left(run, run.tasks[0], scored=100, limit=100)
    (line,) = lines(run)
    assert line.startswith(
        "forecast of quiz: about 1,000 requests, 630,000 tokens, 0.77 EUR, 15 min"
    )
    assert line.endswith(f"(from 100 samples in {EARLIER})")


def test_the_same_limit_needs_no_size(run: Run) -> None:
    run = of_size(run, None, limit=10)
    left(run, run.tasks[0], scored=10, limit=10)
    assert "about 100 requests, 63,000 tokens, 1.5 min" in lines(run)[0]


def test_what_nobody_knows_is_unknown(run: Run) -> None:
    assert "forecast of quiz, riddle: unknown" in lines(run)[0]
    run = of_size(run, None)
    left(run, run.tasks[0], scored=10, limit=10)
    assert "forecast of quiz: unknown" in lines(run)[0]


def test_a_result_that_was_rescored_tells_nothing(run: Run) -> None:
    run = of_size(run, None, limit=10)
    left(run, run.tasks[0], scored=10, limit=10, sources={"elsewhere": 10})
    assert "unknown" in lines(run)[0]


def test_another_benchmark_of_the_same_name_tells_nothing(run: Run) -> None:
    run = of_size(run, None, limit=10)
    other = replace(run.tasks[0].benchmark, harness="other")
    left(run, replace(run.tasks[0], benchmark=other), scored=10, limit=10)
    assert "unknown" in lines(run)[0]


def test_a_budget_below_the_forecast_is_told(run: Run) -> None:
    run = of_size(run, 1_000, budget=Budget(tokens="100k", requests=5_000))
    left(run, run.tasks[0], scored=100, limit=100)
    told = [line for line, is_warning in tell([run], run.tasks) if is_warning]
    (line,) = told
    assert line.startswith(
        "budget: tokens 100,000 is less than what the known benchmarks will need"
    )


def asked(record: Path, requests: int) -> None:
    record.mkdir(parents=True)
    sums = {"requests": requests, "answered": requests, "replayed": 0, "failed": 0, "tokens": {}}
    (record / "gateway.json").write_text(json.dumps({"endpoints": {"model": sums}}))


def test_what_was_asked_for_other_results_of_the_run_is_gone_from_its_budget(run: Run) -> None:
    run = of_size(run, 1_000, limit=99, budget=Budget(requests=120))
    left(run, run.tasks[0], scored=99, limit=99)
    assert not [line for line, is_warning in tell([run], run.tasks) if is_warning]
    asked(run.tasks[0].paths.record("0" * 12), 30)
    (line,) = [line for line, is_warning in tell([run], run.tasks) if is_warning]
    assert (
        "requests 120 is less than what the known benchmarks will need (about 100, beside 30"
        in (line)
    )


def test_a_budget_that_is_used_up_is_told_before_the_start(run: Run) -> None:
    """Also where nobody knows what the benchmark will need."""
    run = of_size(run, None, budget=Budget(requests=30))
    asked(run.tasks[0].paths.record("0" * 12), 30)
    (line,) = [line for line, is_warning in tell([run], run.tasks) if is_warning]
    assert line.startswith("budget: requests 30 is used up (about 30): nothing more is asked")


def test_what_was_answered_already_is_not_asked_again(run: Run) -> None:
    run = of_size(run, None, limit=10)
    left(run, run.tasks[0], scored=10, limit=10)
    asked(run.tasks[0].paths.record(run.tasks[0].digest), 50)
    assert "about 51 requests" in lines(run)[0]


@pytest.mark.parametrize(
    ("amount", "told"),
    [(0, "0"), (0.0384, "0.038"), (7, "7"), (12.3, "12"), (1_319, "1,300"), (1_250_000, "1.2M")],
)
def test_two_digits_are_meant(amount: float, told: str) -> None:
    assert about(amount) == told


def test_times_are_told_in_the_unit_that_fits() -> None:
    assert [duration(each) for each in (0.2, 40, 720, 12_600)] == ["1 s", "40 s", "12 min", "3.5 h"]
