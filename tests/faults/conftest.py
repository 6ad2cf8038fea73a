"""Fixtures of the tests of faults."""

from pathlib import Path

import pytest
from interrupted import Evaluation

from rig.endpoint import ScriptedEndpoint


@pytest.fixture
def evaluation(tmp_path: Path, endpoint: ScriptedEndpoint) -> Evaluation:
    """Two benchmarks by real harnesses without a container."""
    return Evaluation.prepare(tmp_path, endpoint)


@pytest.fixture
def in_docker(tmp_path: Path, endpoint: ScriptedEndpoint, nemo_image: str) -> Evaluation:
    """The long benchmark by the real NeMo image in a real container."""
    return Evaluation.prepare(tmp_path, endpoint, "docker")
