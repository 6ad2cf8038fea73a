"""A model's server as a job of its own: one for all benchmarks, wherever they run."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import ServedProject

from rig.endpoint import ScriptedEndpoint
from rig.model_server import llama
from rig.pipeline import SUMS, nemo_sums
from rig.slurm_cluster import SlurmCluster
from rig.waiting import PATIENCE

WIDE = {"cpus": 3}
"""Two benchmarks of this width do not fit on one node."""


@pytest.fixture
def project(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[ServedProject]:
    with ScriptedEndpoint(host=slurm_cluster.address) as endpoint:
        yield ServedProject(tmp_path / "project", "", cluster=slurm_cluster, endpoint=endpoint)
    slurm_cluster.clear()


@pytest.mark.docker
def test_one_server_serves_benchmarks_on_two_nodes_and_ends_with_the_last(
    project: ServedProject, nemo_image: str
) -> None:
    # given a real llama.cpp server as deployment, and two benchmarks that need a node each: plain
    # lm-eval, and the NeMo image
    project.configure_tasks(
        llama(), [{**SUMS, "resources": WIDE}, {**nemo_sums(), "resources": WIDE}]
    )
    # when they are evaluated
    said = project.snakemake().check().output
    # then one job has served both, at the address of its node
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    (life,) = project.record["lives"]
    assert (life["loads"], life["restarts"], life["job"]) == (1, 0, project.server_job)
    names = ("snakeval_sums", "mmlu_instruct")
    hosts = {project.status(name)["attempts"][0]["host"] for name in names}
    assert hosts == {"m1", "m2"}
    # and it ended with the last of them
    assert project.record["cause"] == "no benchmark needs it any more"
    assert "server model: stopped (no benchmark needs it any more)" in said
    project.cluster.wait(lambda: not project.cluster.jobs())


def test_a_server_that_slurm_interrupts_comes_back_and_benchmarks_go_on(
    project: ServedProject,
) -> None:
    # given two benchmarks that wait for a server's answers, in a start without retries
    project.configure(
        project.scripted(),
        {"a": 6, "b": 6},
        execution={"partition": "spot", "cpu_partition": "cpu"},
    )
    hold = project.hold()
    with project.started("--retries", "0") as snakemake:
        project.wait_until_asked(2)
        first = project.server_job

        def comes_back() -> None:
            before = len(project.noted("start"))
            project.cluster.wait(lambda: len(project.noted("start")) > before)
            project.wait_until_asked(2)

        # when its time limit is near
        project.cluster.run("scancel", "--signal=USR1", "--batch", first)
        comes_back()
        assert project.record["lives"][0]["job"] == first
        # and it is requeued
        project.cluster.run("scontrol", "requeue", first)
        comes_back()
        assert project.server_job == first
        # and preempted where Slurm does not let it come back
        project.cluster.run("scontrol", "update", f"jobid={first}", "requeue=0")
        node = project.endpoint_now["host"]
        flags = ["--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
        project.cluster.run("sbatch", *flags, "--wrap=sleep 1")
        comes_back()
        hold.unlink()
        # then the benchmarks go on in the same start
        assert snakemake.wait(PATIENCE) == 0, project.log
    assert project.server_job != first
    assert "takes its place" in project.log
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    for name in "ab":
        # one attempt, but where a slow move has taken all the patience of the harness
        assert set(project.states(name)) in ({"published"}, {"interrupted", "published"})
    project.cluster.wait(lambda: not project.cluster.jobs())


def test_without_its_controller_the_last_benchmark_ends_the_server(
    project: ServedProject,
) -> None:
    # given benchmarks under way
    project.configure(project.scripted(idle_timeout=120), {"a": 6, "b": 6})
    hold = project.hold()
    with project.started() as snakemake:
        project.wait_until_asked(2)
        # then `status` says where the server is
        said = project.target("status").check().output
        job, node = project.server_job, project.endpoint_now["host"]
        assert f"server model: job {job} on {node}, running" in said
        # when the controller is killed
        os.kill(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        hold.unlink()
        # then both finish, and the server ends with them
        project.cluster.wait(lambda: not project.cluster.jobs())
    assert project.record["cause"] == "no benchmark needs it any more"
    # and the next start submits nothing
    project.snakemake().check()
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    assert project.server_job == job


def test_what_keeps_a_server_from_coming_up_is_told(project: ServedProject) -> None:
    # given a server that Slurm would not take: refused before anything is submitted
    project.configure(project.scripted(gpus=3), {"a": 3})
    foreseen = project.snakemake("-n").check().output
    assert "a real start would be refused: sbatch (server model): Slurm refuses" in foreseen
    said = project.snakemake().refused().output
    assert "sbatch (server model)" in said
    assert "Slurm refuses the job" in said
    assert not project.runs or not (project.server / "job.json").exists()
    # given one that is never healthy: a failed job with its last lines, and nothing left
    project.configure(project.scripted(), {"a": 3}, execution={"endpoint_readiness_timeout": 2})
    project.folder.joinpath("sick").touch()
    said = project.snakemake().refused().output
    assert "was not healthy after" in said
    assert "the server's weights are loaded" in said
    project.cluster.wait(lambda: not project.cluster.jobs())
    # and by hand: the server and the benchmark are one sbatch each
    project.folder.joinpath("sick").unlink()
    server = project.sbatch(project.server / "sbatch_server.sh")
    project.cluster.wait(lambda: bool(project.endpoint_now))
    project.sbatch(project.run_folder / "sbatch_a.sh")
    project.cluster.wait((project.task("a") / "artifacts").exists)
    project.cluster.run("scancel", server)
    project.cluster.wait(lambda: not project.cluster.jobs())
    assert project.record["cause"] == "stopped by SIGTERM"
    # given one that still waits in the queue: `kill` ends it
    flags = {"deployment": {"sbatch_extra_flags": {"hold": True}}}
    project.configure(project.scripted(), {"a": 3, "b": 3}, execution=flags)
    with project.started() as snakemake:
        project.cluster.wait(lambda: bool(project.cluster.jobs()))
        job = project.server_job
        said = project.target("status").check().output
        assert f"server model: job {job} is in the queue" in said
        project.target("kill").check()
        assert snakemake.wait(PATIENCE) != 0
    assert not project.cluster.jobs()


def test_each_model_of_a_sweep_has_its_server_and_its_judge_as_jobs(project: ServedProject) -> None:
    # given two models, and a benchmark that asks a judge about their answers
    project.configure_judged([llama("a", seed=1), llama("b", seed=2)], llama("judge", seed=3))
    # when they are evaluated
    ended = project.snakemake().check()
    # then each had a job of its own for the model and for the judge, at a node's address
    jobs = set()
    for run in project.runs:
        (row,) = json.loads((run / "results" / "results.json").read_text())["rows"]
        assert row["state"] == "published", ended.output
        for name, model in (("model", row["model"]), ("judge", "judge")):
            server = run / "deployments" / name
            record = json.loads((server / "status.json").read_text())
            assert record["cause"] == "no benchmark needs it any more"
            assert f"serves {model}" in (server / "server.sh").read_text()
            jobs |= {life["job"] for life in record["lives"]}
        command = next((run / "essay").glob("record/*/command.sh")).read_text()
        assert "--judge-model judge" in command
    assert len(jobs) == 4
    # and nothing is left
    project.cluster.wait(lambda: not project.cluster.jobs())


def test_colocated_benchmarks_are_steps_of_the_servers_job(project: ServedProject) -> None:
    # given two benchmarks inside the server's allocation, in a start without retries
    placement = {"placement": "colocated"}
    project.configure(project.scripted(), {"a": 6, "b": 6}, execution=placement)
    hold = project.hold()
    with project.started("--retries", "0") as snakemake:
        project.wait_until_asked(2)
        # then there is one job, on whose node they run
        (job,) = project.cluster.jobs()
        node = project.endpoint_now["host"]
        attempts = [project.status(name)["attempts"][0] for name in "ab"]
        assert {(each["host"], each["job"]) for each in attempts} == {(node, job)}
        # when the job is requeued
        project.cluster.run("scontrol", "requeue", job)
        before = len(project.noted("start"))
        project.cluster.wait(lambda: len(project.noted("start")) > before)
        project.wait_until_asked(2)
        # and one benchmark is ended by a person
        project.target("kill", "--config", "task=b").check()
        hold.unlink()
        # then the other one is published, and the server ends
        assert snakemake.wait(PATIENCE) != 0, project.log
    assert [row["state"] for row in project.rows()] == ["published", "cancelled"]
    assert project.record["cause"] == "no benchmark needs it any more"
    project.cluster.wait(lambda: not project.cluster.jobs())
    # and the next start continues what was ended
    project.snakemake().check()
    assert [row["state"] for row in project.rows()] == ["published"] * 2
