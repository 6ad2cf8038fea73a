"""Costs: tokens by their price, servers by the hour, and nothing where it is not known."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from snakeval.config.prices import Prices
from snakeval.plan.run import Run
from snakeval.results.costs import Costs, costs

TOKENS = {
    "quiz": {"prompt_tokens": 2_000_000.0, "completion_tokens": 500_000.0},
    "riddle": {"prompt_tokens": 1_000_000.0},
}
SECONDS = {"quiz": 900.0, "riddle": 300.0}


def found(run: Run, seconds: Mapping[str, float | None] = SECONDS, **prices: Any) -> Costs:
    object.__setattr__(run, "config", run.config.model_copy(update={"prices": Prices(**prices)}))
    told = costs(run, TOKENS, seconds)
    assert told is not None
    return told


def a_server_of_half_an_hour(run: Run) -> None:
    life = {"loads": 1, "seconds_to_healthy": [300.0], "seconds_in_use": 1200.0}
    status = run.paths.dir / "deployments" / "vllm" / "status.json"
    status.parent.mkdir(parents=True)
    status.write_text(json.dumps({"lives": [{**life, "seconds_idle": 300.0}]}))


def test_without_prices_there_are_no_costs(run: Run) -> None:
    assert costs(run, TOKENS, SECONDS) is None


def test_tokens_cost_their_price_and_unknown_ones_are_no_free_ones(run: Run) -> None:
    told = found(run, prompt_tokens=0.5, completion_tokens=2)

    assert told.tasks == {"quiz": 2.0, "riddle": None}
    assert str(told) == "cost: 2.00 USD, without riddle (not known)"
    assert found(run, prompt_tokens=0.5).tasks == {"quiz": 1.0, "riddle": 0.5}


def test_server_is_divided_among_the_benchmarks_by_their_time(run: Run) -> None:
    a_server_of_half_an_hour(run)

    told = found(run, server_hour=8, currency="EUR")

    assert told.tasks == {"quiz": pytest.approx(3.0), "riddle": pytest.approx(1.0)}
    assert str(told) == "cost: 4.00 EUR"
    both = found(run, server_hour=8, prompt_tokens=0.5)
    assert both.tasks == {"quiz": pytest.approx(4.0), "riddle": pytest.approx(1.5)}


def test_benchmark_of_unknown_time_has_no_share_of_a_server(run: Run) -> None:
    a_server_of_half_an_hour(run)

    told = found(run, {"quiz": 900.0, "riddle": None}, server_hour=8)

    assert told.tasks == {"quiz": pytest.approx(4.0), "riddle": None}


def asked_a_judge(run: Run, **account: Any) -> None:
    """Of the benchmark quiz, as its check has kept it."""
    for task in run.tasks:
        check = task.paths.check(task.digest)
        check.parent.mkdir(parents=True, exist_ok=True)
        counted = {"answered": 5, "uncounted": 0, **account}
        accounts = {"judge": counted} if task.name == "quiz" else {}
        check.write_text(json.dumps({"gateway": {"model": {}, **accounts}}))


def test_a_judge_s_tokens_cost_their_own_price(run: Run) -> None:
    asked_a_judge(run, tokens={"prompt": 1_000_000, "completion": 100_000})

    told = found(run, prompt_tokens=0.5, endpoints={"judge": {"prompt_tokens": 3}})

    assert told.tasks == {"quiz": 4.0, "riddle": 0.5}


def test_a_judge_without_a_price_or_with_unknown_tokens_has_no_known_cost(run: Run) -> None:
    asked_a_judge(run, tokens={"prompt": 1_000_000})
    assert found(run, prompt_tokens=0.5).tasks == {"quiz": None, "riddle": 0.5}
    assert found(run, server_hour=0.0).tasks == {"quiz": 0.0, "riddle": 0.0}

    asked_a_judge(run, tokens={}, uncounted=1)
    told = found(run, prompt_tokens=0.5, endpoints={"judge": {"prompt_tokens": 3}})
    assert told.tasks == {"quiz": None, "riddle": 0.5}
