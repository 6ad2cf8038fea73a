"""However a job is ended, twenty seconds later nothing of it is left."""

import contextlib
import os
import signal
import subprocess

import psutil
import pytest
from on_slurm import ClusterProject, containers

from rig.pipeline import nemo_sums
from rig.promised import within
from rig.waiting import PATIENCE

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


NEMO = "mmlu_instruct"
ENDS_OF_A_JOB = {NEMO: scancel, "killed": scancel_kill, "broken": kill_the_processes}
ENDS_OF_A_RUN = (ctrl_c, snakemake_kill)
AGAIN, QUESTIONS, THREADS = "killed", 400, 2


@pytest.mark.docker
def test_no_way_to_end_a_job_leaves_anything(project: ClusterProject, nemo_image: str) -> None:
    """Evaluations in containers: three jobs are ended one by one (one of them is NeMo, which takes
    its time after a TERM), then one of them again by the ends of a whole run."""
    project.write_benchmarks(
        {"killed": QUESTIONS, "broken": QUESTIONS},
        THREADS,
        image=nemo_image,
        also=[nemo_sums(limit_samples=60, parallelism=THREADS)],
    )
    endpoint = project.endpoint
    endpoint.latency = 2
    with project.started("--retries", "0") as snakemake:
        for name in ("killed", "broken"):
            project.wait_for_answers(name, 2)
        endpoint.wait_for(lambda: any(is_nemos(prompt) for prompt in endpoint.answers))
        with endpoint.holding():
            for name, end in ENDS_OF_A_JOB.items():
                end(project, name)
                wait_until_gone(project, end.__name__, name)
        assert snakemake.wait(PATIENCE) != 0
    endpoint.latency = 0.3
    for end_of_run in ENDS_OF_A_RUN:
        already = project.answered(AGAIN)
        with project.started("--retries", "0", "--config", f"tasks={AGAIN}") as snakemake:
            project.wait_for_answers(AGAIN, already + 4)
            with endpoint.holding():
                end_of_run(project, snakemake)
                wait_until_gone(project, end_of_run.__name__)
            assert snakemake.wait(PATIENCE) != 0, end_of_run.__name__
    # and it continues each time
    endpoint.latency = 0
    project.snakemake("--config", f"tasks={AGAIN}").check()
    asked = project.asked(AGAIN)
    assert len(asked) == QUESTIONS
    assert sum(asked.values()) <= QUESTIONS + THREADS * 3


def is_nemos(prompt: str) -> bool:
    return not prompt.startswith(("killed:", "broken:"))


def wait_until_gone(project: ClusterProject, how: str, task: str = "") -> None:
    """Of one task, or of everything."""

    def left() -> list[str]:
        names = {job: job.split()[2].rpartition(".")[0] for job in project.jobs()}
        jobs = [job for job, name in names.items() if task in ("", name)]
        return [*containers(project.run_folder, task), *jobs]

    within(WITHIN, lambda: not left(), told=lambda: f"{how}: left is {left()}")
