"""Slurm refuses, is full, or does not answer: three things. None fails a benchmark that could run,
and none submits one twice."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from on_slurm import ClusterProject

from rig.slurm_cluster import ACCOUNT
from rig.waiting import PATIENCE

ON_SLURM = {"type": "slurm", "account": ACCOUNT}
THEIRS = {
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_CLUSTERS": "elsewhere",
    "SBATCH_ACCOUNT": "nobody",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_QOS": "none",
    "SQUEUE_STATES": "completed",
    "SQUEUE_USERS": "nobody",
    "SQUEUE_FORMAT": "%i",
    "SALLOC_PARTITION": "nowhere",
}
"""Variables with which a person has made Slurm's commands comfortable."""


def answers_within(project: ClusterProject, seconds: int) -> None:
    """The pipeline's Slurm commands wait no longer than this for an answer."""
    here = Path(os.environ["SLURM_CONF"])
    conf = project.folder / "slurm.conf"
    conf.parent.mkdir(parents=True, exist_ok=True)
    conf.write_text(here.read_text() + f"MessageTimeout={seconds}\n")
    project.environment["SLURM_CONF"] = str(conf)


def hangs_at_the_first_submission(project: ClusterProject) -> None:
    """Slurm's controller does, after it was connected to and before it reads: what was submitted
    then is a job as soon as it goes on."""
    folder = project.folder / "bin"
    folder.mkdir(parents=True)
    pid = project.cluster.pid_of("slurmctld")
    (folder / "sbatch").write_text(
        "#!/bin/sh\n"
        "case $* in *--test-only*) ;; *sbatch_*)\n"
        f"  mkdir {folder}/once 2>/dev/null && kill -STOP {pid} ;;\n"
        "esac\n"
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    (folder / "sbatch").chmod(0o755)
    project.environment["PATH"] = f"{folder}:{os.environ['PATH']}"


def jobs_of(project: ClusterProject, *names: str) -> dict[str, int]:
    """How many jobs Slurm has seen of each benchmark of this project."""
    seen = project.cluster.run("squeue", "--noheader", "--all", "--states=all", "--format=%j|%o")
    here = str(project.run_folder)
    lines = [line.partition("|")[0] for line in seen.splitlines() if here in line]
    return {name: sum(line.startswith(f"{name}.") for line in lines) for name in names}


def test_all_of_twelve_run_where_five_may_be_submitted_whatever_the_user_has_set(
    project: ClusterProject,
) -> None:
    # given a limit of jobs, and variables of the user's that ask for other things
    names = [f"t{number}" for number in range(12)]
    execution = ON_SLURM | {"partition": "hidden", "cluster": "rig", "walltime": "0:20:00"}
    project.write_benchmarks(dict.fromkeys(names, 2), execution=execution)
    project.environment |= THEIRS
    limit = ("sacctmgr", "--immediate", "modify", "user", "root", "set")
    project.cluster.run(*limit, "MaxSubmitJobs=5")
    try:
        # when they are evaluated
        ended = project.snakemake("--retries", "0").check().output
    finally:
        project.cluster.run(*limit, "MaxSubmitJobs=-1")
    # then all have run, each in one job, and it was told why they waited
    assert [row["state"] for row in project.rows()] == ["published"] * 12
    assert jobs_of(project, *names) == dict.fromkeys(names, 1)
    assert "Slurm takes no more jobs now (sbatch: AssocMaxSubmitJobLimit" in ended
    # with what the config says, and nothing of the user's
    shown = project.cluster.run("scontrol", "--all", "--oneliner", "show", "job", project.job("t0"))
    for fact in (f"Account={ACCOUNT}", "Partition=hidden", "TimeLimit=00:20:00"):
        assert fact in shown
    assert "SBATCH_ACCOUNT, SBATCH_PARTITION" in ended
    # and the script says which cluster it is for, so that later questions are about that one
    (run,) = {path.parent for path in project.folder.glob("out/*/sbatch_t0.sh")}
    assert "#SBATCH --clusters rig\n" in (run / "sbatch_t0.sh").read_text()
    assert "12 published" in project.target("status").check().output


def test_a_controller_that_is_away_fails_nothing_and_doubles_nothing(
    project: ClusterProject,
) -> None:
    # given a controller of Slurm's that is away when the start is made
    answers_within(project, 2)
    project.write_benchmarks({"a": 4, "b": 4}, execution=ON_SLURM)
    hangs_at_the_first_submission(project)
    with project.cluster.hung("slurmctld") as goes_on, project.started("--retries", "0") as started:
        project.endpoint.wait_for(lambda: "Slurm does not answer" in project.log)
        # when it comes back, and goes away again while the first job is submitted
        goes_on()
        with project.endpoint.holding():
            project.endpoint.wait_for(lambda: "the queue is looked at" in project.log)
            goes_on()
            # and once more while both are at work
            for name in "ab":
                project.endpoint.wait_for(lambda name=name: project.asked(name))  # type: ignore[misc]
            with project.cluster.hung("slurmctld"):
                project.endpoint.wait_for(lambda: "; the jobs go on" in project.log)
                # then they end meanwhile
                project.endpoint.held = False
                for name in "ab":
                    project.endpoint.wait_for((project.task(name) / "artifacts").exists)
        # and so does the start, when it is back again
        assert started.wait(PATIENCE) == 0, project.log
    assert project.log.count("Slurm answers again") >= 2
    for name in "ab":
        assert project.states(name) == ["published"]
        assert list(project.asked(name).values()) == [1] * 4
    assert jobs_of(project, "a", "b") == {"a": 1, "b": 1}, project.log


@pytest.mark.long
def test_a_run_is_given_to_one_job_though_nobody_answers_its_submission(
    project: ClusterProject,
) -> None:
    # given a controller of Slurm's that hears the submission, and does not answer
    answers_within(project, 2)
    project.write_benchmarks({"a": 2}, execution=ON_SLURM)
    hangs_at_the_first_submission(project)
    pid = project.cluster.pid_of("slurmctld")
    with project.started("--config", "controller=job") as started:
        project.endpoint.wait_for(lambda: "Slurm does not answer" in project.log)
        os.kill(pid, signal.SIGCONT)
        assert started.wait(PATIENCE) == 0, project.log
    project.cluster.wait(lambda: not project.cluster.jobs())
    # then the job that it has made drives the run, alone
    assert len(list(project.run_folder.glob("controller-*.log"))) == 1
    assert jobs_of(project, "controller", "a") == {"controller": 1, "a": 1}
    assert project.states("a") == ["published"]


def test_an_accounting_that_is_away_keeps_nothing_from_running(project: ClusterProject) -> None:
    project.write_benchmarks({"one": 2}, execution=ON_SLURM)
    with project.cluster.hung("slurmdbd"):
        project.snakemake("--retries", "0").check()
    assert project.states("one") == ["published"]


@pytest.mark.long
def test_two_minutes_without_slurmctld_cost_nothing_but_time(project: ClusterProject) -> None:
    # given benchmarks of which some run, and others wait for their turn
    names = [f"t{number}" for number in range(6)]
    project.write_benchmarks(dict.fromkeys(names, 6), threads=1, execution=ON_SLURM)
    project.endpoint.latency = 5
    with project.started("--retries", "0", "--jobs", "3") as started:
        project.endpoint.wait_for(lambda: project.endpoint.requests.total() >= 3)
        # when slurmctld takes connections for two minutes and answers nobody
        began = time.monotonic()
        with project.cluster.hung("slurmctld"):
            project.endpoint.wait_for(lambda: time.monotonic() - began > 120)
        project.endpoint.latency = 0
        assert started.wait(PATIENCE) == 0, project.log
    # then each has run once, in one job
    assert "Slurm does not answer" in project.log and "Slurm answers again" in project.log
    for name in names:
        assert project.states(name) == ["published"]
        assert list(project.asked(name).values()) == [1] * 6
    assert jobs_of(project, *names) == dict.fromkeys(names, 1)
