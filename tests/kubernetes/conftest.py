"""The Kubernetes of the loopback address, with and without an engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from on_kubernetes import CLAIM, KubernetesProject, Workflow

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.kubernetes_service import KubernetesService


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesService]:
    """Its volume is the test's folder; commands run as processes."""
    with KubernetesService({CLAIM: tmp_path}) as service:
        yield service


@pytest.fixture
def workflow(cluster: KubernetesService, tmp_path: Path) -> Workflow:
    """A plain Snakefile on the volume."""
    return Workflow(tmp_path / "flow", tmp_path, cluster=cluster)


@pytest.fixture
def project(
    docker_engine: DockerEngine, nemo_image: str, tmp_path: Path
) -> Iterator[KubernetesProject]:
    """The pipeline; pods are containers of the real evaluation image."""
    folder = tmp_path / "project"
    folder.mkdir()
    with (
        KubernetesService({CLAIM: folder}, engine=docker_engine) as service,
        ScriptedEndpoint() as endpoint,
    ):
        yield KubernetesProject(folder, endpoint.chat_url, cluster=service, endpoint=endpoint)
