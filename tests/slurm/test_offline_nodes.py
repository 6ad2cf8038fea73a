"""Nodes without internet: what `snakemake prefetch` has put beside the runs is all they need."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from on_slurm import ClusterProject

from rig.docker_engine import DockerEngine
from rig.image import ensure_base_image

IMAGE = "registry.invalid/team/questions:1"


@pytest.fixture
def image(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[str]:
    """An image of nobody's registry, which only this engine has."""
    recipe = f"FROM {ensure_base_image(docker_engine)}\nLABEL of={tmp_path.name}\n"
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "Dockerfile").write_text(recipe)
    docker_engine.docker("build", "--tag", IMAGE, str(tmp_path / "recipe"))
    identity = docker_engine.docker("image", "inspect", "--format", "{{.Id}}", IMAGE)
    yield identity
    docker_engine.docker("rmi", "--force", identity)


@pytest.mark.docker
def test_a_node_without_the_image_loads_the_prefetched_one(
    project: ClusterProject, docker_engine: DockerEngine, image: str
) -> None:
    project.write_benchmarks({"one": 4, "two": 4}, image=IMAGE)

    # given a prefetch where the image is
    project.target("prefetch", "--profile", str(project.profile)).check()
    (archive,) = (project.folder / "out" / "images").glob("*.tar")
    assert json.loads(Path(f"{archive}.json").read_text())["id"] == image

    # and again: nothing is written twice
    written = archive.stat().st_mtime_ns
    said = project.target("prefetch", "--profile", str(project.profile)).check().output
    assert f"{IMAGE}: is in out/images/{archive.name} already" in said
    assert archive.stat().st_mtime_ns == written

    # when the engine of the nodes has no such image, and its registry does not exist
    docker_engine.docker("rmi", "--force", image)
    ended = project.snakemake("--retries", "0").check()

    # then the benchmarks ran in it
    assert "is not pinned" not in ended.output
    assert {project.status(name)["attempts"][0]["runtime"] for name in ("one", "two")} == {"docker"}
    assert set(project.endpoint.requests.values()) == {1}
    assert docker_engine.docker("image", "inspect", "--format", "{{.Id}}", image) == image
