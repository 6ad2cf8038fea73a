"""Fixtures of the tests of faults."""

from pathlib import Path

import pytest
from interrupted import BARE_SUMS, Evaluation

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.image import ensure_base_image


@pytest.fixture
def evaluation(tmp_path: Path, endpoint: ScriptedEndpoint) -> Evaluation:
    """Two benchmarks by real harnesses without a container."""
    return Evaluation.prepare(tmp_path, endpoint)


@pytest.fixture
def in_bare_docker(
    tmp_path: Path, endpoint: ScriptedEndpoint, docker_engine: DockerEngine
) -> Evaluation:
    """The long benchmark by a program of one file, in a real container of a bare Debian."""
    ensure_base_image(docker_engine)
    return Evaluation.prepare(tmp_path, endpoint, "docker", long=BARE_SUMS)


@pytest.fixture
def in_docker(tmp_path: Path, endpoint: ScriptedEndpoint, nemo_image: str) -> Evaluation:
    """The long benchmark by the real NeMo image in a real container."""
    return Evaluation.prepare(tmp_path, endpoint, "docker")
