"""A real vLLM with a small real model, on a machine with a GPU: `make test-gpu`.

Docker with NVIDIA's container toolkit, else a `vllm` on the PATH. SNAKEVAL_GPU_MODEL is another
model of the hub, or a folder with weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rig.pipeline import HARNESSES, ROOT, SUMS, Project

MODEL = os.environ.get("SNAKEVAL_GPU_MODEL", "HuggingFaceTB/SmolLM2-135M-Instruct")
QUESTIONS = 20
OWN = ROOT / "config" / "examples" / "own_benchmark"
SERVED = "small"


def said(*command: str) -> str:
    """What a command says; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def missing() -> str:
    """Why no vLLM can be brought up here, in a sentence; empty where it can."""
    if "GPU" not in said("nvidia-smi", "--list-gpus"):
        return "no GPU: `nvidia-smi --list-gpus` names none (run make test-gpu where there is one)"
    if "nvidia" not in said("docker", "info", "--format", "{{.Runtimes}}") and not in_process():
        return "neither a Docker engine with NVIDIA's container toolkit nor a `vllm` on the PATH"
    return ""


def in_process() -> str | None:
    return shutil.which("vllm")


def deployment() -> dict[str, Any]:
    """vLLM in its own image, or as a process where there is one on the PATH."""
    kind = "checkpoint_path" if Path(MODEL).is_dir() else "hf_model_handle"
    if not in_process():
        vllm = {"type": "vllm", kind: MODEL, "tensor_parallel_size": 1, "gpus": 1}
        return {**vllm, "served_model_name": SERVED, "extra_args": "--max-model-len 2048"}
    command = f"vllm serve {MODEL} --served-model-name {SERVED} --max-model-len 2048"
    where = " --host {host} --port {port}"
    return {"type": "process", "command": command + where, "served_model_name": SERVED, "gpus": 1}


@pytest.mark.gpu
@pytest.mark.skipif(bool(reason := missing()), reason=reason)
def test_vllm_serves_two_benchmarks_and_ends_with_the_last(tmp_path: Path) -> None:
    # given vLLM as the deployment, plain lm-eval and a benchmark of one's own; the hub is reached
    project = Project(tmp_path / "project", "", {"HF_HUB_OFFLINE": "0", "HOME": os.environ["HOME"]})
    own = {
        "kind": "command",
        "files": str(OWN / "ask"),
        "command": "python3 {files}/ask.py --questions {files}/questions.jsonl --url {url}"
        " --model {model_id} --answers {results}/answers.jsonl --out {results}/results.json",
        "tasks": {"capitals": {"endpoint_type": "chat"}},
    }
    project.write(
        [SUMS, {"name": "own.capitals"}],
        {"limit_samples": QUESTIONS, "parallelism": 8},
        target={},
        deployment=deployment(),
        execution={
            "output_dir": "out",
            "min_free_gb": 0,
            "endpoint_readiness_timeout": 1800,
        },
        harnesses={**HARNESSES, "own": own},
    )
    # when they are evaluated
    project.snakemake(timeout=3000).check()
    # then both have a result, by one server that was loaded once and is gone
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    server = project.run_folder / "deployments" / "model"
    assert '"loads": 1' in (server / "status.json").read_text()
    assert "no benchmark needs it any more" in (server / "status.json").read_text()
