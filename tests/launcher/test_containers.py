"""What a container of the launcher's images gets: its own working directory, shared memory, and
what the user says in `extra_docker_args`, with nothing added to that. Real Docker."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.waiting import PATIENCE
from snakeval.config.load import load
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.render.lib import write_library
from snakeval.render.task import render
from snakeval.start.begin import spec_text

pytestmark = pytest.mark.docker

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"

NOTED = (
    "{ pwd; df -BM --output=size /dev/shm | tail -n 1; id -u; env | grep -c ^ADAPTER_PORT=; }"
    " > /results/noted; exit 1"
)


@pytest.fixture
def engine(docker_engine: DockerEngine) -> DockerEngine:
    ensure_base_image(docker_engine)
    return docker_engine


def planned(folder: Path, url: str, extra_docker_args: str = "", **more: object) -> Task:
    """A benchmark of an image that notes what its container has, and fails."""
    content = {
        "execution": {
            "output_dir": str(folder / "out"),
            "hf_home": False,
            "extra_docker_args": extra_docker_args,
        },
        "target": {"api_endpoint": {"url": url, "model_id": "test-model"}},
        "evaluation": {"tasks": [{"name": "mine.quiz", "container": BASE_IMAGE, "pre_cmd": NOTED}]},
        **more,
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks[0]


def noted(task: Task, engine: DockerEngine) -> list[str]:
    """Working directory, size of the shared memory, user, whether the adapter has a port of its
    own."""
    task.paths.dir.mkdir(parents=True, exist_ok=True)
    write_library(task.paths.dir.parent / "lib")
    task.paths.spec.write_text(spec_text(task))
    task.paths.script.write_text(render(task, "docker", BASE_IMAGE), encoding="utf-8")
    ended = subprocess.run(
        ["bash", task.paths.script],
        env={**os.environ, "DOCKER_HOST": engine.host},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    file = task.paths.work(task.digest) / "noted"
    assert file.exists(), ended.stdout + ended.stderr
    return [line.strip() for line in file.read_text().splitlines()]


@pytest.mark.parametrize("gateway", [True, False])
def test_it_starts_in_its_own_folder_and_has_as_much_shared_memory_as_with_the_launcher(
    tmp_path: Path, engine: DockerEngine, gateway: bool
) -> None:
    """And in the network that it has without the gateway."""
    url = "http://nobody.invalid/v1/chat/completions"
    found = noted(planned(tmp_path, url, gateway=gateway), engine)
    assert found[:4] == ["/", "102400M", "0", "0"]


def test_what_the_user_says_is_taken_over(
    tmp_path: Path, engine: DockerEngine, endpoint: ScriptedEndpoint
) -> None:
    said = "--network host --shm-size 1g -w /opt --entrypoint /usr/bin/env"
    found = noted(planned(tmp_path, endpoint.chat_url, said), engine)
    assert found[:4] == ["/opt", "1024M", "0", "1"]


@contextlib.contextmanager
def network(engine: DockerEngine) -> Iterator[str]:
    name = f"snakeval-test-{uuid4().hex[:8]}"
    docker = ["docker", "--host", engine.host, "network"]
    subprocess.run([*docker, "create", name], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run([*docker, "rm", name], check=True, capture_output=True)


def test_a_network_of_the_users_is_the_only_one_also_for_an_endpoint_of_this_machine(
    tmp_path: Path, engine: DockerEngine, endpoint: ScriptedEndpoint
) -> None:
    with network(engine) as name:
        found = noted(planned(tmp_path, endpoint.chat_url, f"--network {name} --ipc host"), engine)
    assert found[0] == "/"
    assert found[3] == "0"
