"""Exit code 137 has two meanings, and the engine knows which."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.pipeline import Project
from rig.waiting import wait_until

pytestmark = pytest.mark.docker

EATS_MEMORY = "head -c 200000000 /dev/zero | tail -n 1"
WAITS = "touch {results}/waits && sleep 3600"


def killed(project: Project) -> str:
    """The cause of the only attempt at a task that was killed."""
    project.snakemake("--retries", "0").refused()
    return str(project.status("killed")["cause"])


def in_image(command: str) -> dict[str, Any]:
    harness = {
        "kind": "command",
        "image": BASE_IMAGE,
        "command": command,
        "results": "scores.json",
        "tasks": {"killed": {}},
    }
    return {"harnesses": {"own": harness}, "tasks": [{"name": "own.killed"}]}


def test_a_container_at_its_limit_of_memory_is_told_from_one_that_somebody_kills(
    docker_engine: DockerEngine, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    ensure_base_image(docker_engine)
    project = Project(tmp_path / "limit", endpoint.chat_url)
    limit = {"output_dir": "out", "min_free_gb": 0, "extra_docker_args": "--memory 32m"}
    project.write(**in_image(EATS_MEMORY), execution=limit)
    assert "it ran out of memory: the kernel has killed it at its limit" in killed(project)

    project = Project(tmp_path / "somebody", endpoint.chat_url)
    project.write(**in_image(WAITS))

    def kill() -> None:
        wait_until(lambda: list(project.folder.glob("out/*/killed/work/*/waits")))
        (run,) = project.folder.glob("out/*-*")
        named = docker_engine.docker("ps", "-q", "--filter", f"label=snakeval.run={run.name}")
        docker_engine.docker("kill", named.strip())

    threading.Thread(target=kill, daemon=True).start()
    assert "somebody has killed it (SIGKILL): there was no lack of memory" in killed(project)
