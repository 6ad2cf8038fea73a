"""Auxiliary deployments: who uses which, what is filled in when, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.keeper import a_job
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.job.keeper.main import Keeper
from snakeval.job.keeper.prepared import write_files
from snakeval.plan.make import make_run
from snakeval.plan.run import Run
from snakeval.plan.server import servers_of
from snakeval.render.task import render

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
JUDGE = {"type": "generic", "image": "i", "command": "serve", "served_model_name": "org/judge"}
ASKED = {
    "judge": {
        "url": "auxiliary_deployments.judge.chat_url",
        "model_id": "auxiliary_deployments.judge.model_id",
    }
}
OWN = {
    "own": {"kind": "command", "command": "ask {url} {param.word}", "tasks": {"q": None}},
    "by_variable": {"kind": "command", "command": "ask $JUDGE_CHAT_URL", "tasks": {"q": None}},
}


def entry(name: str, **extra: Any) -> dict[str, Any]:
    return {"name": name, "nemo_evaluator_config": {"config": {"params": {"extra": extra}}}}


def plan(folder: Path, tasks: list[dict[str, Any]], **auxiliary: Any) -> Run:
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "auxiliary_deployments": {"judge": JUDGE, **auxiliary},
        "harnesses": OWN,
        "evaluation": {"tasks": tasks},
    }
    file = folder / "my.yaml"
    file.write_text(yaml.safe_dump(content))
    return make_run(load([file], {}), CATALOGUE)


def test_only_benchmarks_that_refer_to_a_server_need_it(tmp_path: Path) -> None:
    tasks = [entry("simple_evals.simpleqa", **ASKED), entry("own.q"), entry("by_variable.q")]
    first, second, third = plan(tmp_path, tasks).tasks
    assert (first.servers, second.servers, third.servers) == (("judge",), (), ("judge",))


def test_a_server_that_nobody_refers_to_is_there_for_all(tmp_path: Path) -> None:
    (task,) = plan(tmp_path, [entry("own.q")]).tasks
    assert task.servers == ("judge",)


def test_a_server_of_type_none_is_not_brought_up(tmp_path: Path) -> None:
    run = plan(tmp_path, [entry("own.q")], judge={"type": "none"})
    assert run.tasks[0].servers == () and run.servers == {}
    with pytest.raises(InputError, match="switched off"):
        plan(tmp_path, [entry("own.q", **ASKED)], judge="none")


def test_the_models_name_is_filled_in_and_the_address_is_left_for_the_job(tmp_path: Path) -> None:
    (task,) = plan(tmp_path, [entry("simple_evals.simpleqa", **ASKED)]).tasks
    assert task.params["extra"]["judge"] == {
        "url": "auxiliary_deployments.judge.chat_url",
        "model_id": "org/judge",
    }


def test_another_judge_is_another_spec_and_its_place_is_not(tmp_path: Path) -> None:
    def digest(**changed: Any) -> str:
        tasks = [entry("own.q", **ASKED)]
        return plan(tmp_path, tasks, judge={**JUDGE, **changed}).tasks[0].digest

    assert digest() == digest(port=9000, gpus=2, image="other")
    assert len({digest(), digest(served_model_name="x"), digest(command="other")}) == 3


def test_run_sh_fills_the_address_in_and_sets_the_variables(tmp_path: Path) -> None:
    (task,) = plan(tmp_path, [entry("own.q", word=ASKED["judge"]["url"])], judge=JUDGE).tasks
    job = a_job(tmp_path, render(task, "process", None))
    job.record.mkdir(parents=True)
    write_files(job)
    Keeper(job, []).use_auxiliary("judge", "http://10.0.0.7:4321")
    url = "http://10.0.0.7:4321/v1/chat/completions"
    assert (job.record / "command.sh").read_text().rstrip().endswith(f" {url}")
    own = job.variables.own
    assert (own["JUDGE_CHAT_URL"], own["JUDGE_MODEL_ID"]) == (url, "org/judge")


def test_a_servers_prefix_and_template_are_the_launchers(tmp_path: Path) -> None:
    given = {
        "type": "vllm",
        "hf_model_handle": "org/judge",
        "served_model_name": "j",
        "env_prefix": "GRADER",
        "command_template": "serve {hf_model_handle} as {served_model_name} at {port}",
    }
    run = plan(tmp_path, [entry("own.q")], judge=given)
    assert run.tasks[0].auxiliary[0].variable("chat") == "GRADER_CHAT_URL"
    assert servers_of(run.config)["judge"].command == "serve org/judge as j at {port}"


@pytest.mark.parametrize(
    ("auxiliary", "word", "told"),
    [
        ({}, "auxiliary_deployments.jugde.chat_url", "there is no auxiliary deployment 'jugde'"),
        ({}, "auxiliary_deployments.judge.chad_url", "did you mean 'chat_url'"),
        ({"slurm": JUDGE}, "", "the prefix SLURM is reserved"),
        ({"model": {**JUDGE, "env_prefix": "X"}}, "", "'model' is reserved"),
        ({"b": {**JUDGE, "env_prefix": "JUDGE"}}, "", "its variables would start with JUDGE"),
        ({"b": {"type": "vllm"}}, "", "b.served_model_name: is missing"),
        ({"b": {**JUDGE, "env_prefix": "a b"}}, "", "cannot begin the name of a variable"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, auxiliary: Any, word: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        plan(tmp_path, [entry("own.q", word=word)], **auxiliary)
    assert told in str(refused.value)
