"""Whatever is wrong is told in these very words, all of it at once, and nothing is created.

The table of broken configs is `data/broken_configs.yaml`. What is wrong with the machine or the
endpoint follows below. `tests/workflow/test_errors.py` shows that Snakemake hands it on.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from rig.endpoint import ScriptedEndpoint
from snakeval.errors import InputError
from snakeval.executors.profile import Profile
from snakeval.executors.registry import executor
from snakeval.plan.make import plan
from snakeval.start import checks
from snakeval.start.this_start import ThisStart

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
TABLE = Path(__file__).parent / "data" / "broken_configs.yaml"
CASES: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text())


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_broken_config_is_told_in_these_words(case: dict[str, Any], tmp_path: Path) -> None:
    Path("my.yaml").write_text(case["file"])

    with pytest.raises(InputError) as error:
        (run,) = plan([Path("my.yaml")], case.get("values", {}), CATALOGUE)
        raise InputError(checks.recipes(run.tasks))

    assert str(error.value) == case["told"]
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_table_has_each_case_once_and_every_message_a_fix() -> None:
    names = [case["name"] for case in CASES]
    assert len(names) == len(set(names)) > 100
    plain = ("must be greater", "must be at", "must be a number", "must be a whole", "must be text",
             "must be less", "keys must be text")  # fmt: skip
    for case in CASES:
        problems = case["told"].split("\n  my.yaml")[1:]
        for problem in problems:
            assert "\n    -> " in problem or any(words in problem for words in plain), problem


# --- the machine and the endpoint: looked at before the first job --------------------------------


def found(
    endpoint: ScriptedEndpoint | None = None, runtime: str = "process", **sections: Any
) -> list[str]:
    """What a real start of one benchmark would be told."""
    url = endpoint.chat_url if endpoint else "http://127.0.0.1:9/v1/chat/completions"
    task = {"name": "own.quiz", **sections.pop("task", {})}
    content = {
        "target": {"api_endpoint": {"url": url, "model_id": "m", **sections.pop("api", {})}},
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "harnesses": {"own": {"kind": "command", "command": "ask", "tasks": {"quiz": None}}},
        "evaluation": {"tasks": [task]},
        **sections,
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    (run,) = plan([Path("my.yaml")], {}, CATALOGUE)
    asked = dict.fromkeys(run.tasks, runtime)
    start = ThisStart("start", (run,), asked, executor("local"), Profile(), logging.getLogger())
    told = checks.against(start)
    assert sorted(path.name for path in Path().iterdir() if path.name != "unreadable") == [
        "my.yaml"
    ]
    return [str(problem) for problem in told]


@pytest.fixture
def served(endpoint: ScriptedEndpoint) -> ScriptedEndpoint:
    endpoint.models = ["m"]
    return endpoint


def test_fine_is_silent(served: ScriptedEndpoint) -> None:
    assert found(served) == []


def test_unset_variables(served: ScriptedEndpoint) -> None:
    told = found(
        served,
        api={"api_key_name": "NO_KEY"},
        env_vars={"A": "host:NO_A"},
        task={"env_vars": {"HF_TOKEN": "NO_TOKEN", "B": "lit:x", "C": "runtime:LATER"}},
    )

    assert told[:3] == [
        (
            "my.yaml: target.api_endpoint.api_key_name: the variable NO_KEY is not set\n"
            "    -> export NO_KEY=..."
        ),
        (
            "my.yaml: env_vars.A: the variable NO_A is not set\n"
            "    -> export NO_A=..., or take it out of env_vars"
        ),
        (
            "my.yaml: evaluation.tasks.0.env_vars.HF_TOKEN: the variable NO_TOKEN is not set\n"
            "    -> export NO_TOKEN=..., or take it out of env_vars"
        ),
    ]


def test_dataset_folder_that_is_not_there(served: ScriptedEndpoint, tmp_path: Path) -> None:
    assert found(served, task={"dataset_dir": "no/folder"}) == [
        (
            f"my.yaml: evaluation.tasks.0: the folder {tmp_path}/no/folder does not exist\n"
            "    -> make it, or correct dataset_dir or execution.mounts"
        )
    ]


def test_dataset_folder_that_cannot_be_read(
    served: ScriptedEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a folder of somebody else; root, as whom tests may run, can read everything
    folder = tmp_path / "unreadable"
    folder.mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))

    assert found(served, task={"dataset_dir": "unreadable"}) == [
        (
            f"my.yaml: evaluation.tasks.0: the folder {folder} cannot be read\n"
            "    -> make it, or correct dataset_dir or execution.mounts"
        )
    ]


def test_disk_too_small(served: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_230_000_000))

    assert found(served, execution={"output_dir": "out", "min_free_gb": 10}) == [
        (
            "my.yaml: execution.output_dir: only 1.23 GB are free, and 10 GB are wanted\n"
            "    -> make room, choose another folder, or lower execution.min_free_gb"
        )
    ]


def test_output_folder_that_cannot_be_used(served: ScriptedEndpoint) -> None:
    for folder, what in (
        ("a:b", "a path with ':' cannot be mounted into a container"),
        ("my.yaml/out", f"{Path.cwd()}/my.yaml cannot be written"),
    ):
        assert found(served, execution={"output_dir": folder, "min_free_gb": 0}) == [
            f"my.yaml: execution.output_dir: {what}\n    -> choose another folder"
        ]


def test_endpoint_that_does_not_answer(endpoint: ScriptedEndpoint) -> None:
    endpoint.stop_listening()

    assert found(endpoint) == [
        (
            f"endpoint {endpoint.chat_url}: does not answer: Connection refused\n"
            "    -> start the server, or correct target.api_endpoint.url"
        )
    ]


def test_endpoint_that_wants_a_key_or_another(
    served: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.required_key = "right"
    monkeypatch.setenv("MY_KEY", "canary")
    fix = "put the key into a variable and name it in target.api_endpoint.api_key_name"

    wants, refuses = found(served), found(served, api={"api_key_name": "MY_KEY"})

    assert wants == [f"endpoint {served.chat_url}: wants a key (401)\n    -> {fix}"]
    assert refuses == [
        (
            f"endpoint {served.chat_url}: refuses the key in MY_KEY (401)\n"
            "    -> put the right key into MY_KEY, or name another variable in "
            "target.api_endpoint.api_key_name"
        )
    ]


def test_a_key_that_is_not_here_is_told_of_the_variable_alone(
    served: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.required_key = "right"
    monkeypatch.delenv("MY_KEY", raising=False)
    (missing,) = found(served, api={"api_key_name": "MY_KEY"})
    assert "the variable MY_KEY is not set" in missing


def test_endpoint_that_serves_another_model(served: ScriptedEndpoint) -> None:
    served.models = ["llama-a", "llama-b"]

    assert found(served) == [
        (
            f"my.yaml: target.api_endpoint.model_id: {served.chat_url} does not serve 'm'\n"
            "    -> it serves llama-a, llama-b"
        )
    ]


def test_no_engine_no_command_no_runtime(
    served: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = {"harnesses": {"own": {"kind": "command", "command": "ask", "image": "some/image:1",
                                   "tasks": {"quiz": None}}}}  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    (engine,) = found(served, "docker", **image)
    monkeypatch.setenv("PATH", "")

    assert engine == (
        "docker: the engine cannot be reached: No such file or directory: "
        f"unix://{tmp_path}/none (wanted for some/image:1)\n"
        "    -> start Docker, or set DOCKER_HOST; `docker version` must answer"
    )
    assert found(served, "docker", **image) == [
        (
            "docker: the command is not on the PATH (wanted for some/image:1)\n"
            "    -> install the Docker command line, or choose container_runtime=podman"
        )
    ]
    assert found(served, "podman", **image) == [
        (
            "podman: the command is not on the PATH (wanted for some/image:1)\n"
            "    -> install podman, or choose container_runtime=docker"
        )
    ]
    assert found(served, "apptainer", **image) == [
        (
            "apptainer: the command is not on the PATH (wanted for some/image:1)\n"
            "    -> `module load apptainer` on some clusters; or choose another container_runtime"
        )
    ]
    assert found(served, "pyxis", **image) == [
        (
            "pyxis: there is no srun with --container-image (wanted for some/image:1)\n"
            "    -> pyxis is a plugin of Slurm: ask who runs the cluster, or choose another "
            "container_runtime"
        )
    ]
    assert found(served, "dokcer", **image) == [
        (
            "container_runtime: there is no runtime 'dokcer'\n"
            "    -> possible: docker, podman, apptainer, pyxis, process, image"
        )
    ]


def test_process_that_is_not_told_its_port() -> None:
    server = {"type": "process", "served_model_name": "m"}

    assert found(target={}, deployment={**server, "command": "serve --port {port}"}) == []
    assert found(target={}, deployment={**server, "command": "serve --port 80", "port": 80}) == []
    assert found(target={}, deployment={**server, "command": "serve --port 80"}) == [
        (
            "my.yaml: deployment.command: does not say {port}, and a process gets a free port\n"
            "    -> write {port} where its port belongs, or give the port it listens at as `port`"
        )
    ]


def test_everything_that_the_machine_lacks_is_told_at_once(endpoint: ScriptedEndpoint) -> None:
    endpoint.stop_listening()

    told = found(
        endpoint,
        "dokcer",
        env_vars={"A": "host:NO_A"},
        task={"dataset_dir": "no/folder", "container": "r.io/quiz:1"},
        execution={"output_dir": "a:b", "min_free_gb": 10**9},
    )

    words = ("NO_A is not set", "GB are free", "with ':'", "no runtime", "does not exist", "answer")
    assert len(told) == len(words)
    for text, problem in zip(words, told, strict=True):
        assert text in problem
