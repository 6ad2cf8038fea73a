"""The commands of the launcher's types of servers, as text: none of them can be run here."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from snakeval.config.model import Config
from snakeval.plan.server import MODEL, Server, servers_of
from snakeval.plan.server_forms import FORMS, untold
from snakeval.render.server import render


def server(**deployment: Any) -> Server:
    config = Config.model_validate(
        {
            "deployment": {"served_model_name": "m/x", **deployment},
            "evaluation": {"tasks": ["t"]},
        }
    )
    return servers_of(config)[MODEL]


@pytest.mark.parametrize(
    ("deployment", "command"),
    [
        (
            {"type": "vllm", "hf_model_handle": "org/m", "extra_args": "--max-model-len 4096"},
            (
                "vllm serve org/m --tensor-parallel-size=8 --pipeline-parallel-size=1 "
                "--data-parallel-size=1 --port {port} --served-model-name m/x "
                "--gpu-memory-utilization 0.95 --max-model-len 4096"
            ),
        ),
        (
            {"type": "sglang", "checkpoint_path": "/weights", "tensor_parallel_size": 2},
            (
                "python3 -m sglang.launch_server --model-path /checkpoint --host {host} "
                "--port {port} --served-model-name m/x --tp-size 2 --dp-size 1 --pp-size 1"
            ),
        ),
        (
            {"type": "trtllm", "checkpoint_path": "/weights"},
            (
                "mpirun --allow-run-as-root --oversubscribe -n 1 trtllm-serve serve /checkpoint "
                "--tp_size=8 --pp_size=1 --host {host} --port {port} --backend pytorch"
            ),
        ),
        (
            {"type": "nim", "image": "nvcr.io/nim/x:1"},
            "/opt/nvidia/nvidia_entrypoint.sh /opt/nim/start_server.sh",
        ),
        ({"type": "generic", "image": "i", "command": "serve --p 1"}, "serve --p 1"),
        (
            {"type": "generic", "image": "i", "command": "export A=1\nserve \\\n  --p 1\n"},
            "export A=1\nserve \\\n  --p 1",
        ),
    ],
    ids=["vllm", "sglang", "trtllm", "nim", "generic", "generic of several lines"],
)
def test_each_type_has_the_launchers_command(deployment: dict[str, Any], command: str) -> None:
    assert server(**deployment).command == command


@pytest.mark.parametrize(
    ("image", "command", "port"),
    [
        ("nvcr.io/nim/x:1.8.6", "/opt/nvidia/nvidia_entrypoint.sh", "NIM_HTTP_API_PORT"),
        ("nvcr.io/nim/x:latest", "/opt/nvidia/nvidia_entrypoint.sh", "NIM_HTTP_API_PORT"),
        ("nvcr.io/nim/x:0.0rc1", "/opt/nvidia/nvidia_entrypoint.sh", "NIM_HTTP_API_PORT"),
        ("nvcr.io/nim/x:2.0.3", "nim-serve", "NIM_SERVER_PORT"),
        ("h.example:5000/x:2.1.6-pb7@sha256:1", "nim-serve", "NIM_SERVER_PORT"),
    ],
)
def test_nim_is_started_as_its_images_version_wants(image: str, command: str, port: str) -> None:
    found = server(type="nim", image=image, port=9000)

    assert found.command.split()[0] == command
    assert found.environment == {"NIM_SERVED_MODEL_NAME": "m/x", port: "9000"}


@pytest.mark.parametrize(
    ("image", "named"),
    [("t:1.0.0", False), ("t:1.3.0", True), ("t:1.3.0rc2", False), ("t:2.0", True), ("t", False)],
)
def test_trtllm_is_told_the_name_where_its_version_knows_it(image: str, named: bool) -> None:
    found = server(type="trtllm", image=image, checkpoint_path="/weights", extra_args="--x 1")

    assert ("--served-model-name m/x --x 1" in found.command) is named
    assert found.check_model is named


def test_trtllm_is_told_the_name_once() -> None:
    own = "--served_model_name other"
    found = server(type="trtllm", image="t:1.3.0", checkpoint_path="/w", extra_args=own)

    assert found.command.endswith(f"--backend pytorch {own}")


def test_a_tag_without_a_version_is_told_where_versions_differ() -> None:
    assert "as versions before 2.0 are" in untold("nim", "nvcr.io/nim/x:latest")
    assert untold("nim", "nvcr.io/nim/x:2.0.3") == ""
    assert untold("vllm", "vllm/vllm-openai:latest") == ""
    assert untold("generic", "any") == ""


def test_the_page_has_the_source_of_each_form() -> None:
    page = (Path(__file__).parents[2] / "docs" / "launcher.md").read_text(encoding="utf-8")

    sources = [form.source for forms in FORMS.values() for form in forms]

    assert [source for source in sources if source not in page] == []


def test_a_script_has_mounts_variables_and_what_comes_before_the_command() -> None:
    script = render(
        server(
            type="vllm",
            checkpoint_path="/weights",
            cache_path="/cache-here",
            pre_cmd="pip install x",
            env_vars={"A": "lit:1", "TOKEN": "host:MY_TOKEN"},
            gpus="0,1",
        ),
        "docker",
        "vllm@sha256:1",
    )
    assert "-v /weights:/checkpoint:ro -v /cache-here:/cache --shm-size=100g" in script
    assert "gpus=0,1" in script
    assert "cat <<'END'\npip install x\nvllm serve /checkpoint" in script
    assert "--port $SNAKEVAL_PORT" in script
    held = dict(re.findall(r"^pass (\w+) (\w+)$", script, re.MULTILINE))
    assert f"export {held['A']}=1\n" in script
    assert f'export {held["TOKEN"]}="${{MY_TOKEN}}"' in script
    assert f"export {held['HF_HOME']}=/cache\n" in script
    assert "image=vllm@sha256:1" in script


@pytest.mark.parametrize(
    ("runtime", "gpus", "variables", "words"),
    [
        ("docker", "all", {}, "--gpus all"),
        ("docker", 2, {}, "--gpus 2"),
        ("docker", "0,1", {}, '--gpus "device=0,1"'),
        ("docker", 0, {}, ""),
        ("docker", "none", {}, ""),
        ("docker", 1, {"SNAKEVAL_DEVICES": "3"}, '--gpus "device=3"'),  # a sweep's share
        ("docker", 2, {"SLURM_JOB_GPUS": "4,5"}, '--gpus "device=4,5"'),  # the job's own
        ("podman", "all", {}, "--device nvidia.com/gpu=all"),
        ("podman", 2, {}, "--device nvidia.com/gpu=0 --device nvidia.com/gpu=1"),
        ("podman", "1,3", {}, "--device nvidia.com/gpu=1 --device nvidia.com/gpu=3"),
        ("podman", 1, {"SLURM_JOB_GPUS": "6"}, "--device nvidia.com/gpu=6"),
    ],
)
def test_a_container_gets_the_gpus_that_the_config_names(
    runtime: str, gpus: int | str, variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    script = render(server(type="vllm", hf_model_handle="o/m", gpus=gpus), runtime, "vllm")
    head = script[: script.index('cd "$start_folder"')]
    file = tmp_path / "run" / "deployments" / "model" / "server.sh"
    file.parent.mkdir(parents=True)
    file.write_text(f'{head}\noptions=()\nadd_gpus\necho "${{options[@]}}"\n')
    clean = {name: value for name, value in os.environ.items() if not name.startswith("S")}
    ended = subprocess.run(
        ["bash", str(file)], env={**clean, **variables}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == words


def test_a_process_sees_the_hosts_folders_and_a_free_port_unless_one_is_fixed() -> None:
    given = server(type="process", command="serve /checkpoint", checkpoint_path="/weights")
    assert given.port is None
    assert "serve /weights" in render(given, "process", None)
    near = "/opt/checkpoints/serve --model=/checkpoint/a.gguf --log ./checkpoint /checkpoint-2"
    given = server(type="process", command=near, checkpoint_path="/weights")
    expected = "/opt/checkpoints/serve --model=/weights/a.gguf --log ./checkpoint /checkpoint-2"
    assert f"\n{expected}\n" in render(given, "process", None)
    assert server(type="process", command="serve", port=8001).port == 8001


def test_nim_is_told_its_name_and_port_by_variables() -> None:
    nim = server(type="nim", image="i", port=9000)
    assert nim.environment == {"NIM_SERVED_MODEL_NAME": "m/x", "NIM_HTTP_API_PORT": "9000"}


@pytest.mark.parametrize(
    ("deployment", "path"),
    [
        ({"type": "vllm"}, "/health"),
        ({"type": "nim"}, "/v1/health/ready"),
        ({"type": "nim", "endpoints": {"chat": "/chat"}}, "/v1/health/ready"),
        ({"type": "nim", "endpoints": {"health": "/ok"}}, "/ok"),
        ({"type": "generic", "endpoints": {"health": None}}, "/v1/models"),
    ],
)
def test_health_is_asked_where_the_type_of_server_answers(
    deployment: dict[str, Any], path: str
) -> None:
    assert server(**deployment).health == path


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"deployment": {"type": "vllm_ray"}}, "type: vllm_ray"),
        ({"deployment": {"type": "vllm", "multiple_instances": True}}, "multiple_instances: true"),
        ({"execution": {"type": "slurm", "account": "a", "num_nodes": 2}}, "num_nodes: 2"),
        ({"execution": {"type": "slurm", "account": "a", "num_instances": 2}}, "num_instances: 2"),
    ],
)
def test_several_nodes_or_instances_are_known_as_such(sections: dict[str, Any], told: str) -> None:
    deployment = {"type": "vllm", "served_model_name": "m", **sections.pop("deployment", {})}
    given = {"deployment": deployment, "evaluation": {"tasks": ["t"]}, **sections}
    assert servers_of(Config.model_validate(given))[MODEL].several == told
