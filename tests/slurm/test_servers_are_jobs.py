"""A model's server as a job of its own: one for all benchmarks, wherever they run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import ServedProject, llama

from rig.endpoint import ScriptedEndpoint
from rig.slurm_cluster import SlurmCluster

WIDE = {"cpus": 3}
"""Two benchmarks of this width do not fit on one node."""


@pytest.fixture
def project(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[ServedProject]:
    with ScriptedEndpoint(host=slurm_cluster.address) as endpoint:
        yield ServedProject(tmp_path / "project", "", cluster=slurm_cluster, endpoint=endpoint)
    slurm_cluster.clear()


def test_one_server_serves_benchmarks_on_two_nodes_and_ends_with_the_last(
    project: ServedProject,
) -> None:
    # given a real llama.cpp server as deployment, and benchmarks that need a node each
    project.configure(llama(), {"a": 6, "b": 6}, resources={"a": WIDE, "b": WIDE})
    # when they are evaluated
    said = project.snakemake().check().output
    # then one job has served both, at the address of its node
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    (life,) = project.record["lives"]
    assert (life["loads"], life["restarts"], life["job"]) == (1, 0, project.server_job)
    hosts = {project.status(name)["attempts"][0]["host"] for name in "ab"}
    assert hosts == {"m1", "m2"}
    # and it ended with the last of them
    assert project.record["cause"] == "no benchmark needs it any more"
    assert "server model: stopped (no benchmark needs it any more)" in said
    project.cluster.wait(lambda: not project.cluster.jobs(), 10)
