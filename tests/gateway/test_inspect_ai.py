"""inspect-ai as a command of one's own: it knows nothing of us, and its repeats look alike."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_in_the_pipeline import record_of, through_the_gateway

from rig.docker_engine import RigUnavailable
from rig.endpoint import Fault, ScriptedEndpoint
from rig.own_environment import python_with
from rig.pipeline import Project
from rig.unavailable import unavailable
from rig.waiting import PATIENCE

pytestmark = pytest.mark.long

SAMPLES, REPEATS = 12, 2
ASKED = SAMPLES * REPEATS
AT_ONCE = 4


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return python_with("inspect-ai-0.3.285", "inspect-ai==0.3.285", "openai==3.57.0")
    except RigUnavailable as reason:
        unavailable(reason)


def project_with(python: Path, folder: Path, endpoint: ScriptedEndpoint) -> Project:
    command = f"{python} {{files}}/evaluate.py {{url}} {{model_id}} {{results}} {SAMPLES}"
    own: dict[str, Any] = {
        "kind": "command",
        "command": command,
        "files": str(Path(__file__).with_name("inspect_sums")),
        "results": "results.json",
        "tasks": {"sums": {"endpoint_type": "chat", "samples": SAMPLES}},
    }
    return through_the_gateway(
        Project(folder, endpoint.chat_url), {"name": "inspect.sums"}, harnesses={"inspect": own}
    )


def check_it_is_whole(project: Project) -> None:
    check = json.loads((record_of(project, "sums") / "check.json").read_text())
    account = check["gateway"]["model"]
    assert (account["harness_got"]["answers"], account["unanswered"]) == (ASKED, 0)
    assert not [note for note in check["notes"] if "the gateway" in note]
    (row,) = project.rows()
    assert (row["n"], row["requests"]) == (SAMPLES, account["requests"] - account["replayed"])
    assert row["value"] == pytest.approx(0.75, abs=0.25)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_answered_before_an_interruption_is_not_asked_again(
    number: signal.Signals, tmp_path: Path, endpoint: ScriptedEndpoint, python: Path
) -> None:
    project = project_with(python, tmp_path, endpoint)
    endpoint.latency = 0.2
    with project.started("--retries", "0") as snakemake:
        endpoint.wait_until_answered(ASKED // 3)
        with endpoint.holding():
            os.killpg(snakemake.pid, number)
            snakemake.wait(PATIENCE)
            endpoint.wait_until_idle()
    endpoint.latency, answered = 0.0, endpoint.answers.total()

    project.snakemake("--retries", "0").check()

    assert answered < ASKED, "it was interrupted in the middle"
    assert ASKED <= endpoint.requests.total() <= ASKED + AT_ONCE, "what was in flight, again"
    assert min(endpoint.answers.values()) == REPEATS, "each of the repeats is a sample of its own"
    check_it_is_whole(project)


def test_what_failed_is_refused_and_then_asked_alone(
    tmp_path: Path, endpoint: ScriptedEndpoint, python: Path
) -> None:
    project = project_with(python, tmp_path, endpoint)
    endpoint.fault = Fault("status", status=400, every=4)
    assert project.snakemake("--retries", "0").code != 0
    endpoint.fault = None

    project.snakemake("--retries", "0").check()

    assert endpoint.answers.total() == ASKED
    check_it_is_whole(project)
