"""Images are pulled once, pinned by digest for the run, and asked for again only on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.docker_engine import DockerEngine, RigUnavailable
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.pipeline import Project
from rig.registry import registry
from rig.unavailable import unavailable

pytestmark = pytest.mark.docker

WRITE_SCORES = """echo '{"scores": {"accuracy": 0.5}}' > {results}/scores.json"""


@pytest.fixture
def pushed(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[str]:
    """An image in a real registry, and not in the engine."""
    ensure_base_image(docker_engine)
    try:
        with registry(tmp_path) as host:
            image = f"{host}/team/own-eval:1"
            docker_engine.docker("tag", BASE_IMAGE, image)
            docker_engine.docker("push", image)
            docker_engine.docker("rmi", image)
            yield image
            for left in _images(docker_engine, host):
                docker_engine.docker("rmi", "-f", left)
    except RigUnavailable as reason:
        unavailable(reason)


def _images(engine: DockerEngine, host: str) -> list[str]:
    """Every name of that registry's images in the engine, by tag or by digest."""
    listed = engine.docker("images", "--digests", "--format", "{{json .}}").splitlines()
    images = [image for image in map(json.loads, listed) if image["Repository"].startswith(host)]
    return [
        f"{image['Repository']}@{image['Digest']}"
        if image["Tag"] == "<none>"
        else f"{image['Repository']}:{image['Tag']}"
        for image in images
    ]


def own(image: str) -> dict[str, Any]:
    """Two benchmarks in that image, by a command of one line."""
    harness = {
        "kind": "command",
        "image": image,
        "command": WRITE_SCORES,
        "results": "scores.json",
        "tasks": {"one": {}, "two": {}},
    }
    return {"harnesses": {"own": harness}}


def pinned(project: Project) -> dict[str, str]:
    images: dict[str, str] = json.loads((project.run_folder / "run.json").read_text())["images"]
    return images


def test_an_image_is_pulled_once_and_pinned_by_its_digest(
    pushed: str, endpoint: ScriptedEndpoint, tmp_path: Path, docker_engine: DockerEngine
) -> None:
    project = Project(tmp_path / "project", endpoint.chat_url)
    project.write(tasks=[{"name": "own.one"}, {"name": "own.two"}], **own(pushed))

    finished = project.snakemake().check()

    assert finished.output.count(f"pulling {pushed}") == 1
    reference = pinned(project)[pushed]
    assert reference.startswith(pushed.rpartition(":")[0] + "@sha256:")
    assert reference in (project.task("one") / "run.sh").read_text()
    assert {row["image"] for row in project.rows()} == {reference}

    # Another image under the same tag changes nothing for this run, not even with a new benchmark.
    stopped = docker_engine.docker("create", BASE_IMAGE, "true").strip()
    other = docker_engine.docker("commit", "-m", "other", stopped).strip()
    docker_engine.docker("rm", stopped)
    docker_engine.docker("tag", other, pushed)
    docker_engine.docker("push", pushed)
    project.write(
        tasks=[{"name": f"own.{name}"} for name in ("one", "two", "three")],
        harnesses={
            "own": {
                **own(pushed)["harnesses"]["own"],
                "tasks": {name: {} for name in ("one", "two", "three")},
            }
        },
    )
    project.snakemake().check()
    assert reference in (project.task("three") / "run.sh").read_text()

    # Only asking for it moves the run to what the tag means now.
    project.snakemake("--config", "update_images=true", "fresh=three").check()
    assert pinned(project)[pushed] != reference


def test_an_image_that_cannot_be_pulled_is_told_before_anything_starts(
    docker_engine: DockerEngine, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    project = Project(tmp_path, endpoint.chat_url)
    project.write(
        tasks=[{"name": "own.one"}],
        env_vars={"TOKEN": "host:NOT_SET_ANYWHERE"},
        **own("127.0.0.1:1/nowhere/image:1"),
    )

    refused = project.snakemake().refused()

    assert "127.0.0.1:1/nowhere/image:1 is not here and cannot be pulled" in refused.output
    assert "NOT_SET_ANYWHERE is not set" in refused.output, "all problems are told at once"
    assert "docker login" in refused.output
    assert not endpoint.requests
    assert not project.runs


def test_no_engine_is_told_before_anything_starts(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    project = Project(tmp_path, endpoint.chat_url, {"DOCKER_HOST": f"unix://{tmp_path}/none"})
    project.write(tasks=[{"name": "own.one"}], **own("some/image:1"))

    refused = project.snakemake().refused()

    assert "the engine cannot be reached" in refused.output
    assert "DOCKER_HOST" in refused.output
    assert not project.runs
