"""The Lepton of the loopback address, with and without an engine; no credentials of the caller."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from on_lepton import STORAGE, LeptonProject, Workflow

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.lepton_service import LeptonService


@pytest.fixture
def lepton(tmp_path: Path) -> Iterator[LeptonService]:
    """Its storage is the test's folder; commands run as processes."""
    with LeptonService(volumes={STORAGE: tmp_path}) as service:
        yield service


@pytest.fixture
def workflow(lepton: LeptonService, tmp_path: Path) -> Workflow:
    """A plain Snakefile on the storage."""
    return Workflow(tmp_path / "flow", tmp_path, lepton=lepton)


@pytest.fixture
def project(
    docker_engine: DockerEngine, nemo_image: str, tmp_path: Path
) -> Iterator[LeptonProject]:
    """The pipeline; jobs are containers of the real evaluation image."""
    folder = tmp_path / "project"
    folder.mkdir()
    with (
        LeptonService(volumes={STORAGE: folder}, engine=docker_engine) as service,
        ScriptedEndpoint() as endpoint,
    ):
        yield LeptonProject(folder, endpoint.chat_url, lepton=service, endpoint=endpoint)
