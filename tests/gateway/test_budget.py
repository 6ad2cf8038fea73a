"""A budget is kept over tasks, attempts and machines, and a larger one continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_in_the_pipeline import SAMPLES, asking, through_the_gateway

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.job.gateway.budget import UNCOUNTED, Budget, Tail
from snakeval.job.gateway.ledger import LEDGER, Ledger
from snakeval.plan.make import make_run
from snakeval.render.task import gateway_options

LINE = {"time": 600.0, "seconds": 1.0, "endpoint": "model", "occurrence": 0, "outcome": "answered"}
TOKENS = {"tokens": {"prompt": 100, "completion": 50}}


def lines(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{**LINE, **TOKENS, "key": str(number), **more} for number in range(count)]


class Tasks:
    """Ledgers of two tasks of one run; the budget is that of the first one's gateway."""

    def __init__(self, run: Path) -> None:
        self.dirs = [run / name for name in ("quiz", "riddle")]
        self.records = [folder / "record" / "0123456789ab" for folder in self.dirs]
        self.ledgers = [Ledger(record) for record in self.records]

    def budget(self, **options: Any) -> Budget:
        budget = Budget(self.dirs[0], self.records[0], options)
        budget.look()
        return budget


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path)


def test_what_other_benchmarks_have_asked_counts_for_the_run(tasks: Tasks) -> None:
    for line in lines(6):
        tasks.ledgers[1].add(line)
    budget = tasks.budget(run={"requests": 10})
    assert budget.used_up() is None
    for line in lines(4):
        budget.add(line)
    assert budget.used_up() == (
        "the budget of the run is used up (10 of 10 requests); raise budget.requests and start "
        "again to continue"
    )
    assert tasks.budget(task={"requests": 10}).used_up() is None


def test_what_is_added_elsewhere_is_seen(tasks: Tasks) -> None:
    budget = tasks.budget(run={"tokens": 300})
    for line in lines(2):
        tasks.ledgers[1].add(line)
    budget.look()
    assert "(300 of 300 tokens)" in str(budget.used_up())


def test_money_is_that_of_each_endpoint_s_tokens_by_its_own_price(tasks: Tasks) -> None:
    prices = {"model": {"prompt_tokens": 1_000.0, "completion_tokens": 2_000.0}}
    budget = tasks.budget(run={"usd": 0.5}, prices=prices, currency="EUR")
    for line in [*lines(2), *lines(9, endpoint="a server of ours")]:
        budget.add(line)
    assert budget.used_up() is None  # 0.4
    budget.add(lines(1, key="more")[0])
    assert "(0.6 of 0.5 EUR)" in str(budget.used_up())
    prices["judge"] = {"prompt_tokens": 2_000.0}
    judged = tasks.budget(run={"usd": 0.5}, prices=prices, currency="EUR")
    for line in [*lines(2), *lines(1, endpoint="judge")]:
        judged.add(line)
    assert "(0.6 of 0.5 EUR)" in str(judged.used_up())


def test_hours_are_those_in_which_anything_was_asked(tasks: Tasks) -> None:
    budget = tasks.budget(run={"hours": 0.05})
    for began in (600.0, 601.0, 7200.0):
        budget.add({**LINE, "key": "a", "time": began})
    assert budget.used_up() is None
    tasks.ledgers[1].add({**LINE, "key": "a", "time": 9000.0})
    budget.look()
    assert "(0.05 of 0.05 hours)" in str(budget.used_up())


def test_what_is_in_flight_counts_as_if_it_were_over(tasks: Tasks) -> None:
    budget = tasks.budget(run={"requests": 10, "tokens": 1_350})
    for line in lines(6):
        budget.add(line)
    budget.in_flight = 2
    assert budget.used_up() is None
    budget.in_flight = 3
    assert "tokens" in str(budget.used_up())


@pytest.mark.parametrize("more", [{"outcome": "replayed"}, {"unsent": True, "outcome": "gone"}])
def test_what_was_not_sent_costs_nothing(tasks: Tasks, more: dict[str, Any]) -> None:
    budget = tasks.budget(run={"requests": 1})
    budget.add(lines(1, **more)[0])
    assert budget.used_up() is None


def test_a_budget_in_tokens_that_nobody_counts_ends_the_benchmark(tasks: Tasks) -> None:
    budget = tasks.budget(run={"tokens": 1_000_000})
    for line in lines(UNCOUNTED, tokens={}):
        budget.add(line)
    assert "does not tell tokens" in str(budget.used_up())


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / LEDGER
    tail = Tail(path)
    path.write_bytes(b'{"n": 1}\n{"n"')
    assert list(tail.new()) == [{"n": 1}]
    with path.open("ab") as file:
        file.write(b": 2}\n")
    assert list(tail.new()) == [{"n": 2}] and list(tail.new()) == []


CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


JUDGED = {
    "nemo_evaluator_config": {
        "config": {"params": {"extra": {"judge": {"url": "http://judge/v1", "model_id": "j"}}}}
    }
}


def written(folder: Path, **more: Any) -> Path:
    endpoint = {"url": "http://h/v1/chat/completions", "model_id": "m"}
    content = {
        "target": {"api_endpoint": endpoint},
        "evaluation": {"tasks": [{"name": "lm_eval.gsm8k", **more.pop("task", {})}]},
        **more,
    }
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_gateway_is_told_of_budgets_and_prices_and_needs_no_other_word(tmp_path: Path) -> None:
    prices = {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "endpoints": {"judge": {"prompt_tokens": 3}},
    }
    file = written(tmp_path, budget={"usd": 20, "tokens": "5M"}, prices=prices,
                   task={"budget": {"requests": "2k"}, **JUDGED})  # fmt: skip
    task = make_run(load([file], {}), CATALOGUE).tasks[0]
    assert task.gateway and gateway_options(task)["budget"] == {
        "run": {"usd": 20, "tokens": 5_000_000},
        "task": {"requests": 2000},
        "prices": {
            "model": {"prompt_tokens": 1, "completion_tokens": 2},
            "judge": {"prompt_tokens": 3},
        },
        "currency": "USD",
    }
    without = make_run(load([written(tmp_path, task=dict(JUDGED))], {}), CATALOGUE).tasks[0]
    assert without.digest == task.digest and "budget" not in gateway_options(without)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"budget": {"usd": 20}}, "budget.usd: tokens have no price"),
        ({"task": {"budget": {"usd": 2}}}, "evaluation.tasks.0.budget.usd: tokens have no price"),
        ({"budget": {"tokens": "many"}}, "'many' is not a number"),
        ({"budget": {"tokens": True}}, "budget.tokens: must be a number"),
        ({"budget": {"usd": "lots"}}, "budget.usd: must be a number"),
        (
            {"budget": {"requests": 5}, "execution": {"gateway": False}},
            "the gateway keeps it, and execution.gateway is false",
        ),
        (
            {"budget": {"requests": 5}, "gateway": "false"},  # as --config gives it
            "budget: the gateway keeps it, and gateway is false",
        ),
    ],
)
def test_a_budget_that_nobody_could_keep_is_refused(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told.replace(".", r"\.")):
        load([written(tmp_path, **more)], {})


def test_a_cap_that_nobody_keeps_is_told(tmp_path: Path) -> None:
    def told(**more: Any) -> str:
        execution = {"max_in_flight": 4}
        written_one = written(tmp_path, task=dict(JUDGED), execution=execution, **more)
        return " ".join(map(str, make_run(load([written_one], {}), CATALOGUE).warnings))

    assert "max_in_flight: is not kept" not in told()
    assert "execution.max_in_flight: is not kept: the gateway would" in told(gateway=False)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"budget": {"usd": 20}, "prices": {"prompt_tokens": 1}},
            "budget.usd: the tokens of 'judge', which 'gsm8k' asks, have no price",
        ),
        (
            {"prices": {"endpoints": {"jugde": {"prompt_tokens": 1}}}},
            "prices.endpoints.jugde: no benchmark asks an endpoint of this name",
        ),
    ],
)
def test_prices_and_endpoints_go_together(tmp_path: Path, more: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told.replace(".", r"\.")):
        make_run(load([written(tmp_path, task=dict(JUDGED), **more)], {}), CATALOGUE)


def test_a_benchmark_stops_at_its_budget_and_continues_with_a_larger_one(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    project = Project(tmp_path, endpoint.chat_url)
    blind = {"name": "own.blind"}
    through_the_gateway(project, blind, harnesses=asking(SAMPLES), budget={"requests": 8})
    stopped = project.snakemake("--retries", "1").refused()
    assert "the budget of the run is used up (8 of 8 requests)" in stopped.output
    assert endpoint.requests.total() == 8
    attempts = project.status("blind")["attempts"]
    assert [each["state"] for each in attempts] == ["cancelled"], "no try is wasted on it"
    through_the_gateway(project, blind, harnesses=asking(SAMPLES), budget={"requests": 100})
    project.snakemake().check()
    assert endpoint.requests.total() == SAMPLES
    (row,) = project.rows()
    assert (row["requests"], row["replayed"]) == (SAMPLES, 8)
    assert json.loads((project.run_folder / "run.json").read_text())["tasks"] == ["blind"]
