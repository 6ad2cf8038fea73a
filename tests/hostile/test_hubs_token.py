"""A server knows the hub's token where its config says so, or its weights come from there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rig.waiting import PATIENCE
from snakeval.config.model import Config
from snakeval.plan.server import MODEL, servers_of
from snakeval.render.server import render

STARTER = {"docker": "docker", "podman": "podman", "apptainer": "apptainer", "pyxis": "srun"}
BEHIND_HEAD = 'cd "$start_folder"'


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A Hugging Face cache of somebody who has logged in."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "token").write_text("hf_of_the_cache")
    return folder


def started(folder: Path, runtime: str, **deployment: Any) -> str:
    """The command line that starts a server, and the environment that it has."""
    given = {"type": "vllm", "served_model_name": "m", **deployment}
    config = Config.model_validate({"deployment": given, "evaluation": {"tasks": ["t"]}})
    script = render(servers_of(config)[MODEL], runtime, "image")
    file = folder / "run" / "deployments" / "model" / "server.sh"
    file.parent.mkdir(parents=True, exist_ok=True)
    (bin_folder := folder / "bin").mkdir(exist_ok=True)
    starter = bin_folder / STARTER[runtime]
    starter.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >&5\nenv | grep TOKEN >&5\n')
    starter.chmod(0o755)
    start = "serve" if runtime in ("docker", "podman") else "launch"
    head = script[: script.index(BEHIND_HEAD)]
    file.write_text(f"{head}\ntool() {{ cat >/dev/null; }}\nset_variables\n({start}) 5>&1\n")
    variables = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(folder),
        "HF_HOME": str(folder / "cache"),
        "HF_TOKEN": "hf_of_the_caller",
        "MY_TOKEN": "hf_of_the_config",
    }
    ended = subprocess.run(
        ["bash", str(file)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert re.search("^image$|^run$|^exec$", ended.stdout, re.MULTILINE), ended.stderr
    return ended.stdout


def is_given(said: str, runtime: str) -> bool:
    """Whether the container gets HF_TOKEN of the caller."""
    if runtime == "apptainer":
        return "APPTAINERENV_HF_TOKEN=hf_of_the_caller" in said
    return bool(re.search(r"(^|,)HF_TOKEN(,|$)", said, re.MULTILINE))


@pytest.mark.parametrize("runtime", STARTER)
def test_a_server_of_own_weights_gets_no_token(tmp_path: Path, cache: Path, runtime: str) -> None:
    own = {"checkpoint_path": str(tmp_path), "cache_path": str(cache)}
    said = started(tmp_path, runtime, **own)
    assert not is_given(said, runtime)
    assert f"{cache}:/cache" in said and "/dev/null:/cache/token:ro" in said
    assert "/dev/null:/cache/stored_tokens" not in said  # there is none


@pytest.mark.parametrize("runtime", STARTER)
def test_weights_of_the_hub_come_with_the_callers_token(
    tmp_path: Path, cache: Path, runtime: str
) -> None:
    said = started(tmp_path, runtime, hf_model_handle="o/m")
    assert is_given(said, runtime)
    assert f"{cache}:/snakeval/huggingface" in said and "/dev/null:" not in said


@pytest.mark.parametrize("runtime", STARTER)
def test_a_token_that_env_vars_name_is_that_one(tmp_path: Path, cache: Path, runtime: str) -> None:
    own = {"checkpoint_path": str(tmp_path), "cache_path": str(cache)}
    said = started(tmp_path, runtime, **own, env_vars={"HF_TOKEN": "host:MY_TOKEN"})
    assert not is_given(said, runtime)
    assert "/dev/null:" not in said
    assert "=hf_of_the_config" in said
