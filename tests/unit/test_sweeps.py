"""Sweeps: one config, several models, a run for each; and the GPUs that their servers share."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.waiting import PATIENCE, wait_until
from snakeval.errors import InputError
from snakeval.job.lease import host_id
from snakeval.plan.make import config_of_run, plan
from snakeval.plan.run import Run
from snakeval.start import gpus

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "checkpoints.yaml"
SERVED = {"type": "vllm", "tensor_parallel_size": 2}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def runs(models: Any, values: dict[str, Any] | None = None, **sections: Any) -> tuple[Run, ...]:
    content = {
        "execution": {"output_dir": "out"},
        "deployment": SERVED,
        "models": models,
        "evaluation": {"tasks": ["gsm8k_cot_instruct"]},
        **sections,
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    return plan([Path("my.yaml")], values or {}, CATALOGUE)


def checkpoint(name: str) -> dict[str, Any]:
    return {"deployment": {"checkpoint_path": f"/w/{name}", "served_model_name": name}}


def test_each_model_is_a_run_of_its_own_with_the_rest_of_the_config() -> None:
    first, second = runs([checkpoint("a"), checkpoint("b")])
    assert first.paths.dir != second.paths.dir
    assert [run.tasks[0].endpoint.model_id for run in (first, second)] == ["a", "b"]
    assert "--tensor-parallel-size=2" in second.servers["model"].command
    assert "models" not in first.raw  # the run folder's config is that of one model


def test_a_model_of_a_sweep_is_the_same_run_as_alone() -> None:
    first, _ = runs([checkpoint("a"), checkpoint("b")])
    (alone,) = runs([], deployment={**SERVED, **checkpoint("a")["deployment"]})
    assert first.paths.id[-8:] == alone.paths.id[-8:]
    assert first.tasks[0].digest == alone.tasks[0].digest


def test_weights_of_an_entry_take_the_place_of_those_of_the_rest() -> None:
    # One server has one model: with both names the hub's would be served under each checkpoint's.
    first, second = runs(
        [checkpoint("a"), {"deployment": {"hf_model_handle": "o/b"}}],
        deployment={**SERVED, "hf_model_handle": "o/m", "served_model_name": "m"},
    )
    assert first.servers["model"].command.startswith("vllm serve /checkpoint ")
    assert second.servers["model"].command.startswith("vllm serve o/b ")


def test_hosted_models_can_be_swept_too() -> None:
    hosted = [{"target": {"api_endpoint": {"model_id": name}}} for name in "ab"]
    url = {"api_endpoint": {"url": "http://h/v1/chat/completions"}}
    found = runs(hosted, deployment="none", target=url)
    assert [run.tasks[0].endpoint.model_id for run in found] == ["a", "b"]


def test_a_folder_of_checkpoints_is_a_model_for_each_in_order() -> None:
    for number in (10, 2):
        Path(f"steps/step-{number}").mkdir(parents=True)
        Path(f"steps/step-{number}/config.json").touch()
    Path("steps/step-11").mkdir()  # still being written
    found = runs([{"checkpoints": "steps/step-*/config.json"}])
    assert [run.tasks[0].endpoint.model_id for run in found] == ["step-2", "step-10"]


def test_the_example_is_a_run_for_each_checkpoint() -> None:
    for name in ("step-1000", "step-2000"):
        Path("checkpoints", name).mkdir(parents=True)
        Path("checkpoints", name, "config.json").touch()
    found = plan([EXAMPLE], {}, CATALOGUE)
    assert [run.tasks[0].endpoint.model_id for run in found] == ["step-1000", "step-2000"]


def test_what_is_sent_of_a_run_goes_where_the_config_sends_its_model() -> None:
    each = {"export": {"mlflow": {"experiment_name": "${deployment.served_model_name}"}}}
    _, second = runs([checkpoint("a"), checkpoint("b")], **each)
    config = config_of_run(second.paths, [Path("my.yaml")], {})
    assert config.export.mlflow.experiment_name == "b"


def test_the_command_line_has_the_last_word() -> None:
    found = runs([checkpoint("a"), checkpoint("b")], {"set": "[deployment.gpus=3]"})
    assert [run.servers["model"].gpus for run in found] == ["3", "3"]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([checkpoint("a"), checkpoint("a")], "models.1: is the same run as models.0"),
        ([{"checkpoints": "nowhere/*"}], "models.0.checkpoints: there is no folder nowhere/*"),
        ("a", "models: must be a list"),
        ([{"chekpoints": "x"}], "models.0.chekpoints: unknown key 'chekpoints'"),
        ([{"deployment": {"imag": "x"}}, checkpoint("b")], "deployment.imag: unknown key"),
        ([{"deployment": {"checkpoint_path": "/w"}}], "served_model_name: is missing"),
    ],
)
def test_mistakes_are_named(models: Any, told: str) -> None:
    with pytest.raises(InputError) as refused:
        runs(models)
    assert told in str(refused.value)


# --- GPUs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deployment", "share"),
    [
        ({"gpus": 3}, "3"),
        ({"gpus": "0,5"}, "0,5"),
        ({"gpus": "all"}, "8"),
        ({"gpus": "none"}, "0"),
        ({}, "2"),
        ({"type": "vllm", "data_parallel_size": 3}, "6"),
        ({"type": "nim", "image": "i"}, "8"),
    ],
)
def test_what_a_server_takes(deployment: dict[str, Any], share: str) -> None:
    given = {**SERVED, **checkpoint("a")["deployment"], **deployment}
    (run,) = runs([], deployment=given)
    assert gpus.shares(run, 8) == {"model": share}


def test_a_limit_below_what_a_server_needs_is_refused() -> None:
    (run,) = runs([checkpoint("a")])
    (problem,) = gpus.beyond(run, 1)
    assert "the server 'model' needs 2 GPUs, and the limit is 1" in str(problem)
    assert not list(gpus.beyond(run, 2))


@pytest.mark.parametrize(
    ("sections", "warned"),
    [
        ({}, True),
        ({"deployment": {**SERVED, "gpus": "none"}}, False),
        ({"deployment": {"type": "process", "command": "serve {port}"}}, False),
        ({"deployment": {"type": "process", "command": "serve {port}", "gpus": 1}}, True),
    ],
)
def test_models_that_nothing_keeps_apart_on_one_machine_are_told(
    sections: dict[str, Any], warned: bool
) -> None:
    assert bool(gpus.unlimited(runs([checkpoint("a"), checkpoint("b")], **sections))) is warned
    assert not gpus.unlimited(runs([checkpoint("a")], **sections))


def test_models_with_gpus_of_their_own_need_no_limit() -> None:
    models = [checkpoint(name) for name in "ab"]
    for model, own in zip(models, ("0,1", "2,3"), strict=True):
        model["deployment"]["gpus"] = own
    assert not gpus.unlimited(runs(models))


def test_servers_that_are_up_together_must_fit_together() -> None:
    judge = {"judge": {**SERVED, "checkpoint_path": "/w/j", "served_model_name": "j"}}
    (run,) = runs([checkpoint("a")], auxiliary_deployments=judge)
    (problem,) = gpus.beyond(run, 3)
    assert "'model' (2) and 'judge' (2) are up together and need 4 GPUs" in str(problem)
    assert not list(gpus.beyond(run, 4))


def test_no_gpu_is_given_twice_and_the_next_waits_for_the_first_to_end(tmp_path: Path) -> None:
    file, up = tmp_path / "claims", {"a", "b"}
    said: list[str] = []

    def claim(run: str, **asked: str) -> dict[str, list[int]]:
        return gpus.claim(file, run, asked, 4, lambda each: each in up, said.append)

    assert claim("a", model="1", judge="0,2") == {"judge": [0, 2], "model": [1]}
    assert claim("a", model="1", judge="0,2")["model"] == [1]  # the judge's job asks again
    assert claim("b", model="1") == {"model": [3]}
    forget_pids(file)
    found: list[dict[str, list[int]]] = []
    waiting = threading.Thread(target=lambda: found.append(claim("c", model="2")))
    waiting.start()
    wait_until(lambda: said)
    assert not found and "held by a, b" in said[0]
    up.remove("a")
    waiting.join(PATIENCE)
    assert found == [{"model": [0, 1]}]


def test_gpus_of_a_server_that_an_earlier_start_has_left_are_in_use(tmp_path: Path) -> None:
    # given two models, and a server of the first that is still up
    first, second = runs([checkpoint("a"), checkpoint("b")])
    server = first.paths.server("model")
    server.lease.mkdir(parents=True)
    (server.lease / "owner").write_text(f"host={host_id()}\npid={os.getpid()}\n")
    (server.lease / "beat").touch()
    server.status.write_text(json.dumps({"state": "up", "lives": [{"devices": "0,2"}]}))
    # when both are brought up
    file = tmp_path / "claims"
    gpus.found_up(file, (first, second))

    def claim(run: Run, **asked: str) -> dict[str, list[int]]:
        return gpus.claim(file, str(run.paths.dir), asked, 4, lambda _: True)

    # then it keeps what it has, whoever asks first
    assert claim(second, model="1") == {"model": [1]}
    assert claim(first, model="2", judge="1") == {"model": [0, 2], "judge": [3]}


def forget_pids(file: Path) -> None:
    """The jobs that claimed are over, and their servers are up."""
    file.write_text(file.read_text().replace(str(os.getpid()), "0"))
