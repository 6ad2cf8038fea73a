"""Images are pulled once, pinned by digest for the run, and asked for again only on request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.docker_engine import DockerEngine, RigUnavailable
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.pipeline import Project
from rig.podman import Podman
from rig.registry import logged_in, registry
from rig.unavailable import unavailable
from snakeval.errors import InputError
from snakeval.runtime.podman import Podman as RuntimePodman

pytestmark = pytest.mark.docker

WRITE_SCORES = """echo '{"scores": {"accuracy": 0.5}}' > {results}/scores.json"""


@pytest.fixture
def pushed(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[str]:
    """An image in a real registry, and not in the engine."""
    ensure_base_image(docker_engine)
    with registry_or_skip(tmp_path) as host:
        image = f"{host}/team/own-eval:1"
        named(docker_engine, image)
        docker_engine.docker("push", image)
        docker_engine.docker("rmi", image)
        yield image
        forget(docker_engine, host)


def named(engine: DockerEngine, image: str) -> None:
    """The bare Debian as an image of its own: beside this name, others' tests have it by theirs,
    and what a registry that ends has of an image is a name of that image."""
    container = engine.docker("create", BASE_IMAGE, "true").strip()
    engine.docker("commit", "--change", f"LABEL snakeval.name={image}", container, image)
    engine.docker("rm", container)


@contextlib.contextmanager
def registry_or_skip(folder: Path, login: bool = False) -> Iterator[str]:
    with contextlib.ExitStack() as opened:
        try:
            host = opened.enter_context(registry(folder, login))
        except RigUnavailable as reason:
            unavailable(reason)
        yield host


def forget(engine: DockerEngine, host: str) -> None:
    """Removes what the engine has of a registry."""
    for left in _images(engine, host):
        engine.docker("rmi", "-f", left)


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
    move_tag(docker_engine, pushed)
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


def test_a_tag_that_moves_is_told_and_what_it_changes_is_evaluated_again_on_request(
    pushed: str, endpoint: ScriptedEndpoint, tmp_path: Path, docker_engine: DockerEngine
) -> None:
    # given a run that is finished in two images, one of which is another one by now, and not here
    kept = f"{pushed}-kept"
    docker_engine.docker("tag", BASE_IMAGE, kept)
    docker_engine.docker("push", kept)
    project = Project(tmp_path / "project", endpoint.chat_url)
    harnesses = {"own": own(pushed)["harnesses"]["own"], "kept": own(kept)["harnesses"]["own"]}
    project.write(tasks=[{"name": "own.one"}, {"name": "kept.two"}], harnesses=harnesses)
    project.snakemake().check()
    begun = pinned(project)[pushed]
    move_tag(docker_engine, pushed)
    docker_engine.docker("tag", begun, pushed)
    # when it is started again, then that is told, with what to do, and nothing runs
    told = project.snakemake().check()
    assert f"image {pushed} is another one by now in its registry" in told.output
    assert "update_images=true takes the new one, and evaluates one again" in told.output
    assert f"image {kept}" not in told.output
    assert pinned(project)[pushed] == begun
    # and asking for it plans what it changes, in a dry run too, and only that
    ask = ("--config", "update_images=true")
    dry = project.snakemake("-n", *ask).check()
    assert "to be evaluated: one" in dry.output
    assert "two" not in dry.output.partition("to be evaluated:")[2].splitlines()[0]
    project.snakemake(*ask).check()
    made = {row["task"]: row["image"] for row in project.rows()}
    assert made["one"] == pinned(project)[pushed] != begun
    assert made["two"] == pinned(project)[kept]
    # and once: it is what the tag means now
    assert project.snakemake("-n", *ask).check().planned == 0
    assert "by now" not in project.snakemake().check().output


def move_tag(engine: DockerEngine, image: str) -> None:
    """Another image under the same name, in the registry and here."""
    stopped = engine.docker("create", BASE_IMAGE, "true").strip()
    other = engine.docker("commit", "-m", "other", stopped).strip()
    engine.docker("rm", stopped)
    engine.docker("tag", other, image)
    engine.docker("push", image)


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


def test_a_registry_that_wants_a_login_is_named_and_the_callers_login_is_used(
    docker_engine: DockerEngine, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    ensure_base_image(docker_engine)
    with registry_or_skip(tmp_path, login=True) as host:
        login = logged_in(tmp_path / "docker", host)
        image = f"{host}/team/own-eval:1"
        named(docker_engine, image)
        docker_engine.docker("--config", str(login), "push", image)
        docker_engine.docker("rmi", image)
        project = Project(tmp_path / "project", endpoint.chat_url)
        project.write(tasks=[{"name": "own.one"}], **own(image))

        refused = project.snakemake().refused()
        assert f"image {image} is not here and the registry {host} refuses it" in refused.output
        assert f"`docker login {host}`" in refused.output
        assert not project.runs

        project.environment["DOCKER_CONFIG"] = str(login)
        project.snakemake().check()
        assert pinned(project)[image].startswith(f"{host}/team/own-eval@sha256:")
        forget(docker_engine, host)


def test_a_mirror_has_the_images_and_changes_no_digest(
    pushed: str, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    mirror = pushed.partition("/")[0]
    written = "nvcr.io/team/own-eval:1"
    project = Project(tmp_path / "project", endpoint.chat_url)
    execution = {"output_dir": "out", "min_free_gb": 0}
    project.write(tasks=[{"name": "own.one"}], **own(written),
                  execution={**execution, "image_mirror": mirror})  # fmt: skip

    finished = project.snakemake().check()

    assert f"pulling {pushed}" in finished.output
    assert pinned(project)[written].startswith(f"{mirror}/team/own-eval@sha256:")
    assert "image: nvcr.io/team/own-eval:1" in (project.task("one") / "task.yaml").read_text()

    # Without the mirror it is the same task: finished.
    project.write(tasks=[{"name": "own.one"}], **own(written), execution=execution)
    assert project.snakemake("-n").check().planned == 0


@pytest.mark.podman
def test_podman_uses_the_callers_login_and_the_mirror(
    docker_engine: DockerEngine, podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_base_image(docker_engine)
    with registry_or_skip(tmp_path, login=True) as host:
        login = logged_in(tmp_path / "docker", host)
        image = f"{host}/team/own-eval:1"
        named(docker_engine, image)
        docker_engine.docker("--config", str(login), "push", image)
        forget(docker_engine, host)
        plain_http = tmp_path / "registries.conf"
        plain_http.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(plain_http))

        with pytest.raises(InputError) as refused:
            RuntimePodman().pin("nvcr.io/team/own-eval:1", False, host)
        assert f"the registry {host} refuses it" in str(refused.value)
        assert f"`podman login {host}`" in str(refused.value)

        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login / "config.json"))
        reference = RuntimePodman().pin("nvcr.io/team/own-eval:1", False, host)
        assert reference.startswith(f"{host}/team/own-eval@sha256:")
        podman.podman("untag", image)
