"""However a job is ended, twenty seconds later nothing of it is left."""

import contextlib
import os
import signal
import subprocess

import psutil
import pytest
from on_slurm import ClusterProject, containers

from rig.pipeline import nemo_sums

WITHIN = 20.0


def scancel(project: ClusterProject, task: str) -> None:
    project.cluster.run("scancel", project.job(task))


def scancel_kill(project: ClusterProject, task: str) -> None:
    project.cluster.run("scancel", "--full", "--signal=KILL", project.job(task))


def kill_the_processes(project: ClusterProject, task: str) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == project.job(task):
                process.kill()


def ctrl_c(_: ClusterProject, snakemake: "subprocess.Popen[bytes]") -> None:
    os.killpg(snakemake.pid, signal.SIGINT)


def snakemake_kill(project: ClusterProject, _: "subprocess.Popen[bytes]") -> None:
    project.target("kill", "--config", f"run={project.run_folder.name}").check()


TASKS = {"mmlu_instruct": scancel, "mmlu_instruct.1": scancel_kill}
TASKS["mmlu_instruct.2"] = kill_the_processes
AGAIN = "mmlu_instruct.1"


@pytest.mark.docker
def test_no_way_to_end_a_job_leaves_anything(project: ClusterProject, nemo_image: str) -> None:
    """Evaluations in real containers: three jobs are ended one by one, then one of them again by
    the ends of a whole run; it continues each time."""
    sizes = range(60, 60 + len(TASKS))  # the same questions, but benchmarks of their own
    project.write(tasks=[nemo_sums(limit_samples=size, parallelism=2) for size in sizes])
    endpoint = project.endpoint
    endpoint.latency = 0.5
    with project.started("--retries", "0") as snakemake:
        endpoint.wait_for(
            lambda: sum(count == len(TASKS) for count in endpoint.answers.values()) >= 2, 180
        )
        with endpoint.holding():
            for name, end in TASKS.items():
                end(project, name)
                wait_until_gone(project, end.__name__, name)
        assert snakemake.wait(60) != 0
    asked_before = endpoint.requests.total()
    for end_of_run in (ctrl_c, snakemake_kill):
        already = endpoint.answers.total()
        with project.started("--retries", "0", "--config", f"tasks={AGAIN}") as snakemake:
            endpoint.wait_for(
                lambda already=already: endpoint.answers.total() >= already + 4,  # type: ignore[misc]
                120,
            )
            with endpoint.holding():
                end_of_run(project, snakemake)
                wait_until_gone(project, end_of_run.__name__)
            assert snakemake.wait(60) != 0, end_of_run.__name__
    endpoint.latency = 0
    project.snakemake("--config", f"tasks={AGAIN}").check()
    assert project.states(AGAIN)[-1] == "published"
    # and what it had in the beginning, and what it got between two ends, was not asked again
    assert endpoint.requests.total() - asked_before <= 61 - 2 + 2 * 2


def wait_until_gone(project: ClusterProject, how: str, task: str = "") -> None:
    """Of one task, or of everything."""

    def left() -> list[str]:
        jobs = [job for job in project.jobs() if f" {task}." in job or not task]
        return [*containers(project.run_folder, task), *jobs]

    try:
        project.cluster.wait(lambda: not left(), WITHIN)
    except TimeoutError:
        pytest.fail(f"{how}: left after {WITHIN:g} s: {left()}")
