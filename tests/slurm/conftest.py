"""A project on the real cluster, with an endpoint that nodes and containers reach."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from on_slurm import ClusterProject

from rig.endpoint import ScriptedEndpoint
from rig.slurm_cluster import SlurmCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture
def project(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[ClusterProject]:
    """Jobs that a test leaves are ended after it."""
    with ScriptedEndpoint(host=slurm_cluster.address) as endpoint:
        yield ClusterProject(
            tmp_path / "project",
            endpoint.chat_url,
            cluster=slurm_cluster,
            endpoint=endpoint,
        )
    slurm_cluster.clear()
