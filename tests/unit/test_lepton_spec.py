"""A deployment of a config as a Lepton endpoint: the spec, its tokens, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.lepton import OWN_TOKEN
from snakeval.config.load import InvalidConfig, load
from snakeval.executors.lepton import server as lepton
from snakeval.plan.make import make_run
from snakeval.plan.run import Run
from snakeval.plan.server import MODEL
from snakeval.start import checks

CATALOGUE = Path(__file__).resolve().parents[2] / "config" / "catalogue"
LAUNCHER = Path(__file__).parent / "data" / "launcher"
MARK = lepton.lepton_spec.MARK


@pytest.fixture(autouse=True)
def workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEPTON_WORKSPACE_ID", "ws")
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "workspace-token")
    monkeypatch.setenv("LEPTON_WORKSPACE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv(OWN_TOKEN, raising=False)


def run_of(deployment: dict[str, Any], **sections: Any) -> Run:
    lepton_config = {"resource_shape": "gpu.1xh200", **deployment.pop("lepton_config", {})}
    content = {
        "defaults": [{"execution": "lepton/default"}, {"deployment": "none"}, "_self_"],
        "execution": {"output_dir": "out", **sections.pop("execution", {})},
        "deployment": {"served_model_name": "m", "lepton_config": lepton_config, **deployment},
        "evaluation": {"tasks": [{"name": "lm-evaluation-harness.ifeval"}]},
        **sections,
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([Path("my.yaml")], {}), CATALOGUE)


def content_of(run: Run) -> dict[str, Any]:
    server = run.servers[MODEL]
    return lepton.content_of(run, server, server.image)


def spec_of(deployment: dict[str, Any], **sections: Any) -> dict[str, Any]:
    spec: dict[str, Any] = content_of(run_of(deployment, **sections))["spec"]
    return spec


def told(run: Run) -> list[str]:
    """What a start is told; the SDK's own types are asked."""
    return [str(problem) for problem in lepton.Servers().check(run, run.servers[MODEL], "lepton")]


