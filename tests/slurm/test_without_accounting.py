"""A cluster without accounting: squeue alone tells how jobs have ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from on_slurm import ClusterProject

from rig.endpoint import ScriptedEndpoint
from rig.slurm_cluster import SlurmCluster
from rig.waiting import PATIENCE


@pytest.fixture
def bare(slurm_without_accounting: SlurmCluster, tmp_path: Path) -> Iterator[ClusterProject]:
    cluster = slurm_without_accounting
    with ScriptedEndpoint(host=cluster.address) as endpoint:
        yield ClusterProject(
            tmp_path / "project", endpoint.chat_url, cluster=cluster, endpoint=endpoint
        )


def test_benchmarks_run_resume_and_are_cancelled_without_sacct(bare: ClusterProject) -> None:
    # given a cluster whose sacct knows nothing
    bare.write_benchmarks({"requeued": 400, "cancelled": 400, "failing": 2}, threads=2)
    (bare.folder / "files" / "failing.jsonl").write_text("no json\n")
    bare.endpoint.latency = 0.4
    with bare.started("--retries", "1") as snakemake:
        for name in ("requeued", "cancelled"):
            bare.wait_for_answers(name, 2)
        bare.cluster.run("scontrol", "requeue", bare.job("requeued"))
        bare.cluster.run("scancel", bare.job("cancelled"))
        bare.endpoint.wait_for(lambda: len(bare.status("requeued")["attempts"]) == 2)
        bare.endpoint.latency = 0
        assert snakemake.wait(PATIENCE) != 0
    assert bare.states("requeued") == ["interrupted", "published"]
    assert bare.states("cancelled") == ["cancelled"]
    assert bare.states("failing") == ["failed", "failed"]
