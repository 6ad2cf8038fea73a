"""The Hugging Face cache of a model's server is the one that the config names."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import load
from snakeval.plan.make import make_run
from snakeval.plan.server import MODEL, Server
from snakeval.render.lib import write_library
from snakeval.render.server import render

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"

SAYS_ALL = """#!/usr/bin/env bash
echo "$@" HF_HOME="${HF_HOME:-}"
"""
"""Stands for the program that starts a container."""


def server(tmp_path: Path, execution: dict[str, Any], **deployment: Any) -> Server:
    given = {"type": "vllm", "hf_model_handle": "org/m", "served_model_name": "m", **deployment}
    content = {
        "execution": {"output_dir": str(tmp_path / "out"), **execution},
        "deployment": given,
        "evaluation": {"tasks": ["lm_eval.gsm8k"]},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([tmp_path / "my.yaml"], {}), CATALOGUE).servers[MODEL]


def said(tmp_path: Path, server: Server, runtime: str) -> str:
    """What the program that starts the server is told."""
    folder = tmp_path / "run" / "deployments" / "model"
    folder.mkdir(parents=True)
    write_library(tmp_path / "run" / "lib")
    (folder / "server.sh").write_text(render(server, runtime, "image"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "podman", "apptainer", "srun"):
        (programs / name).write_text(SAYS_ALL)
        (programs / name).chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    with subprocess.Popen(
        ["bash", str(folder / "server.sh"), "serve"],
        stdin=subprocess.PIPE,  # its lifeline
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as serving:
        assert serving.stdout
        return serving.stdout.read()


@pytest.mark.parametrize("kind", ["local", "slurm"])
@pytest.mark.parametrize("runtime", ["docker", "podman", "apptainer", "pyxis"])
def test_a_container_of_a_server_has_the_cache_that_the_config_names(
    kind: str, runtime: str, tmp_path: Path
) -> None:
    cache = tmp_path / "bigdisk" / "hf"
    more = {"account": "lab"} if kind == "slurm" else {}
    given = server(tmp_path, {"type": kind, "hf_home": str(cache), **more})
    told = said(tmp_path, given, runtime)
    assert f"{cache}:/snakeval/huggingface" in told
    assert "HF_HOME=/snakeval/huggingface" in told
    assert cache.is_dir()


def test_a_server_that_is_a_process_has_it_too(tmp_path: Path) -> None:
    cache = tmp_path / "bigdisk" / "hf"
    process = server(tmp_path, {"hf_home": str(cache)}, type="process", command="echo $HF_HOME")
    assert said(tmp_path, process, "process") == f"{cache}\n"


def test_no_cache_is_mounted_where_the_config_says_so(tmp_path: Path) -> None:
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    told = said(tmp_path, server(tmp_path, {"hf_home": False}), "docker")
    assert "huggingface" not in told