def envs(spec: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") or each.get("value_from") for each in spec["envs"]}


VLLM = {"type": "vllm", "hf_model_handle": "org/m", "tensor_parallel_size": 2}


def test_the_launchers_config_gives_the_launchers_endpoint() -> None:
    run = make_run(load([LAUNCHER / "lepton_nim.yaml"], {}), CATALOGUE)
    content = content_of(run)
    spec = content["spec"]
    assert told(run) == []
    assert content["prefix"].startswith("nim-llama-") and len(content["prefix"]) <= 31
    # a NIM starts itself
    assert spec["container"] == {
        "image": "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6",
        "ports": [{"container_port": 8000}],
    }
    assert spec["resource_requirement"] == {
        "resource_shape": "gpu.1xh200",
        "affinity": {"allowed_dedicated_node_groups": ["gpus"]},
        "min_replicas": 1,
        "max_replicas": 3,
    }
    assert spec["auto_scaler"] == {"scale_down": {"no_traffic_timeout": 3600}}
    assert spec["image_pull_secrets"] == ["ngc"]
    assert spec["queue_config"] == {"priority_class": "mid-4000"}
    found = envs(spec)
    assert found["NIM_MODEL_NAME"] == found["SERVED_MODEL_NAME"] == "meta/llama-3.1-8b-instruct"
    assert found["OMPI_ALLOW_RUN_AS_ROOT"] == "1"
    assert found[MARK].startswith(f"{run.paths.id}/model/")
    assert run.servers[MODEL].ready_timeout == 1200


def test_the_launchers_words_for_scaling_mounts_and_tokens() -> None:
    run = run_of(
        {
            **VLLM,
            "lepton_config": {
                "min_replicas": 0,
                "max_replicas": 2,
                "auto_scaler": {
                    "scale_down": {"no_traffic_timeout": 60, "scale_from_zero": False},
                    "target_gpu_utilization_percentage": 0,
                    "target_throughput": {"qpm": 2.5, "paths": [], "methods": []},
                },
                "mounts": {"enabled": True, "cache_path": "/me/m", "mount_path": "/opt/cache"},
                "api_tokens": [{"value_from": {"token_name_ref": "ENDPOINT_API_KEY"}}],
                "envs": {"HF_TOKEN": {"value_from": {"secret_name_ref": "HF"}}},
                "health": {"liveness": {"initial_delay_seconds": 5000}},
            },
        },
        execution={
            "lepton_platform": {
                "tasks": {
                    "mounts": [{"from": "node-nfs:fs1", "path": "/x", "mount_path": "/workspace"}],
                    "env_vars": {
                        "API_KEY": {"value_from": {"secret_name_ref": "ENDPOINT_API_KEY"}}
                    },
                }
            }
        },
    )
    spec = content_of(run)["spec"]
    assert told(run) == []
    assert spec["resource_requirement"]["min_replicas"] == 0
    assert spec["auto_scaler"] == {
        "scale_down": {"no_traffic_timeout": 60},
        "target_gpu_utilization_percentage": 0,
        "target_throughput": {"qpm": 2.5, "paths": [], "methods": []},
    }
    assert spec["mounts"] == [{"from": "node-nfs:fs1", "path": "/me/m", "mount_path": "/opt/cache"}]
    assert spec["api_tokens"] == [{"value_from": {"token_name_ref": "ENDPOINT_API_KEY"}}]
    assert envs(spec)["HF_TOKEN"] == {"secret_name_ref": "HF"}
    assert spec["health"] == {"liveness": {"initial_delay_seconds": 5000}}
    # the benchmarks have it in the variable that their jobs are given it in
    assert run.tasks[0].endpoint.api_key_name == "API_KEY"
    assert lepton.job_secrets(run) == {"API_KEY": "ENDPOINT_API_KEY"}
    assert content_of(run)["secrets"] == {}


@pytest.mark.parametrize(
    ("deployment", "words"),
    [
        (VLLM, "vllm serve org/m --tensor-parallel-size=2 .* --port 8000 "),
        ({"type": "vllm", "checkpoint_path": "org/m"}, "vllm serve org/m "),
        (
            {"type": "sglang", "hf_model_handle": "org/m", "port": 9000},
            "--model-path org/m --host 0.0.0.0 --port 9000",
        ),
        (
            {"type": "generic", "image": "i", "command": "run --port {port}", "pre_cmd": "prepare"},
            "^prepare\nrun --port 8000$",
        ),
    ],
)
def test_commands(deployment: dict[str, Any], words: str) -> None:
    import re

    command = spec_of(dict(deployment))["container"]["command"]
    assert command[:2] == ["sh", "-c"]
    assert re.search(words, command[-1])


def test_a_forgotten_endpoint_costs_nothing() -> None:
    assert spec_of(dict(VLLM))["auto_scaler"]["scale_down"]["no_traffic_timeout"] == 3600


def test_an_endpoint_has_a_token_of_its_own_and_no_file_has_it() -> None:
    run = run_of(dict(VLLM))
    content = content_of(run)
    (secret,) = content["secrets"]
    assert content["secrets"] == {secret: OWN_TOKEN}
    assert content["spec"]["api_tokens"] == [{"value_from": {"token_name_ref": secret}}]
    assert run.tasks[0].endpoint.api_key_name == OWN_TOKEN
    assert lepton.job_secrets(run) == {OWN_TOKEN: secret}
    # the same name as long as it is the same run
    assert content_of(run)["secrets"] == content["secrets"]


def test_a_token_in_a_variable_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of({**VLLM, "lepton_config": {"api_tokens": [{"value": "host:MY_TOKEN"}]}})
    assert run.tasks[0].endpoint.api_key_name == "MY_TOKEN"
    assert "the variable MY_TOKEN, the endpoint's token, is not set" in told(run)[0]
    monkeypatch.setenv("MY_TOKEN", "its-value")
    assert told(run) == []
    assert "its-value" not in str(content_of(run))
    # the launcher's placeholder is none
    placeholder = run_of(
        {**VLLM, "lepton_config": {"api_tokens": [{"value": "UNIQUE_ENDPOINT_TOKEN"}]}}
    )
    assert placeholder.tasks[0].endpoint.api_key_name == OWN_TOKEN


def test_a_token_of_the_workspace_must_be_here_only_for_benchmarks_that_run_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = {"value_from": {"token_name_ref": "ENDPOINT_API_KEY"}}
    run = run_of({**VLLM, "lepton_config": {"api_tokens": [token]}})
    monkeypatch.delenv("ENDPOINT_API_KEY", raising=False)
    (said,) = map(str, checks.variables(run.tasks))
    assert "the variable ENDPOINT_API_KEY is not set" in said
    assert not list(checks.variables(run.tasks, {run.tasks[0]: lepton.job_secrets(run)}))
    assert told(run) == []
    # one of its own is made
    assert not list(checks.variables(run_of(dict(VLLM)).tasks))


@pytest.mark.parametrize(
    "lepton_config",
    [
        {"api_tokens": [{"value": "aB3-this-is-the-token-itself"}]},
        {"api_token": "aB3-this-is-the-token-itself"},
        {"envs": {"HF_TOKEN": "hf_abcdefghijklmnopqrst"}},
        {"envs": {"KEY": "sk-proj-abcdefghijklmnopqrst"}},
    ],
)
def test_a_secret_in_the_config_is_refused_and_not_repeated(lepton_config: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig) as refused:
        run_of({**VLLM, "lepton_config": lepton_config})
    said = "\n".join(map(str, refused.value.problems))
    assert "never write" in said or "would be written down" in said
    assert "token-itself" not in said and "abcdefgh" not in said


@pytest.mark.parametrize(
    "tasks",
    [
        {"env_vars": {"HF_TOKEN": "hf_abcdefghijklmnopqrst"}},
        {"env_vars": {"KEY": {"value": "sk-proj-abcdefghijklmnopqrst"}}},
        {"env_vars": {"KEY": "host:nvapi-abcdefghijklmnopqrst"}},
        {"api_tokens": [{"value": "aB3-abcdefgh"}]},
    ],
)
def test_a_secret_among_the_jobs_words_is_refused_and_not_repeated(tasks: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig) as refused:
        run_of(dict(VLLM), execution={"lepton_platform": {"tasks": tasks}})
    said = "\n".join(map(str, refused.value.problems))
    assert "never write" in said or "would be written down" in said
    assert "abcdefgh" not in said


def test_a_reference_that_names_no_secret_is_refused() -> None:
    tasks = {"env_vars": {"HF_TOKEN": {"value_from": {"token_name_ref": "hf"}}}}
    with pytest.raises(InvalidConfig, match="HF_TOKEN is neither text nor a reference"):
        run_of(dict(VLLM), execution={"lepton_platform": {"tasks": tasks}})


def test_the_words_for_variables_mean_the_same_for_endpoints_as_for_jobs() -> None:
    run = run_of({**VLLM, "lepton_config": {"envs": {"A": "lit:x", "B": {"value": "y"}}}})
    assert told(run) == []
    found = envs(content_of(run)["spec"])
    assert (found["A"], found["B"]) == ("x", "y")
    (said,) = told(run_of({**VLLM, "lepton_config": {"envs": {"HF_TOKEN": "host:MY_HF"}}}))
    assert "lep secret create -n MY_HF" in said


def test_a_host_variable_needs_a_secret_and_its_name_is_told() -> None:
    (said,) = told(run_of({**VLLM, "env_vars": {"HF_TOKEN": "host:MY_HF", "A": "lit:x"}}))
    assert "deployment.env_vars.HF_TOKEN" in said
    assert "lep secret create -n MY_HF" in said and "secret_name_ref: MY_HF" in said


@pytest.mark.parametrize("mapped", ["HF_TOKEN", "MY_HF"])
def test_a_host_variable_with_a_secret_is_a_reference(mapped: str) -> None:
    run = run_of(
        {**VLLM, "env_vars": {"HF_TOKEN": "host:MY_HF", "A": "lit:x", "B": "runtime:C"}},
        execution={
            "lepton_platform": {
                "tasks": {"env_vars": {mapped: {"value_from": {"secret_name_ref": "hf-secret"}}}}
            }
        },
    )
    spec = content_of(run)["spec"]
    assert told(run) == []
    assert envs(spec)["HF_TOKEN"] == {"secret_name_ref": "hf-secret"}
    assert envs(spec)["A"] == "x"
    assert 'export B="${C}"' in spec["container"]["command"][-1]


@pytest.mark.parametrize(
    ("deployment", "sections", "words"),
    [
        (
            {"lepton_config": {"resource_shape": None}},
            {},
            "lepton_config.resource_shape: is missing",
        ),
        ({"lepton_config": {"min_replicas": 3, "max_replicas": 2}}, {}, "min_replicas must be"),
        ({"lepton_config": {"health": {"alive": {}}}}, {}, "Lepton does not know 'health.alive'"),
        (
            {"lepton_config": {"queue_config": {"prio": 1}}},
            {},
            "Lepton does not know 'queue_config.prio'",
        ),
        (
            {},
            {"execution": {"lepton_platform": {"deployment": {"platform_defaults": {"hlth": {}}}}}},
            "Lepton does not know 'hlth'",
        ),
        (
            {"checkpoint_path": "/data/m", "hf_model_handle": None},
            {},
            "/data/m is on no storage that the endpoint sees",
        ),
        (
            {},
            {"execution": {"mounts": {"deployment": {"/data": "/data"}}}},
            "folders of this machine cannot be mounted",
        ),
    ],
)
def test_what_lepton_would_refuse_is_told_before_anything_starts(
    deployment: dict[str, Any], sections: dict[str, Any], words: str
) -> None:
    (said,) = told(run_of({**VLLM, **deployment}, **sections))
    assert words in said


def test_a_folder_on_the_storage_is_served_from_there() -> None:
    run = run_of(
        {
            "type": "vllm",
            "checkpoint_path": "/models/m",
            "lepton_config": {
                "mounts": [{"from": "node-nfs:fs1", "path": "/weights", "mount_path": "/models"}]
            },
        }
    )
    assert told(run) == []
    assert "vllm serve /models/m " in content_of(run)["spec"]["container"]["command"][-1]


def test_without_credentials_it_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LEPTON_WORKSPACE_TOKEN")
    (said,) = told(run_of(dict(VLLM)))
    assert "there are no credentials for Lepton" in said and "lep login" in said


def test_unknown_fields_are_errors() -> None:
    with pytest.raises(InvalidConfig, match="unknown key 'min_replica'"):
        run_of({**VLLM, "lepton_config": {"min_replica": 1}})


@pytest.mark.parametrize(
    ("word", "begins"),
    [("My.Endpoint_2", "my-endpoint-2-"), ("70B", "m-70b-"), ("x" * 60, "x" * 22 + "-")],
)
def test_names_are_ones_that_lepton_takes(word: str, begins: str) -> None:
    prefix = content_of(run_of({**VLLM, "lepton_config": {"endpoint_name": word}}))["prefix"]
    assert prefix.startswith(begins)
    assert len(f"{prefix}-1234") <= 36


def test_words_without_a_field_are_told_where_they_would_mean_something() -> None:
    scale_down = {"scale_from_zero": True}
    defaults = {"enable_rdma": True}
    run = run_of(
        {**VLLM, "lepton_config": {"auto_scaler": {"scale_down": scale_down}}},
        execution={"lepton_platform": {"deployment": {"platform_defaults": defaults}}},
    )
    assert told(run) == []
    said = [str(warning) for warning in run.warnings]
    assert len(said) == 2 and all("Lepton's SDK has no field for it" in each for each in said)


def test_several_machines_and_a_process_are_no_endpoint() -> None:
    (said,) = told(run_of({**VLLM, "multiple_instances": True}))
    assert "multiple_instances: true" in said
    process = run_of({"type": "process", "command": "serve", "lepton_config": {}})
    assert not process.servers[MODEL].hosted_by  # it runs here, as without Lepton
    assert "use profiles/local" in told(process)[0]
