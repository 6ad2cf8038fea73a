"""clean: an image goes when its run is finished, it can be pulled again, and nobody uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.docker_engine import DockerEngine, RigUnavailable
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.pipeline import ROOT, Project
from rig.registry import registry
from rig.unavailable import unavailable
from snakeval.run_folder.layout import RunPaths
from snakeval.runs.clean import Found, look, remove

pytestmark = pytest.mark.docker
WRITE_SCORES = """echo '{"scores": {"accuracy": 0.5}}' > {results}/results.json"""
CATALOGUE = ROOT / "config" / "catalogue"


@pytest.fixture
def image(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[str]:
    """An image of its own in a real registry, and not in the engine."""
    ensure_base_image(docker_engine)
    try:
        with registry(tmp_path) as host:
            name = f"{host}/team/to-be-cleaned:1"
            container = docker_engine.docker("create", BASE_IMAGE, "true")
            docker_engine.docker("commit", "--change", f"LABEL of={tmp_path}", container, name)
            docker_engine.docker("rm", container)
            docker_engine.docker("push", name)
            docker_engine.docker("rmi", name)
            yield name
    except RigUnavailable as reason:
        unavailable(reason)


def images_of(found: Found) -> list[str]:
    return [item.where for item in found.leftovers if item.image]


def test_image_that_nothing_else_uses_goes_and_is_pulled_again(
    image: str, endpoint: ScriptedEndpoint, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    # given a finished run in that image, and another run that has pinned it too
    project = Project(tmp_path / "project", endpoint.chat_url)
    own = {"kind": "command", "image": image, "tasks": {"one": {}, "two": {}},
           "command": WRITE_SCORES}  # fmt: skip
    project.write(tasks=[{"name": "own.one"}], harnesses={"own": own})
    project.snakemake().check()
    run = RunPaths(project.run_folder)
    other = run.dir.with_name("2026-01-02-03-04-05-0123abcd")
    shutil.copytree(run.dir, other, symlinks=True)

    shared = look(run, [RunPaths(other)], CATALOGUE)
    shutil.rmtree(other)
    container = docker_engine.docker("create", image, "true")
    used = look(run, [], CATALOGUE)
    docker_engine.docker("rm", container)
    free = look(run, [], CATALOGUE)

    # then it stays while somebody uses it
    assert images_of(shared) == images_of(used) == []
    assert any("another run uses it" in line for line in shared.kept)
    assert any("is made of it" in line for line in used.kept)
    (reference,) = images_of(free)
    assert reference.startswith(image.rpartition(":")[0] + "@sha256:")
    assert sum(item.size for item in free.leftovers) > 50_000_000

    # and when nobody does, it goes, and the next benchmark pulls the very same one
    _, failures = remove(run, [], CATALOGUE)
    assert failures == []
    assert image not in docker_engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}")
    project.write(tasks=[{"name": "own.one"}, {"name": "own.two"}], harnesses={"own": own})
    project.snakemake().check()
    assert reference in (project.task("two") / "run.sh").read_text()
    _, failures = remove(run, [], CATALOGUE)
    assert failures == []


def test_image_without_a_registry_stays(
    endpoint: ScriptedEndpoint, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    ensure_base_image(docker_engine)
    project = Project(tmp_path / "project", endpoint.chat_url)
    own = {"kind": "command", "image": BASE_IMAGE, "tasks": {"one": {}},
           "command": WRITE_SCORES}  # fmt: skip
    project.write(tasks=[{"name": "own.one"}], harnesses={"own": own})
    project.snakemake().check()

    found = look(RunPaths(project.run_folder), [], CATALOGUE)

    assert images_of(found) == []
    assert any("came from no registry" in line for line in found.kept)
