"""Endpoints beside the model's, which a benchmark's parameters name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import load
from snakeval.harness import recipe_for
from snakeval.plan.beside import beside, with_references, without_keys
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.render.task import hidden_keys, render

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
URL = "https://judge.example/v1/chat/completions"


def test_a_mapping_with_an_address_and_what_is_asked_there_is_an_endpoint() -> None:
    params = {
        "extra": {
            "judge": {"url": URL, "model_id": "j", "api_key": "JUDGE_KEY"},
            "user": {"base_url": "http://u/v1"},
            "second": {"judge": {"url": "http://other/v1", "model": "k"}},
        }
    }
    first, user, second = beside(params, ("USER_API_KEY",))
    assert (first.name, first.url, first.key) == ("judge", URL, "JUDGE_KEY")
    assert (user.name, user.at, user.key) == ("user", ("extra", "user", "base_url"), "USER_API_KEY")
    assert second.name == "extra.second.judge"


@pytest.mark.parametrize(
    "extra",
    [
        {"dataset": {"url": "https://host/data.jsonl"}},
        {"judge": {"url": "auxiliary_deployments.judge.chat_url", "model_id": "j"}},
        {"judge": {"model_id": "j"}},
        {"url": URL},
    ],
)
def test_what_is_asked_nothing_is_none(extra: dict[str, Any]) -> None:
    assert beside({"extra": extra}) == ()


def test_references_and_keys_are_changed_where_they_stand_and_nowhere_else() -> None:
    params = {"extra": {"judge": {"url": URL, "api_key": "K"}, "said": URL}, "task": "t"}
    found = beside(params)
    changed = with_references(params, found)
    assert changed["extra"]["judge"] == {"url": "snakeval_endpoints.judge.url", "api_key": "K"}
    assert changed["extra"]["said"] == URL and params["extra"]["judge"]["url"] == URL
    assert without_keys(params, found)["extra"]["judge"]["api_key"] is None


def planned(folder: Path, judge: dict[str, Any], gateway: bool = True, **more: Any) -> Task:
    endpoint = {"url": "http://h/v1/chat/completions", "model_id": "m", "api_key_name": "MY_KEY"}
    content = {
        "execution": {"output_dir": str(folder)},
        "gateway": gateway,
        "target": {"api_endpoint": endpoint},
        "evaluation": {
            "tasks": ["AA-LCR.aa_lcr"],
            "nemo_evaluator_config": {"config": {"params": {"extra": {"judge": judge}}}},
        },
        **more,
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks[0]


@pytest.mark.parametrize(
    ("judge", "more", "hidden"),
    [
        ({}, {}, {"model": ["MY_KEY"], "judge": ["JUDGE_API_KEY"]}),
        ({"api_key": "MY_KEY"}, {}, {"model": ["MY_KEY"], "judge": ["MY_KEY"]}),
        (
            {"api_key": "OTHER"},
            {"env_vars": {"OTHER": "host:MY_KEY"}},
            {"model": ["MY_KEY"], "judge": ["OTHER"]},
        ),
        (
            {"api_key": "OTHER"},
            {"env_vars": {"MORE": "host:OTHER"}},
            {"model": ["MY_KEY"], "judge": []},
        ),
    ],
)
def test_keys_of_judges_stay_outside_where_they_open_nothing_else(
    judge: dict[str, str], more: dict[str, Any], hidden: dict[str, list[str]], tmp_path: Path
) -> None:
    task = planned(tmp_path, {"url": URL, "model_id": "j", **judge}, **more)
    assert hidden_keys(task, recipe_for(task)) == hidden


def test_the_script_has_a_reference_behind_the_gateway_and_the_address_without(
    tmp_path: Path,
) -> None:
    judge = {"url": URL, "model_id": "j"}
    behind, direct = planned(tmp_path, judge), planned(tmp_path, judge, gateway=False)
    script = render(behind, "docker", "image")
    assert "url: snakeval_endpoints.judge.url" in script and f'"url": "{URL}"' in script
    script = render(direct, "docker", "image")
    assert f"url: {URL}" in script and "snakeval_endpoints" not in script
    assert behind.digest == direct.digest
