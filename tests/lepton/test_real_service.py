"""The real Lepton: off unless its credentials and a storage are in the environment.

docs/lepton.md says which variables, and what it costs.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.pipeline import as_in_a_terminal
from rig.waiting import PATIENCE
from rig.warm_snakemake import SNAKEMAKE
from snakemake_executor_plugin_lepton.client import Lepton
from snakemake_executor_plugin_lepton.storage import parse_mounts

NEEDED = (
    "LEPTON_WORKSPACE_ID",
    "LEPTON_WORKSPACE_TOKEN",
    "SNAKEMAKE_LEPTON_IMAGE",
    "SNAKEMAKE_LEPTON_MOUNTS",
    "SNAKEMAKE_LEPTON_RESOURCE_SHAPE",
)
pytestmark = [
    pytest.mark.lepton,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        any(name not in os.environ for name in NEEDED),
        reason=f"asks the real service: set {', '.join(NEEDED)} (docs/lepton.md)",
    ),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on the storage."""
    (mount, *_) = parse_mounts(
        os.environ["SNAKEMAKE_LEPTON_MOUNTS"], os.environ.get("SNAKEMAKE_LEPTON_STORAGE")
    )
    place = mount.here / f"snakeval-test-{uuid.uuid4().hex[:8]}"
    place.mkdir()
    yield place
    shutil.rmtree(place, ignore_errors=True)


def command(*arguments: str) -> list[str]:
    return [SNAKEMAKE, "--executor", "lepton", "--jobs", "3", "--latency-wait", "60", *arguments]


def live() -> list[str]:
    """Jobs of these tests that the service still has at work."""
    found = Lepton().find({})
    return [job.id for job in found if job.name.startswith("snakemake-real") and job.phase.live]


def test_jobs_run_fail_and_are_deleted(folder: Path) -> None:
    (folder / "Snakefile").write_text(
        'rule real_good:\n    output: "good"\n    shell: "uname -a > {output}"\n'
        'rule real_bad:\n    output: "bad"\n    shell: "echo on purpose; exit 3"\n'
    )
    ended = subprocess.run(
        command("--keep-going", "good", "bad"), cwd=folder, capture_output=True, text=True
    )
    said = ended.stdout + ended.stderr
    sys.stderr.write(said)

    assert (folder / "good").exists()
    assert "its command ended with exit code 3" in said
    assert "on purpose" in said  # the log was there when the job ended
    assert live() == []


def test_an_interrupt_gives_jobs_time_and_leaves_none(folder: Path) -> None:
    (folder / "Snakefile").write_text(
        'rule real_long:\n    output: "x"\n'
        "    shell: \"trap 'touch closed; exit 9' TERM; touch began; sleep 900 & wait\"\n"
    )
    process = subprocess.Popen(command(), cwd=folder, preexec_fn=as_in_a_terminal)
    while not (folder / "began").exists():
        assert process.poll() is None
        time.sleep(2)
    os.kill(process.pid, signal.SIGINT)
    process.wait(PATIENCE)

    assert (folder / "closed").exists()
    assert live() == []
