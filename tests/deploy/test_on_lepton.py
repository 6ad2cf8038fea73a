"""The model's server as a Lepton endpoint, benchmarks here: the real SDK, a real start."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from deployed import OWN, SCRIPTED, Deployed, quiz

from rig.lepton_service import LeptonService
from rig.pipeline import MODEL
from rig.waiting import PATIENCE, wait_until

COMMAND = OWN["own"]["command"] + " --key-name {api_key_name}"
WITH_KEY = {"own": {**OWN["own"], "command": COMMAND}}
EXECUTION = {"type": "lepton", "output_dir": "out", "min_free_gb": 0}


@pytest.fixture
def lepton(request: pytest.FixtureRequest) -> Iterator[LeptonService]:
    """A Lepton with the newer family of the endpoint API."""
    with LeptonService(new_deployment_api=True) as service:
        yield service


@pytest.fixture
def project(project: Deployed, lepton: LeptonService) -> Deployed:
    """A project whose start has the credentials."""
    project.environment |= {**lepton.environment, "SNAKEVAL_LEPTON_POLL": "0.2"}
    project.folder.mkdir()
    return project


def configure(project: Deployed, *arguments: str, tasks: int = 2) -> None:
    """The scripted server as an endpoint, steered by files in the project's folder."""
    folder = project.folder
    files = f"--log {folder}/server-starts --sick-while {folder}/sick --hold-while {folder}/hold"
    deployment: dict[str, Any] = {
        "type": "generic",
        "image": "registry.example/scripted:1",
        "command": " ".join(
            [f"exec {sys.executable} {SCRIPTED} --port {{port}} {files}", *arguments]
        ),
        "served_model_name": MODEL,
        "lepton_config": {"resource_shape": "cpu.small"},
    }
    project.configure(
        deployment,
        [quiz(seed=number) for number in range(tasks)],
        execution=EXECUTION,
        harnesses=WITH_KEY,
    )


def crash(project: Deployed) -> None:
    """As when the machine loses its power: nobody has the time to delete anything."""
    found = [
        each
        for each in psutil.process_iter(["cmdline", "cwd"])
        if each.pid != os.getpid()
        and "scripted_server" not in " ".join(each.info["cmdline"] or [])
        and (
            str(project.folder) in " ".join(each.info["cmdline"] or [])
            or each.info["cwd"] == str(project.folder)
        )
    ]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for each in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)


def test_one_endpoint_serves_all_benchmarks_and_is_deleted_after_the_last(
    project: Deployed, lepton: LeptonService
) -> None:
    # given two benchmarks, and an endpoint that lets in only who has its token
    configure(project)
    # when they are evaluated
    project.snakemake().check()
    # then both are published, by one endpoint that was created once
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    assert len(lepton.deployments.created) == 1
    (life,) = project.record["lives"]
    assert (life["loads"], life["restarts"]) == (1, 0) and life["seconds_in_use"] > 0
    # and nothing is left at Lepton or here; no file has the token
    wait_until(lambda: not lepton.deployments.alive and not project.leftovers())
    assert not lepton.secrets
    (token,) = lepton.secrets_made
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if token.encode() in path.read_bytes()]


def test_one_that_does_not_come_up_is_a_failed_job_with_its_log(
    project: Deployed, lepton: LeptonService
) -> None:
    configure(project, "--exit-code", "3", tasks=1)
    said = project.snakemake().refused().output
    assert "is in the state Error" in said
    assert "no GPU was found, says the server" in said
    wait_until(lambda: not lepton.deployments.alive and not project.leftovers())
    assert not lepton.secrets


def test_interrupted_it_is_deleted(project: Deployed, lepton: LeptonService) -> None:
    configure(project, tasks=1)
    project.file("hold").touch()
    with project.started() as snakemake:
        wait_until(lambda: project.noted("asked"))
        os.killpg(snakemake.pid, signal.SIGINT)
        snakemake.wait(PATIENCE)
        wait_until(lambda: not lepton.deployments.alive)
    project.file("hold").unlink()
    wait_until(lambda: not project.leftovers())
    assert not lepton.secrets


def test_what_a_crash_leaves_is_deleted_by_kill_and_by_the_next_start(
    project: Deployed, lepton: LeptonService
) -> None:
    # given a machine that crashed with a benchmark under way
    configure(project, tasks=1)
    project.file("hold").touch()
    with project.started():
        wait_until(lambda: project.noted("asked"))
        crash(project)
    (orphan,) = lepton.deployments.alive
    # when its run is killed
    told = " ".join(project.target("status").output.split())
    assert f"the Lepton endpoint {orphan.name} is still there" in told
    said = project.target("kill").check().output
    # then it says what it has ended, and it is gone
    assert f"the Lepton endpoint {orphan.name}" in said
    assert not lepton.deployments.alive and not lepton.secrets
    # when the same happens again, and the run is started anew
    with project.started():
        wait_until(lambda: len(lepton.deployments.alive) == 1 and project.noted("asked") == 2)
        crash(project)
    (orphan,) = lepton.deployments.alive
    project.file("hold").unlink()
    project.snakemake().check()
    # then it is published, by an endpoint of that start, and none is left
    assert project.rows()[0]["state"] == "published"
    assert len(lepton.deployments.created) == 3
    wait_until(lambda: not lepton.deployments.alive and not project.leftovers())
    assert not lepton.secrets
