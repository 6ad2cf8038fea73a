"""The config's Lepton section as resources of a benchmark's job."""

import json
from pathlib import Path
from typing import Any

import pytest

from snakeval.executors.lepton.checks import told
from snakeval.executors.lepton.resources import resources_of, source_of
from snakeval.plan.make import plan

ROOT = Path(__file__).parents[2]
LAUNCHER = Path(__file__).parent / "data" / "launcher"


def planned(file: Path) -> tuple[Any, Any]:
    run = plan([file], {}, ROOT / "config" / "catalogue")
    first = run[0] if isinstance(run, tuple) else run
    return first, first.tasks[0]


def test_the_launchers_config_becomes_a_jobs_resources() -> None:
    run, task = planned(LAUNCHER / "lepton_nim.yaml")
    found = resources_of(run, task)
    assert found["lepton_resource_shape"] == "cpu.medium"
    assert found["lepton_node_group"] == "cpus"
    assert found["runtime"] == 120
    assert found["lepton_image_pull_secrets"] == "ngc"
    assert found["lepton_image"] == task.image
    assert json.loads(str(found["lepton_mounts"])) == [
        {"from": "node-nfs:fs1", "path": "/shared", "mount_path": "/workspace"}
    ]
    variables = json.loads(str(found["lepton_env"]))
    assert variables["HF_TOKEN"] == "secret:HUGGING_FACE_HUB_TOKEN_read"
    assert variables["NGC_API_KEY"] == "secret:NGC_API_KEY"


def test_the_endpoints_key_is_a_secret_of_the_workspace() -> None:
    run, task = planned(LAUNCHER / "lepton_none.yaml")
    found = resources_of(run, task)
    assert json.loads(str(found["lepton_env"])) == {"MODEL_KEY": "secret:MODEL_KEY"}
    assert "lepton_mounts" not in found  # the profile's


def test_what_the_config_does_not_say_is_the_profiles(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(
        "execution: {type: lepton, output_dir: out}\n"
        "target: {api_endpoint: {url: http://m/v1/chat/completions, model_id: m}}\n"
        "evaluation: {tasks: [{name: lm-evaluation-harness.ifeval}]}\n"
    )
    found = resources_of(*planned(config))
    assert not found.keys() & {"lepton_resource_shape", "runtime", "lepton_mounts"}


def test_a_config_for_another_place_asks_lepton_for_its_image_alone() -> None:
    run, task = planned(LAUNCHER / "local_minimal.yaml")
    assert resources_of(run, task).keys() <= {"lepton_image", "lepton_env"}


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"value_from": {"secret_name_ref": "hf"}}, "secret:hf"),
        ({"value": "text"}, "lit:text"),
        ("host:HF_TOKEN", "secret:HF_TOKEN"),
        ("lit:text", "lit:text"),
        ("secret:hf", "secret:hf"),
        (5, "lit:5"),
    ],
)
def test_a_variable_of_the_section_is_a_secret_or_text(given: Any, source: str) -> None:
    assert source_of(given) == source


def test_what_the_workspace_lacks_is_told_with_its_place_in_the_config(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(
        "execution: {type: lepton, lepton_platform: {tasks: {node_group: my-cpus}}}\n"
        "target: {api_endpoint: {url: http://m/v1/chat/completions, model_id: m, "
        "api_key_name: MODEL_KEY}}\n"
        "evaluation: {tasks: [{name: lm-evaluation-harness.ifeval}]}\n"
    )
    run, _ = planned(config)
    group = told("there is no node group 'my-cpus' in this workspace", [run])
    key = told("the workspace has no secret 'MODEL_KEY' for the variable MODEL_KEY", [run])
    other = told("the workspace has no secret 'ELSE' for the variable ELSE", [run])
    assert group.where.endswith("my.yaml: execution.lepton_platform.tasks.node_group")
    assert key.where.endswith("my.yaml: target.api_endpoint.api_key_name")
    assert other.where == "lepton"
