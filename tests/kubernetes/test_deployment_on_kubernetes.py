"""The model's server and its benchmarks on Kubernetes: one Deployment, reached by its Service."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from on_kubernetes import KubernetesProject

from rig.pipeline import HARNESSES, MODEL
from rig.waiting import wait_until
from snakeval.job.endpoint import free_port

pytestmark = pytest.mark.docker

TESTS = Path(__file__).parents[1]
SCRIPTED = TESTS / "deploy" / "scripted_server.py"


@pytest.fixture
def deployed(project: KubernetesProject, nemo_image: str) -> KubernetesProject:
    """Two benchmarks of a server that files in the project's folder steer."""
    files = project.folder / "quiz"
    shutil.copytree(TESTS / "workflow" / "quiz", files)
    project.environment["SNAKEVAL_KUBERNETES_POLL"] = "0.2"
    folder, port = project.folder, free_port("127.0.0.1")
    steered = f"--log {folder}/server-starts --sick-while {folder}/sick --hold-while {folder}/hold"
    own: dict[str, Any] = {
        "kind": "command",
        "command": "python3 {files}/ask.py --url {url} --model {model_id} --results {results}"
        " --limit {limit_samples} --seed {param.seed}",
        "files": str(files),
        "image": nemo_image,
        "tasks": {"quiz": {"endpoint_type": "chat", "samples": 10}},
    }
    tasks = [
        {
            "name": "own.quiz",
            "nemo_evaluator_config": {"config": {"params": {"extra": {"seed": seed}}}},
        }
        for seed in range(2)
    ]
    project.write(
        tasks,
        {"limit_samples": 3},
        target={},
        harnesses={**HARNESSES, "own": own},
        execution=project.execution(namespace="evals"),
        deployment={
            "type": "generic",
            "image": "registry.example/scripted:1",
            "port": port,
            "command": f"exec {sys.executable} {SCRIPTED} --port {{port}} {steered}",
            "served_model_name": MODEL,
        },
    )
    return project


def test_one_deployment_serves_all_benchmarks_and_ends_with_the_last_or_with_the_start(
    deployed: KubernetesProject,
) -> None:
    deployments = deployed.cluster.deployments
    # given a start that is interrupted
    (deployed.folder / "hold").touch()
    with deployed.started() as process:
        asked = deployed.folder / "server-starts"
        wait_until(lambda: asked.exists() and "asked" in asked.read_text())
        status = deployed.target("status").check().output
        assert "the Deployment snakeval-" in status, status
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    (deployed.folder / "hold").unlink()
    wait_until(lambda: not deployments.all and not deployments.services)
    # when it is started again
    ended = deployed.snakemake().check()
    # then both are published by one Deployment of that start, and nothing is left
    assert "2 of 2 benchmarks published" in ended.output
    assert len(deployments.created) == 2
    wait_until(lambda: not deployments.all and not deployments.services)
