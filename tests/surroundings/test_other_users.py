"""Whoever starts the pipeline owns the files, whatever the container was: docker and podman."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from in_container import RETRIES, cause, write

from rig.docker_engine import DockerEngine, RigUnavailable
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.machine import TOOLS
from rig.other_user import OtherUser, other_user
from rig.pipeline import ROOT, Finished, Project
from rig.podman import Podman, rootless_settings
from rig.unavailable import unavailable

WRITE_SCORES = """echo '{"scores": {"accuracy": 0.5}}' > {results}/results.json"""
DOWNLOAD = 'mkdir -p "$HF_HOME/hub/new" && touch -d 2001-01-01 "$HF_HOME/hub/new/blob"'
COLLEAGUE = 4242


@dataclass
class Desk:
    """The user, what the user's engine needs, and the user's project."""

    user: OtherUser
    project: Project
    image: str
    sees: list[Path]
    groups: list[int]

    @property
    def cache(self) -> Path:
        return self.user.home / "hf"

    def write(self, command: str = f"{DOWNLOAD} && {WRITE_SCORES}", **execution: Any) -> None:
        settings = {"output_dir": "out", "min_free_gb": 0, **execution}
        write(self.project, command, self.image, execution=settings)
        assert self.project.variables  # makes the project's home folder
        own(self.user.home, self.user.uid)

    def snakemake(self, *arguments: str) -> Finished:
        """The pipeline, started by the user."""
        return self.by_user(*self.project.command(*arguments, *RETRIES))

    def by_user(self, *command: str) -> Finished:
        return self.project.run(*self.user.command(*command, sees=self.sees, groups=self.groups))

    def of_others(self) -> list[str]:
        """What in the user's home belongs to somebody else."""
        return sorted(
            str(path.relative_to(self.user.home))
            for folder in (self.project.folder, self.cache)
            for path in folder.rglob("*")
            if path.lstat().st_uid != self.user.uid
        )


