"""However a job is ended, twenty seconds later nothing of it is left."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

import psutil
import pytest
from on_slurm import ClusterProject, containers

from rig.pipeline import nemo_sums

WITHIN = 20.0
TASK = "mmlu_instruct"


def scancel(project: ClusterProject, _: "subprocess.Popen[bytes]") -> None:
    project.cluster.run("scancel", project.job(TASK))


def scancel_kill(project: ClusterProject, _: "subprocess.Popen[bytes]") -> None:
    project.cluster.run("scancel", "--full", "--signal=KILL", project.job(TASK))


def kill_the_processes(project: ClusterProject, _: "subprocess.Popen[bytes]") -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == project.job(TASK):
                process.kill()


def ctrl_c(_: ClusterProject, snakemake: "subprocess.Popen[bytes]") -> None:
    os.killpg(snakemake.pid, signal.SIGINT)


def snakemake_kill(project: ClusterProject, _: "subprocess.Popen[bytes]") -> None:
    project.target("kill", "--config", f"run={project.run_folder.name}").check()


ENDS = (scancel, scancel_kill, kill_the_processes, ctrl_c, snakemake_kill)


@pytest.mark.docker
def test_no_way_to_end_a_job_leaves_anything(project: ClusterProject, nemo_image: str) -> None:
    """One after the other on one evaluation in a real container; each continues the former."""
    project.write(tasks=[nemo_sums()], params={"limit_samples": 60, "parallelism": 2})
    project.endpoint.latency = 0.5
    for end in ENDS:
        already = project.endpoint.answers.total()
        with project.started("--retries", "0") as snakemake:
            project.endpoint.wait_for(
                lambda already=already: project.endpoint.answers.total() >= already + 4,  # type: ignore[misc]
                120,
            )
            with project.endpoint.holding():
                end(project, snakemake)
                wait_until_gone(project, end)
            assert snakemake.wait(60) != 0, end.__name__
    project.endpoint.latency = 0
    project.snakemake().check()
    assert len(project.endpoint.requests) == 60
    assert project.endpoint.requests.total() <= 60 + 2 * len(ENDS)


def wait_until_gone(project: ClusterProject, end: Callable[..., None]) -> None:
    def left() -> list[str]:
        return [*containers(project.run_folder), *project.jobs()]

    try:
        project.cluster.wait(lambda: not left(), WITHIN)
    except TimeoutError:
        pytest.fail(f"{end.__name__}: left after {WITHIN:g} s: {left()}")
