"""Whatever is killed, paused, refused or filled up at random moments: the same scores, next to
nothing asked twice, nothing left behind, and nobody is needed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rig import chaos
from rig.chaos import FEW, MANY, Chaos, Rationed, Strikes
from rig.docker_engine import DockerEngine
from rig.image import BASE_IMAGE, ensure_base_image
from rig.moving import Moving
from rig.own_engine import own_engine
from rig.pipeline import MODEL
from rig.podman import Podman
from rig.small_disk import small_disk
from rig.unavailable import unavailable
from rig.waiting import wait_until

COUNTS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=[pytest.mark.long])]
RELAY = Path(chaos.__file__).with_name("relay.py")
PARTS = {
    "controller": "bin/snakemake",
    "deploy": "scripts/deploy.py",
    "supervisor": "lib/supervise.py",
    "server": "relay.py",
    "keeper": "lib/keeper.py",
    "client": "docker run",
    "harness": "ask.py",
}
"""What runs of a project on this machine, by words of its command line. The gateway is a part of
the keeper."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Moving]:
    folder = tmp_path / "project"
    with small_disk(folder / "disk", 24):
        yield Moving(folder, "", chaos.environment(folder))


@pytest.fixture
def endpoint() -> Iterator[Rationed]:
    with Rationed() as endpoint:
        yield endpoint


@pytest.mark.parametrize("count", COUNTS)
def test_processes_and_their_server_survive_chaos(
    project: Moving, endpoint: Rationed, count: int
) -> None:
    def strikes(reign: Chaos) -> Strikes:
        return {
            **chaos.on_processes(reign, PARTS),
            **chaos.on_the_endpoint(reign),
            **chaos.on_the_disk(reign, project.folder / "disk"),
        }

    reign = Chaos(project, endpoint, "processes and their server", count, strikes, project.move)
    relay = f"{sys.executable} {RELAY} --port {{port}} --to {endpoint.host}:{endpoint.port}"
    server = {"type": "process", "command": relay, "served_model_name": MODEL, "idle_timeout": 10}
    execution = {"output_dir": f"disk/{project.out.name}"}
    chaos.write(reign, target={}, deployment=server, execution=execution)
    reign.reign()
    reign.check()


@pytest.mark.docker
@pytest.mark.parametrize("count", COUNTS)
def test_containers_survive_chaos(
    project: Moving, endpoint: Rationed, docker_engine: DockerEngine, count: int
) -> None:
    ensure_base_image(docker_engine)

    def containers() -> list[str]:
        label = f"label=snakeval.run={project.run_folder.name}"
        return docker_engine.docker("ps", "-q", "--filter", label).split()

    def strikes(reign: Chaos) -> Strikes:
        return {
            **chaos.on_processes(reign, PARTS),
            **chaos.on_the_endpoint(reign),
            **chaos.on_containers(reign, containers),
        }

    project.url = endpoint.chat_url
    reign = Chaos(project, endpoint, "containers", count, strikes)
    chaos.write(reign, BASE_IMAGE, execution={"output_dir": f"disk/{project.out.name}"})
    reign.reign()
    reign.check()
    wait_until(lambda: not containers(), told=containers)


@pytest.mark.docker
@pytest.mark.parametrize("count", COUNTS)
def test_containers_survive_an_engine_that_is_restarted(
    project: Moving, endpoint: Rationed, docker_engine: DockerEngine, count: int
) -> None:
    if os.geteuid() != 0:
        unavailable("only root can start an engine that may be stopped")
    ensure_base_image(docker_engine)
    with own_engine(docker_engine, BASE_IMAGE) as own:
        command = ("docker", "--host", own.engine.host)

        def strikes(reign: Chaos) -> Strikes:
            return {
                **chaos.on_processes(reign, PARTS),
                **chaos.on_the_engine(reign, own),
                **chaos.on_containers(reign, partial(running, project, command), command),
            }

        project.environment["DOCKER_HOST"] = own.engine.host
        project.url = endpoint.chat_url
        place = "containers of an engine that is restarted"
        reign = Chaos(project, endpoint, place, count, strikes)
        chaos.write(reign, BASE_IMAGE, execution={"output_dir": f"disk/{project.out.name}"})
        reign.reign()
        reign.check()
        wait_until(lambda: not running(project, command), told=lambda: running(project, command))


@pytest.mark.docker
@pytest.mark.podman
@pytest.mark.parametrize("count", COUNTS)
def test_containers_of_podman_survive_chaos(
    project: Moving, endpoint: Rationed, docker_engine: DockerEngine, podman: Podman, count: int
) -> None:
    ensure_base_image(docker_engine)
    image = podman.ensure_image(docker_engine, BASE_IMAGE)
    command = ("podman",)

    def strikes(reign: Chaos) -> Strikes:
        return {
            **chaos.on_processes(reign, PARTS | {"client": "podman run"}),
            **chaos.on_containers(reign, partial(running, project, command), command),
            **(chaos.on_conmons(reign, project.run_folder.name) if project.runs else {}),
        }

    project.url = endpoint.chat_url
    words = ("--default-resources", "container_runtime='podman'")
    reign = Chaos(project, endpoint, "containers of podman", count, strikes, words=words)
    chaos.write(reign, image, execution={"output_dir": f"disk/{project.out.name}"})
    reign.reign()
    reign.check()
    wait_until(lambda: not running(project, command), told=lambda: running(project, command))


def running(project: Moving, command: tuple[str, ...]) -> list[str]:
    """Containers of its run; none where the engine does not answer."""
    label = f"label=snakeval.run={project.run_folder.name}" if project.runs else "label=none"
    said = subprocess.run(
        [*command, "ps", "-q", "--filter", label], capture_output=True, text=True, check=False
    )
    return said.stdout.split()