def own(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


@contextlib.contextmanager
def at_the_desk(endpoint: ScriptedEndpoint) -> Iterator[Desk]:
    with other_user() as user:
        project = Project(user.home / "project", endpoint.chat_url)
        project.environment = {"HOME": str(user.home), "HF_HOME": str(user.home / "hf")}
        sees = [Path(sys.executable).resolve().parents[1], Path(sys.prefix), ROOT]
        yield Desk(user, project, BASE_IMAGE, sees, [])


@pytest.fixture
def docker_desk(docker_engine: DockerEngine, endpoint: ScriptedEndpoint) -> Iterator[Desk]:
    """A user of the docker group."""
    try:
        ensure_base_image(docker_engine)
        with at_the_desk(endpoint) as desk:
            socket = Path(docker_engine.host.removeprefix("unix://"))
            desk.sees.append(socket)
            desk.groups.append(socket.stat().st_gid)
            yield desk
    except RigUnavailable as reason:
        unavailable(reason)


@pytest.fixture
def podman_desk(
    docker_engine: DockerEngine, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """A user with a rootless podman, and the image in it."""
    monkeypatch.delenv("CONTAINERS_STORAGE_CONF", raising=False)  # root's, from other tests
    try:
        ensure_base_image(docker_engine)
        with at_the_desk(endpoint) as desk:
            desk.project.environment |= rootless_settings(desk.user.home)
            archive = desk.user.home / "image.tar"
            docker_engine.docker("save", "--output", str(archive), BASE_IMAGE)
            own(desk.user.home, desk.user.uid)
            loaded = subprocess.run(
                desk.user.command("podman", "load", "--quiet", "--input", str(archive)),
                env=os.environ | desk.project.environment,
                cwd=desk.user.home,
                capture_output=True,
                text=True,
            )
            if loaded.returncode:
                raise RigUnavailable(f"rootless podman: {loaded.stderr.strip()[-300:]}")
            archive.unlink()
            desk.image = f"localhost/{BASE_IMAGE}"
            yield desk
    except RigUnavailable as reason:
        unavailable(reason)


def shared_cache(desk: Desk) -> None:
    """A cache with a colleague's file, and one that root has put there before."""
    (desk.cache / "hub").mkdir(parents=True, exist_ok=True)
    for name, uid in (("colleague", COLLEAGUE), ("root", 0)):
        (desk.cache / "hub" / name).write_text("data")
        os.chown(desk.cache / "hub" / name, uid, uid)


@pytest.mark.docker
def test_what_a_root_container_adds_belongs_to_the_caller(docker_desk: Desk) -> None:
    docker_desk.write()
    shared_cache(docker_desk)

    docker_desk.snakemake().check()

    assert (docker_desk.cache / "hub" / "new" / "blob").exists()
    assert docker_desk.of_others() == ["hf/hub/colleague", "hf/hub/root"]


@pytest.mark.docker
@pytest.mark.podman
def test_in_a_rootless_podman_files_belong_to_the_caller(podman_desk: Desk) -> None:
    """Also those of a user of the image's own, which are another user's outside."""
    podman_desk.write(f"{DOWNLOAD}; echo x >{{results}}/of-root && chown 33 {{results}}/of-root && "
                      f"{WRITE_SCORES}")  # fmt: skip

    podman_desk.snakemake("--default-resources", "container_runtime='podman'").check()

    assert (podman_desk.cache / "hub" / "new" / "blob").exists()
    assert podman_desk.of_others() == []


@pytest.mark.docker
def test_a_cache_that_the_container_cannot_write_is_not_used_and_told(docker_desk: Desk) -> None:
    docker_desk.write(f'echo "cache: $HF_HOME"; {WRITE_SCORES}',
                      extra_docker_args=f"--user {docker_desk.user.uid}")  # fmt: skip
    docker_desk.cache.mkdir()
    os.chown(docker_desk.cache, COLLEAGUE, COLLEAGUE)

    output = docker_desk.snakemake().check().output

    assert "cannot write in the Hugging Face cache; not used" in output
    assert "cache: \n" in (docker_desk.project.task("quiz") / "logs/evaluate.log").read_text()


@pytest.mark.docker
def test_a_container_needs_no_more_tools_than_a_process(docker_desk: Desk) -> None:
    """macOS has no flock, timeout, setsid; small images have no ps."""
    # Its folder is as empty as the first one's.
    second = 'grep -q 2 "$SNAKEVAL_RECORD/behind_gateway"'
    twice = f"if {second}; then {WRITE_SCORES}; else false; fi"
    docker_desk.write(f"{DOWNLOAD}; {twice}")
    docker_desk.snakemake().refused()
    tools = docker_desk.user.home / "tools"
    tools.mkdir()
    for name in (*TOOLS, "docker"):
        (tools / name).symlink_to(shutil.which(name) or name)

    ended = docker_desk.by_user("env", f"PATH={tools}", "BASH_COMPAT=3.2", "bash",
                                str(docker_desk.project.task("quiz") / "run.sh"))  # fmt: skip

    assert "published" in ended.check().output
    assert "not found" not in ended.output
    assert docker_desk.of_others() == []


@pytest.mark.docker
def test_an_output_folder_that_containers_cannot_write_is_refused(docker_desk: Desk) -> None:
    """Root without its privileges is what root is on NFS with root squash."""
    docker_desk.write(extra_docker_args="--cap-drop ALL")

    refused = docker_desk.snakemake().refused()

    assert "cannot write in" in refused.output
    assert f'extra_docker_args: "--user {docker_desk.user.uid}:' in refused.output
    assert not docker_desk.project.runs
    assert not list(docker_desk.project.folder.glob("out/.snakeval-probe*"))

    # What it says to do works, and files are the caller's.
    own_user = f"--user {docker_desk.user.uid}:{docker_desk.user.uid}"
    docker_desk.write(WRITE_SCORES, extra_docker_args=f"--cap-drop ALL {own_user}")
    docker_desk.snakemake().check()
    assert docker_desk.of_others() == []


@pytest.mark.docker
def test_a_folder_that_can_no_longer_be_written_is_the_cause(docker_desk: Desk) -> None:
    """By hand nothing is tried before: the container says so itself."""
    docker_desk.write("exit 1")
    docker_desk.snakemake().refused()
    script = docker_desk.project.task("quiz") / "run.sh"
    said = '"extra_args": ["--cap-drop", "ALL"],\n "variables"'
    script.write_text(script.read_text().replace('"variables"', said))

    docker_desk.by_user("bash", str(script))

    assert "user 0 cannot write in the output folder" in cause(docker_desk.project)


@pytest.mark.docker
@pytest.mark.podman
def test_a_podman_without_an_init_program_is_told_before_anything_starts(
    docker_engine: DockerEngine, podman: Podman, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    ensure_base_image(docker_engine)
    image = podman.ensure_image(docker_engine, BASE_IMAGE)
    with_init = Path(podman.environment.get("CONTAINERS_CONF", "/dev/null")).read_text()
    lines = [line for line in with_init.splitlines() if not line.startswith("init_path")]
    lines.insert(lines.index("[engine]") + 1, 'init_path = "/nowhere/catatonit"')
    without = tmp_path / "containers.conf"
    without.write_text("\n".join(lines) + "\n")
    project = Project(tmp_path / "project", endpoint.chat_url, {"CONTAINERS_CONF": str(without)})
    write(project, WRITE_SCORES, image)

    refused = project.snakemake("--default-resources", "container_runtime='podman'").refused()

    assert "podman has no init program: install catatonit" in refused.output
    assert not project.runs
