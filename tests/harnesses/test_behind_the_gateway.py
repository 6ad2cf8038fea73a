"""NVIDIA's harnesses behind the gateway, where something fails: the right score or a named refusal,
and nothing that was answered is asked twice.

By `make test-long`; tests/gateway has the same of a command, in every run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from answers import JUDGE
from test_harnesses import LIGHT, Case, answers_of, check_what_is_published, project_of

from rig.endpoint import Fault, ScriptedEndpoint
from rig.pipeline import MODEL, Project
from snakeval.job.gateway.accounts import Account, accounts

SCORES = {"AA-LCR": 2 / 3, "bfcl": 3.7, "ifbench": 0.0, "mmath": 1 / 6}
"""Headlines of runs without any failure, and without a gateway."""

CASES = {case.harness: case for case in LIGHT}
EVERY_THIRD: dict[str, dict[str, Any]] = {
    "500": {"kind": "status", "status": 500},
    "400": {"kind": "status", "status": 400},
    "an error in a 200": {"kind": "status", "status": 200},
    "half a body": {"kind": "truncate"},
    "no reply": {"kind": "drop"},
}

ImageOf = Callable[[str], str]

pytestmark = [pytest.mark.docker, pytest.mark.long]


def behind_the_gateway(case: Case, image: str, endpoint: ScriptedEndpoint, folder: Path) -> Project:
    """With little patience: what is away stays away for these tests."""
    project = project_of(case, image, endpoint, folder, gateway=True)
    config = yaml.safe_load(project.config.read_text())
    (task,) = config["evaluation"]["tasks"]
    task["nemo_evaluator_config"]["config"]["params"]["request_timeout"] = 20
    project.config.write_text(yaml.safe_dump(config))
    return project


def accounts_of(project: Project, case: Case) -> dict[str, Account]:
    (record,) = (project.task(case.task) / "record").iterdir()
    return accounts(record)


def check_it_is_whole_and_paid_once(
    project: Project, case: Case, endpoint: ScriptedEndpoint
) -> None:
    """The score of a run without failures, from answers that were given once each."""
    check_what_is_published(project, case)
    (headline,) = [row["value"] for row in project.rows() if row["headline"]]
    assert headline == pytest.approx(SCORES[case.harness], abs=0.005)
    asked = case.asked or 0
    judged = asked if case.harness == "AA-LCR" else 0
    assert (answers_of(endpoint), endpoint.answers.total()) == (asked, asked + judged)
    known = accounts_of(project, case)
    assert {name: each.answered for name, each in known.items()} == {
        "model": asked,
        **({"judge": judged} if judged else {}),
    }
    assert not any(each.unanswered for each in known.values())


def refused(project: Project, case: Case) -> str:
    """The cause of a start that gives no score."""
    assert project.snakemake("--retries", "0").code != 0
    status = project.status(case.task)
    assert status["state"] == "failed"
    return str(status["cause"])


def recover(project: Project, case: Case, endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = None
    project.snakemake("--retries", "0").check()
    check_it_is_whole_and_paid_once(project, case, endpoint)


@pytest.mark.parametrize("fault", EVERY_THIRD)
@pytest.mark.parametrize("harness", CASES)
def test_a_third_that_fails_is_refused_then_asked_alone(
    harness: str, fault: str, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: ImageOf
) -> None:
    case = CASES[harness]
    project = behind_the_gateway(case, image_of(harness), endpoint, tmp_path)
    endpoint.fault = Fault(every=3, model=MODEL, **EVERY_THIRD[fault])

    assert refused(project, case)

    assert accounts_of(project, case)["model"].unanswered > 0
    recover(project, case, endpoint)


@pytest.mark.parametrize("harness", CASES)
def test_an_endpoint_that_dies_in_the_middle_is_named(
    harness: str, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: ImageOf
) -> None:
    case = CASES[harness]
    project = behind_the_gateway(case, image_of(harness), endpoint, tmp_path)
    endpoint.die_after = 2

    assert "did not reach the endpoint" in refused(project, case)

    endpoint.come_back()
    recover(project, case, endpoint)


@pytest.mark.parametrize("harness", CASES)
def test_kill_9_in_the_middle_costs_what_was_in_flight_and_no_more(
    harness: str, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: ImageOf
) -> None:
    case = CASES[harness]
    project = behind_the_gateway(case, image_of(harness), endpoint, tmp_path)
    endpoint.latency = 0.5
    with project.started("--retries", "0") as snakemake:
        endpoint.wait_until_answered(2)
        with endpoint.holding():
            in_flight = endpoint.in_flight
            os.killpg(snakemake.pid, signal.SIGKILL)
            for pid in processes_of(project):
                os.kill(pid, signal.SIGKILL)
            endpoint.wait_until_idle()
    endpoint.latency = 0.0

    recover(project, case, endpoint)

    judged = case.asked if harness == "AA-LCR" else 0
    assert endpoint.requests.total() <= (case.asked or 0) + (judged or 0) + in_flight + 1


def processes_of(project: Project) -> list[int]:
    """Keepers and gateways: their command lines name the project's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        if str(project.folder).encode() in words and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


FAILING_JUDGES = {
    "every third answer fails": (Fault("status", 500, every=3, model=JUDGE), "from 'judge' (500"),
    "every third is an error in a 200": (
        Fault("status", 200, every=3, model=JUDGE),
        "from 'judge' (no answer",
    ),
    "every third is silent": (Fault("empty", every=3, model=JUDGE), "of 3 samples were scored"),
    "its key is refused": (Fault("status", 401, model=JUDGE), "from 'judge' (401"),
    "it gives no reply": (Fault("drop", model=JUDGE), "from 'judge' (unreachable"),
}


@pytest.mark.parametrize("fails", FAILING_JUDGES)
def test_a_judge_that_fails_is_named_and_it_alone_is_asked_again(
    fails: str, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: ImageOf
) -> None:
    """What was answered is kept, the judge's verdicts too; but for those that are none."""
    case = CASES["AA-LCR"]
    project = behind_the_gateway(case, image_of("AA-LCR"), endpoint, tmp_path)
    endpoint.fault, said = FAILING_JUDGES[fails]

    assert said in refused(project, case)

    silent = accounts_of(project, case)["judge"].empty
    answered = endpoint.answers.total()
    endpoint.fault = None
    project.snakemake("--retries", "0").check()
    check_what_is_published(project, case)
    assert answers_of(endpoint) == case.asked
    assert endpoint.answers.total() == 2 * (case.asked or 0) + silent >= answered
