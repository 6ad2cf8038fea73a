"""Whatever is killed, paused, refused or filled up at random moments: the same scores, next to
nothing asked twice, nothing left behind, and nobody is needed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import chaos
from rig.chaos import FEW, MANY, Chaos, Rationed, Strikes
from rig.docker_engine import DockerEngine
from rig.image import BASE_IMAGE, ensure_base_image
from rig.pipeline import MODEL, Project
from rig.small_disk import small_disk
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


class Moving(Project):
    """A project whose folder of runs is on a small disk, and may be moved on it."""

    moves = 0

    @property
    def out(self) -> Path:
        return self.folder / "disk" / f"out-{self.moves}"

    @property
    def runs(self) -> list[Path]:
        return sorted(self.out.glob("20*"))

    def move(self) -> None:
        """As a person does between two starts, where nothing runs any more."""
        if not self.runs or self.leftovers():
            return
        before, self.moves = self.out, self.moves + 1
        before.rename(self.out)
        written = self.config.read_text()
        self.config.write_text(written.replace(f"disk/{before.name}", f"disk/{self.out.name}"))


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
