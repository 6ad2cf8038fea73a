"""One finished run for all tests of planning; each gets a copy of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from quiz_project import quiz, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import SUMS, Project


@pytest.fixture(scope="session")
def served() -> Iterator[ScriptedEndpoint]:
    """The endpoint of the shared run. Its settings stay as they are; counters only grow."""
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def finished_once(served: ScriptedEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run of three benchmarks (the quiz twice, and lm-eval), all published. Read only."""
    project = Project(tmp_path_factory.mktemp("finished") / "project", served.chat_url)
    write(project, [quiz(seed=1), quiz(seed=2), SUMS])
    project.snakemake().check()
    return project


@pytest.fixture
def finished(finished_once: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, to be changed and started again."""
    folder = tmp_path / "project"
    shutil.copytree(finished_once.folder, folder, symlinks=True)
    return Project(folder, finished_once.url)


@pytest.fixture
def project(endpoint: ScriptedEndpoint, tmp_path: Path) -> Project:
    """A project without any run, with an endpoint of its own."""
    return Project(tmp_path / "project", endpoint.chat_url)
