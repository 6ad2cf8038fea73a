"""What the tests of all destinations share."""

from pathlib import Path

import published
import pytest

from snakeval.plan.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of three published tasks."""
    run = published.make(tmp_path)
    published.publish_all(run)
    return run
