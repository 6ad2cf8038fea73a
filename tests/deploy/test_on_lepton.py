"""The model's server as a Lepton endpoint, benchmarks here: the real SDK, a real start."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployed import OWN, SCRIPTED, Deployed, quiz, wait_until

from rig.lepton_service import LeptonService
from rig.pipeline import MODEL


@pytest.fixture(params=[False, True], ids=["deployments", "endpoints"])
def lepton(request: pytest.FixtureRequest) -> Iterator[LeptonService]:
    """A Lepton of either family of the endpoint API."""
    with LeptonService(new_deployment_api=request.param) as service:
        yield service


@pytest.fixture
def project(project: Deployed, lepton: LeptonService) -> Deployed:
    """A project whose start has the credentials."""
    project.environment |= {**lepton.environment, "SNAKEVAL_LEPTON_POLL": "0.2"}
    return project


def on_lepton(folder: Path, *arguments: str, **more: Any) -> dict[str, Any]:
    """A deployment: the scripted server as an endpoint, steered by files in the folder."""
    files = f"--log {folder}/server-starts --sick-while {folder}/sick --hold-while {folder}/hold"
    return {
        "type": "generic",
        "image": "registry.example/scripted:1",
        "command": " ".join([f"{sys.executable} {SCRIPTED} --port {{port}} {files}", *arguments]),
        "served_model_name": MODEL,
        "lepton_config": {"resource_shape": "cpu.small"},
        **more,
    }


WITH_KEY = {"own": {**OWN["own"], "command": OWN["own"]["command"] + " --key-name {api_key_name}"}}
EXECUTION = {"type": "lepton", "output_dir": "out", "min_free_gb": 0}


def test_one_endpoint_serves_all_benchmarks_and_is_deleted_after_the_last(
    project: Deployed, lepton: LeptonService
) -> None:
    # given two benchmarks, and an endpoint that lets in only who has its token
    project.configure(
        on_lepton(project.folder),
        [quiz(seed=1), quiz(seed=2)],
        execution=EXECUTION,
        harnesses=WITH_KEY,
    )
    # when they are evaluated
    project.snakemake().check()
    # then both are published, by one endpoint that was created once
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    assert len(lepton.deployments.created) == 1
    # and nothing is left at Lepton or here
    wait_until(lambda: not lepton.deployments.alive and not project.leftovers(), 20)
    assert not lepton.secrets
