"""What a harness does in its container, as root, with everything that it sees: real Docker."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.docker_engine import DockerEngine
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
FINE = """printf '{"scores": {"a": 1}}' > /results/results.json"""


@pytest.fixture
def engine(docker_engine: DockerEngine) -> DockerEngine:
    ensure_base_image(docker_engine)
    return docker_engine


def harness(folder: Path, command: str, **sections: Any) -> Task:
    """A task of a command that runs in a container."""
    own = {"kind": "command", "image": BASE_IMAGE, "command": command, "tasks": {"quiz": None}}
    content = {
        "execution": {"output_dir": str(folder / "out"), "hf_home": False},
        "target": {
            "api_endpoint": {"url": "http://nobody.invalid/v1/chat/completions", "model_id": "m"}
        },
        "harnesses": {"own": own},
        "evaluation": {"tasks": ["own.quiz"]},
        **sections,
    }
    folder.mkdir(exist_ok=True)
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks[0]


def run(task: Task, engine: DockerEngine) -> subprocess.CompletedProcess[str]:
    task.paths.dir.mkdir(parents=True, exist_ok=True)
    write_library(task.paths.dir.parent / "lib")
    task.paths.spec.write_text(spec_text(task))
    task.paths.script.write_text(render(task, "docker", BASE_IMAGE), encoding="utf-8")
    return subprocess.run(
        ["bash", task.paths.script],
        env={**os.environ, "DOCKER_HOST": engine.host},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def said(task: Task, name: str = "said") -> str:
    return (task.paths.work(task.digest) / name).read_text()


def test_a_mark_that_a_harness_forges_counts_for_nothing(
    tmp_path: Path, engine: DockerEngine
) -> None:
    forge = "mkdir -p /results/snakeval; touch /results/snakeval/complete /snakeval/record/complete"
    task = harness(tmp_path, f"{forge}; {FINE}; exit 1")

    for _ in range(2):
        ended = run(task, engine)
        assert ended.returncode == 1, ended.stdout

    assert not task.published
    assert not task.paths.artifacts.exists()


def test_a_retry_writes_through_no_link(tmp_path: Path, engine: DockerEngine) -> None:
    victim = tmp_path / "authorized_keys"
    victim.write_text("mine\n")
    host_folder = tmp_path / "host_folder"
    host_folder.mkdir()
    names = ("command.sh", "check.json", "check_spec.json", "run_config.yaml", "complete")
    links = "; ".join(f"ln -sfn {victim} /results/snakeval/{name}" for name in names)
    command = (
        f"mkdir -p /results/snakeval; {links}; ln -sfn {victim} /results/results.json;"
        f" ln -sfn {host_folder} /results/cache; mv /results/snakeval /results/old;"
        f" ln -sfn {host_folder} /results/snakeval; exit 1"
    )
    task = harness(tmp_path, command)

    for _ in range(2):
        assert run(task, engine).returncode == 1

    assert victim.read_text() == "mine\n"
    assert list(host_folder.iterdir()) == []


def test_what_is_ours_cannot_be_written_from_inside(tmp_path: Path, engine: DockerEngine) -> None:
    tries = "for f in command.sh check_spec.json new; do echo x > /snakeval/record/$f; done"
    task = harness(tmp_path, f"({tries}; mount -o remount,rw /snakeval/record) 2>&1; {FINE}")

    ended = run(task, engine)

    assert ended.returncode == 0, ended.stdout
    assert "echo x" in (task.paths.record(task.digest) / "command.sh").read_text()
    assert not (task.paths.record(task.digest) / "new").exists()


def test_a_container_has_no_rights_that_nothing_needs_unless_they_are_given(
    tmp_path: Path, engine: DockerEngine
) -> None:
    look = "grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status > /results/said"
    plain = harness(tmp_path / "plain", f"{look}; {FINE}")
    given = harness(
        tmp_path / "given",
        f"{look}; {FINE}",
        execution={
            "output_dir": str(tmp_path / "given" / "out"),
            "hf_home": False,
            "extra_docker_args": "--cap-add NET_RAW --security-opt no-new-privileges=false",
        },
    )
    (tmp_path / "given").mkdir(exist_ok=True)

    for task in (plain, given):
        ended = run(task, engine)
        assert ended.returncode == 0, ended.stdout

    # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID
    assert said(plain).split() == ["CapBnd:", "00000000000000fb", "NoNewPrivs:", "1"]
    assert said(given).split() == ["CapBnd:", "00000000000020fb", "NoNewPrivs:", "0"]


def test_set_uid_files_are_told_and_made_harmless(tmp_path: Path, engine: DockerEngine) -> None:
    command = "cp /bin/sh /results/su && chmod 4755 /results/su; mknod /results/null c 1 3"
    task = harness(tmp_path, f"({command}) 2>/dev/null; {FINE}")

    ended = run(task, engine)

    assert ended.returncode == 0, ended.stdout
    assert "'su' was a set-uid or set-gid file" in ended.stdout
    assert not (task.paths.work(task.digest) / "su").stat().st_mode & 0o6000
    assert not (task.paths.work(task.digest) / "null").exists()


def test_variables_of_the_client_and_the_shell_reach_the_container_only(
    tmp_path: Path, engine: DockerEngine
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    values = {"DOCKER_HOST": "tcp://nowhere", "LD_PRELOAD": "/nowhere.so", "scratch": str(victim),
              "IFS": "x", "BASH_ENV": "/nowhere", "python": "/nowhere", "two": "a\nb"}  # fmt: skip
    given = {name: f"lit:{value}" for name, value in values.items() if name != "two"}
    task = harness(
        tmp_path, f"env -0 > /results/said 2>/dev/null; {FINE}",
        env_vars={**given, "FROM": "host:MULTILINE"},
    )  # fmt: skip
    os.environ["MULTILINE"] = values["two"]
    try:
        ended = run(task, engine)
    finally:
        del os.environ["MULTILINE"]

    assert ended.returncode == 0, ended.stdout
    assert victim.is_dir()
    found = dict(entry.split("=", 1) for entry in said(task).split("\0") if entry)
    assert {name: found.get(name) for name in ("DOCKER_HOST", "scratch", "python", "FROM")} == {
        **{name: values[name] for name in ("DOCKER_HOST", "scratch", "python")}, "FROM": "a\nb",
    }  # fmt: skip


def test_names_that_hold_anything_survive(tmp_path: Path, engine: DockerEngine) -> None:
    name = shlex.quote("/results/new\nline $(touch x)")
    task = harness(tmp_path, f"echo 1 > {name}; {FINE}")

    assert run(task, engine).returncode == 0
    assert (task.paths.work(task.digest) / "new\nline $(touch x)").read_text() == "1\n"
