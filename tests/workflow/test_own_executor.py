"""A fourth executor comes from outside, by an entry point (docs/custom-executor.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from quiz_project import quiz, target, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import QUICK_LM_EVAL, ROOT, SUMS, Project, nemo_sums
from rig.waiting import wait_until

EXAMPLE = ROOT / "config" / "examples" / "own_executor"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's distribution, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "example")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*command, "--no-build-isolation", "--target", str(folder), str(source)], check=True
    )
    return folder


@pytest.fixture
def project(endpoint: ScriptedEndpoint, installed: Path, tmp_path: Path) -> Project:
    """A project that is evaluated with the example's profile."""
    return Project(
        tmp_path / "project",
        endpoint.chat_url,
        environment={
            "PYTHONPATH": os.pathsep.join([str(QUICK_LM_EVAL), str(installed)]),
            "DETACHED_HOME": str(tmp_path / "service"),
            "DOCKER_HOST": f"unix://{tmp_path}/nowhere",  # not needed, and not asked for
        },
        profile=str(EXAMPLE),
    )


def jobs_of(project: Project) -> list[str]:
    """The ids of the jobs that the service was ever given."""
    home = Path(project.environment["DETACHED_HOME"])
    return sorted(folder.name for folder in home.iterdir()) if home.exists() else []


def processes_of(project: Project) -> list[int]:
    """Processes of the service that still run."""
    home = project.environment["DETACHED_HOME"]
    return [
        process.pid
        for process in psutil.process_iter(["environ", "status"])
        if (process.info["environ"] or {}).get("DETACHED_HOME") == home
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def test_the_demo_runs_through_it(project: Project) -> None:
    project.folder.mkdir()
    words = ("snakemake", "-s", str(project.snakefile), "--profile", str(EXAMPLE))
    project.run(*words).check()
    runs = list((project.folder / "results").glob("20*"))
    assert len(list(runs[0].glob("*/published/*"))) == 3
    assert len(jobs_of(project)) == 3


def test_status_and_kill_know_its_jobs_and_the_next_start_continues(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given two benchmarks at work
    write(project, [quiz(seed=1), quiz(seed=2)])
    with project.started() as snakemake, endpoint.holding():
        endpoint.wait_until_asked(2)
        wait_until(lambda: len(jobs_of(project)) == 2)
        # then `status` names their jobs
        said = target(project, "status").check().output
        first, second = jobs_of(project)
        assert f"job {first} runs on this machine" in said
        assert f"job {second} runs on this machine" in said
        # and when the run is killed nothing of it is left
        told = target(project, "kill", "--config", f"run={project.run_folder.name}").check().output
        assert f"ended job {first} (quiz" in told
        assert f"ended job {second} (quiz" in told
        snakemake.wait()
    wait_until(lambda: not processes_of(project))
    # when it is started again
    project.snakemake().check()
    # then all is published, and the record says by whom
    assert {row["state"] for row in project.rows()} == {"published"}
    last = project.status("quiz")["attempts"][-1]
    assert last["executor"] == "detached"
    assert last["job"] in jobs_of(project)


def test_it_serves_a_model_and_nothing_is_left(project: Project) -> None:
    # given a deployment, and a benchmark of its model
    serve = ROOT / "tests" / "deploy" / "scripted_server.py"
    write(
        project,
        [quiz(seed=1)],
        target={},
        deployment={
            "type": "process",
            "command": f"{sys.executable} {serve} --port {{port}}",
            "served_model_name": "test-model",
        },
    )
    # when it is evaluated
    ended = project.snakemake().check()
    # then the server was a job of the service, as the benchmark was, and both have ended
    assert len(jobs_of(project)) == 2
    assert "1 of 1 benchmarks published" in ended.output
    assert (project.run_folder / "deployments" / "model" / "place").read_text() == "detached\n"
    wait_until(lambda: not processes_of(project))


def test_without_its_package_a_profile_of_it_is_refused_in_a_sentence(project: Project) -> None:
    project.write([SUMS])
    project.environment["PYTHONPATH"] = str(QUICK_LM_EVAL)
    assert "detached" in project.snakemake().refused().output


def test_an_executor_with_other_machines_needs_no_container_engine_here(project: Project) -> None:
    # given any executor plugin, nobody's of this pipeline, a benchmark in a container, no Docker
    project.profile = str(ROOT / "config" / "examples" / "custom_executor")
    project.write([nemo_sums()])
    # then a dry run says what the nodes must have, and sees nothing that a start would refuse
    said = project.snakemake("-n").check().output
    assert "the nodes must have it" in said
    assert "would be refused" not in said
    # and a start comes to the point where its first job is submitted, which fails here
    submit = "touch submitted; exit 7 #"
    ended = project.snakemake("--cluster-generic-submit-cmd", submit, "--retries", "0")
    assert "the nodes must have it" in ended.refused().output
    assert (project.folder / "submitted").exists()
