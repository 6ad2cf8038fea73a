"""A server does not end as idle while benchmarks that need it wait in the queue."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import ServedProject

from rig.endpoint import ScriptedEndpoint
from rig.slurm_cluster import SlurmCluster


@pytest.fixture
def project(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[ServedProject]:
    with ScriptedEndpoint(host=slurm_cluster.address) as endpoint:
        yield ServedProject(tmp_path / "project", "", cluster=slurm_cluster, endpoint=endpoint)
    slurm_cluster.clear()


def test_a_server_waits_for_queued_benchmarks_with_and_without_a_controller(
    project: ServedProject,
) -> None:
    # given a server that ends when it is idle for a second, and benchmarks that wait in the queue
    flags = {"hold": True}
    execution = {"sbatch_extra_flags": flags, "deployment": {"sbatch_extra_flags": {"hold": False}}}
    project.configure(project.scripted(idle_timeout=1), {"a": 3, "b": 3}, execution=execution)

    def queued() -> int | None:
        life = project.record["lives"][-1]
        return life["queued"] if life["seconds_idle"] > 1 else None

    with project.started() as snakemake:
        project.cluster.wait(lambda: bool(project.endpoint_now))
        project.cluster.wait(lambda: len(project.cluster.jobs("PENDING")) == 2)
        project.cluster.wait(lambda: queued() == 2)
        # then it waits with them, and says so
        said = project.target("status").check().output
        assert "server model: idle, waiting for 2 queued benchmarks" in said
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
    # when nobody drives the run any more: what is in the queue counts
    (project.run_folder / "controller.json").unlink()
    project.cluster.run("scancel", project.job("a"))
    project.cluster.wait(lambda: queued() == 1)
    assert project.endpoint_now
    # and when nothing is, it ends
    project.cluster.run("scancel", project.job("b"))
    project.cluster.wait(lambda: not project.cluster.jobs())
    assert project.record["cause"] == "idle for 1 s"
    (life,) = project.record["lives"]
    assert life["seconds_in_use"] == 0
    # and the next start runs both
    released = json.loads(json.dumps(execution))
    released["sbatch_extra_flags"] = {}
    project.configure(project.scripted(idle_timeout=1), {"a": 3, "b": 3}, execution=released)
    project.snakemake().check()
    assert [row["state"] for row in project.rows()] == ["published"] * 2


def test_in_a_cluster_of_whole_nodes_benchmarks_are_steps_of_their_servers_job(
    project: ServedProject,
) -> None:
    # given jobs that each would take a node
    execution = {"sbatch_extra_flags": {"exclusive": True}}
    project.configure(project.scripted(), {"a": 3, "b": 3}, execution=execution)
    why = "run inside the job of their server 'model': with sbatch_extra_flags.exclusive"
    # when it is looked at, and run
    assert f"auto: 2 benchmarks {why}" in project.snakemake("-n").check().output
    assert f"auto: 2 benchmarks {why}" in project.snakemake().check().output
    # then there was one job, which had all of the node's memory
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    jobs = {project.status(name)["attempts"][0]["job"] for name in "ab"}
    assert jobs == {project.server_job}
    job = project.cluster.run("scontrol", "--oneliner", "show", "job", project.server_job)
    assert "NumCPUs=4" in job and "MinMemoryNode=0" in job
    # and where somebody insists on jobs of their own, it is told what that may cost
    project.configure(
        project.scripted(), {"c": 3, "d": 3}, execution=execution | {"placement": "separate"}
    )
    said = project.snakemake("-n").check().output
    assert "2 benchmarks take a whole node each (up to 8 node-hours" in said
