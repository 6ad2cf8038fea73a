"""A project whose model is served by a server of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import Deployed

from rig.waiting import wait_until


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Deployed]:
    """A project without any run; at the end nothing of it may be left on this machine."""
    project = Deployed(tmp_path / "project", "")
    yield project
    for run in project.runs:
        for server in run.glob("deployments/*"):
            (server / "stop").write_text("now")
    wait_until(lambda: not project.leftovers())
