"""The Lepton of the tests: as strict as the SDK's own types, and it really runs what it is told."""

from pathlib import Path
from typing import Any

import pytest
import requests

from rig.lepton_service import LeptonService
from rig.waiting import PATIENCE, wait_until

JOB: dict[str, Any] = {
    "metadata": {"name": "one"},
    "spec": {"resource_shape": "cpu.small", "container": {"image": "i", "command": ["true"]}},
}
ENDPOINT: dict[str, Any] = {
    "metadata": {"name": "one"},
    "spec": {
        "container": {"image": "i", "command": ["sleep", "60"]},
        "resource_requirement": {"resource_shape": "cpu.small"},
    },
}


def post(service: LeptonService, path: str, body: dict[str, Any]) -> requests.Response:
    token = {"Authorization": f"Bearer {service.token}"}
    return requests.post(service.url + path, json=body, headers=token, timeout=PATIENCE)


@pytest.mark.parametrize(("path", "body"), [("/jobs", JOB), ("/deployments", ENDPOINT)])
def test_a_field_that_the_sdk_does_not_know_is_refused(path: str, body: dict[str, Any]) -> None:
    with LeptonService() as service:
        wrong = post(service, path, {**body, "spec": {**body["spec"], "walltime": 60}})
        assert wrong.status_code == 400 and "unknown fields: spec.walltime" in wrong.text
        assert post(service, path, body).status_code == 201


def test_a_job_walks_through_the_states_of_what_really_runs(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with LeptonService() as service:
        service.jobs.hold()
        command = ["sh", "-c", f"until [ -e {end} ]; do sleep 0.1; done; exit 3"]
        spec = {**JOB["spec"], "container": {"image": "i", "command": command}}
        assert post(service, "/jobs", {**JOB, "spec": spec}).status_code == 201
        (job,) = service.jobs.created
        assert job.state.value == "Queueing"
        service.jobs.release()
        wait_until(lambda: job.state.value == "Running")
        end.touch()
        wait_until(lambda: job.state.value == "Failed")
        assert not job.alive
