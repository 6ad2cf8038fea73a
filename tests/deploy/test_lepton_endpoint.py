"""One endpoint's life, against a Lepton that misbehaves: never two, never a lost one."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deployed import SCRIPTED
from supervised import Supervised

from rig.lepton_service import LeptonService
from rig.pipeline import MODEL as MODEL_NAME
from rig.waiting import wait_until
from snakeval.executors.lepton import calls as lepton_calls
from snakeval.executors.lepton import endpoint as lepton_endpoint
from snakeval.executors.lepton.calls import GivenUp, family_of
from snakeval.executors.lepton.endpoint import Endpoint, verdict
from snakeval.executors.lepton.endpoint_spec import MARK
from snakeval.run_folder.layout import RunPaths


@pytest.fixture(params=[False, True], ids=["deployments", "endpoints"])
def lepton(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LeptonService]:
    """A Lepton of either family of the endpoint API; nobody waits long."""
    monkeypatch.setattr(lepton_endpoint, "POLL", 0.05)
    monkeypatch.setattr(lepton_endpoint, "GRACE", 1.0)
    with LeptonService(new_deployment_api=request.param) as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[LeptonService]:
    monkeypatch.setattr(lepton_endpoint, "POLL", 0.05)
    monkeypatch.setattr(lepton_endpoint, "GRACE", 1.0)
    with LeptonService() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


Make = Callable[..., Endpoint]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Endpoints of one deployment's folder."""

    def made(*arguments: str, **spec: Any) -> Endpoint:
        steered = f"--log {tmp_path}/log --sick-while {tmp_path}/sick --hold-while {tmp_path}/hold"
        command = f"exec {sys.executable} {SCRIPTED} --port 8000 {steered} {' '.join(arguments)}"
        content = {
            "prefix": "quiz-01234567",
            "mark": "run/model/1",
            "labels": {"snakeval-run": "run"},
            "secrets": {"snakeval-01234567": "SNAKEVAL_ENDPOINT_TOKEN"},
            "spec": {
                "container": {
                    "image": "i",
                    "ports": [{"container_port": 8000}],
                    "command": ["sh", "-c", command],
                },
                "resource_requirement": {
                    "resource_shape": "cpu.small",
                    "min_replicas": 1,
                    "max_replicas": 1,
                },
                "auto_scaler": {"scale_down": {"no_traffic_timeout": 3600}},
                "api_tokens": [{"value_from": {"token_name_ref": "snakeval-01234567"}}],
                "envs": [{"name": MARK, "value": "run/model/1"}],
                **spec,
            },
        }
        (tmp_path / "endpoint_spec.json").write_text(json.dumps(content))
        return Endpoint(tmp_path)

    return made


class Living:
    """An endpoint that is created and watched in a thread, as `serve` does it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.cause = ""
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        self.cause = lepton_endpoint.live(self.endpoint)

    @property
    def address(self) -> str:
        try:
            return self.endpoint.address.read_text().strip()
        except OSError:
            return ""

    def ended(self, seconds: float = 40) -> str:
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        return self.cause

    def stop(self) -> str:
        self.endpoint.ended.set()
        return self.ended()


def test_created_ready_and_deleted_with_its_secret(lepton: LeptonService, make: Make) -> None:
    living = Living(make())
    wait_until(lambda: living.address)
    (made,) = lepton.deployments.alive
    assert made.name.startswith("quiz-01234567-")
    assert list(lepton.secrets) == ["snakeval-01234567"]
    assert json.loads(living.endpoint.note.read_text())["name"] == made.name
    assert living.stop() == ""
    assert not lepton.deployments.alive and not lepton.secrets
    assert not living.endpoint.note.exists() and not living.address
    # no value of a token has gone into a spec
    token = lepton_endpoint.own_token(lepton.token).encode()
    assert not any(token in body for body in lepton.bodies if b"container" in body)


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("POST", "/(deployments|endpoints)$", {"status": 503, "times": 2}),
        ("POST", "/(deployments|endpoints)$", {"status": 429, "times": 1, "retry_after": "1"}),
        ("POST", "/(deployments|endpoints)$", {"drop": "request"}),
        ("POST", "/(deployments|endpoints)$", {"drop": "answer"}),
        ("POST", "/(deployments|endpoints)$", {"body": b"<html>"}),
        ("GET", "/(deployments|endpoints)/[^/]+$", {"status": 500, "times": 3}),
        ("GET", "/(deployments|endpoints)/[^/]+$", {"drop": "answer", "times": 2}),
        ("GET", "/(deployments|endpoints)/[^/]+$", {"body": b"garbage", "times": 2}),
        ("GET", "/(deployments|endpoints)/[^/]+$", {"body": b'{"spec": 7}', "times": 2}),
        ("GET", "/(deployments|endpoints)$", {"body": b'[{"metadata": 7}]'}),
        ("GET", "/(deployments|endpoints)/[^/]+$", {"status": 404, "times": 2}),
        ("GET", "/(deployments|endpoints)$", {"status": 502}),
        ("POST", "/usersecrets", {"drop": "answer"}),
        ("DELETE", "/(deployments|endpoints)/", {"status": 503, "times": 2}),
        ("DELETE", "/(deployments|endpoints)/", {"drop": "answer"}),
        ("DELETE", "/usersecrets/", {"status": 500, "times": 2}),
    ],
)
def test_what_passes_is_repeated_and_there_is_one_endpoint(
    older: LeptonService, make: Make, method: str, path: str, fault: dict[str, Any]
) -> None:
    older.faults.add(method, path, **fault)
    living = Living(make())
    wait_until(lambda: living.address)
    assert len(older.deployments.created) == 1
    assert living.stop() == ""
    assert not older.deployments.alive and not older.secrets


def test_a_workspace_that_is_slow_to_answer_is_not_taken_for_an_older_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LeptonService(new_deployment_api=True) as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        service.faults.add("GET", "/workspace", status=503, times=4)
        endpoint = make()
        assert type(family_of(endpoint.client)).__name__ == "EndpointAPI"


def test_a_refusal_is_told_in_lepton_s_words(older: LeptonService, make: Make) -> None:
    said = Living(make(envs=[{"name": "A", "value_from": {"secret_name_ref": "lost"}}])).ended()
    assert "Lepton refuses the endpoint quiz-01234567-" in said
    assert "400: secret 'lost' is not in this workspace" in said
    assert not older.deployments.alive and not older.secrets


def test_a_wrong_token_is_told_at_once(
    older: LeptonService, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "another")
    said = Living(make()).ended()
    assert "does not take the token (401: no such token): `lep login` again" in said


def test_a_token_that_is_not_taken_for_a_while_ends_no_endpoint(
    older: LeptonService, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    older.deployments.hold()
    living = Living(make())
    wait_until(lambda: older.deployments.alive)
    older.faults.add("GET", "/deployments/[^/]+$", status=403, body=b'{"message": "no quota"}')
    wait_until(lambda: "does not allow it (403: no quota)" in capsys.readouterr().out)
    older.deployments.release()
    wait_until(lambda: living.address)
    older.faults.add("DELETE", "/deployments/[^/]+$", status=401)
    assert living.stop() == "" and not older.deployments.alive and not older.secrets


def test_one_that_dies_at_once_is_given_up_and_its_log_is_there(
    lepton: LeptonService, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    living = Living(make("--exit-code", "3"))
    said = living.ended()
    assert "is in the state Error" in said
    assert "no GPU was found, says the server" in capsys.readouterr().out
    assert not lepton.deployments.alive and not lepton.secrets


def test_one_that_somebody_deletes_ends(older: LeptonService, make: Make) -> None:
    living = Living(make())
    wait_until(lambda: living.address)
    older.deployments.vanish(older.deployments.alive[0])
    assert "is gone: somebody has deleted it" in living.ended()
    assert not older.secrets


def test_a_replica_that_dies_and_an_unknown_state_end_nothing(
    older: LeptonService, make: Make
) -> None:
    living = Living(make())
    wait_until(lambda: living.address)
    (made,) = older.deployments.alive
    older.deployments.crash(made)
    made.shown = "Of a Later Version"
    wait_until(lambda: len(made.workloads) == 2)
    threading.Event().wait(1.5)  # longer than the grace
    assert living.cause == "" and older.deployments.alive == [made]
    assert living.stop() == ""


def test_it_says_what_it_waits_for(
    older: LeptonService, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    older.deployments.hold()
    living = Living(make())
    wait_until(lambda: "NoCapacity: no free node" in capsys.readouterr().out)
    older.deployments.release()
    wait_until(lambda: living.address)
    assert living.stop() == ""


def test_stopped_while_it_is_created_nothing_is_left(older: LeptonService, make: Make) -> None:
    older.faults.add("POST", "/deployments$", status=503, times=None)
    living = Living(make())
    wait_until(lambda: older.called("POST", "/deployments$") >= 2)
    older.faults.clear()
    assert living.stop() == ""
    assert not older.deployments.alive and not older.secrets


def test_one_that_cannot_be_deleted_is_told_with_what_to_do(
    older: LeptonService, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = Living(make())
    wait_until(lambda: living.address)
    name = older.deployments.alive[0].name
    monkeypatch.setattr(lepton_calls, "PATIENCE", 1.0)
    older.faults.add("DELETE", "/deployments/", status=503, times=None)
    said = living.stop()
    assert f"lep endpoint remove --name {name}" in said
    # it stays noted, and the next sweep finds it
    assert living.endpoint.note.exists()
    older.faults.clear()
    assert lepton_endpoint.sweep(make()) == 0
    assert not older.deployments.alive and not living.endpoint.note.exists()


def test_a_start_deletes_what_a_dead_host_has_left_and_nobody_elses(
    lepton: LeptonService, make: Make
) -> None:
    # given an endpoint of a host that crashed, whose note is lost, and one of another run
    orphan = make()
    orphan.api = family_of(orphan.client)
    orphan.make_secrets()
    orphan.create()
    orphan.note.unlink()
    other = make(envs=[{"name": MARK, "value": "another/model/1"}])
    other.api = orphan.api
    other.create()
    other.note.unlink()
    # when the deployment is started again
    living = Living(make())
    wait_until(lambda: living.address)
    # then there is one of it, and the other one is untouched
    alive = [each.name for each in lepton.deployments.alive]
    assert orphan.name not in alive and other.name in alive and len(alive) == 2
    living.stop()


def test_what_is_being_deleted_is_not_in_the_way(lepton: LeptonService, make: Make) -> None:
    lepton.deployments.linger()
    first = Living(make())
    wait_until(lambda: first.address)
    assert first.stop() == ""
    second = Living(make())
    wait_until(lambda: second.address)
    assert len(lepton.deployments.all) == 2
    assert second.stop() == ""
    lepton.deployments.go()


def test_a_secret_that_was_left_over_gets_the_value_of_now(
    older: LeptonService, make: Make
) -> None:
    older.secrets["snakeval-01234567"] = "of an earlier workspace token"
    living = Living(make())
    wait_until(lambda: living.address)
    assert older.secrets["snakeval-01234567"] == lepton_endpoint.own_token(older.token)
    living.stop()


def test_supervised_it_comes_back_and_never_outlives_its_supervisor(
    older: LeptonService, make: Make, tmp_path: Path
) -> None:
    # given an endpoint whose supervisor was started by hand
    make()
    content = (tmp_path / "endpoint_spec.json").read_text()
    variables = {**older.environment, "SNAKEVAL_LEPTON_POLL": "0.2", "SNAKEVAL_START": ""}
    server = Supervised(RunPaths(tmp_path / "2026-01-01-00-00-00-0123abce"), variables)
    server.run.dir.mkdir()
    deployment = {"type": "generic", "image": "i", "command": "c", "served_model_name": MODEL_NAME}
    server.write(
        {**deployment, "lepton_config": {"resource_shape": "cpu.small"}},
        runtime="lepton",
        endpoint=content,
    )
    with server.started() as process:
        wait_until(lambda: server.address)
        # when its state is Error, and stays so
        (first,) = older.deployments.alive
        before = server.address
        first.shown = "Error"
        # then another one takes its place, and the first is deleted
        wait_until(lambda: server.address not in ("", before))
        assert [each.name != first.name for each in older.deployments.alive] == [True]
        assert server.record["lives"][-1]["restarts"] == 1
        # and when the supervisor is killed, the endpoint is deleted too
        process.kill()
        wait_until(lambda: not older.deployments.alive and not older.secrets)


@pytest.mark.parametrize(
    ("phase", "was_ready", "to_zero", "meaning"),
    [
        ("Ready", False, False, "ready"),
        ("Not Ready", False, False, "waiting"),
        ("Not Ready", True, False, "waiting"),
        ("Starting", False, False, "waiting"),
        ("Updating", True, False, "waiting"),
        ("Scaling", True, False, "waiting"),
        ("Migrating", True, False, "waiting"),
        ("Restarting", True, False, "waiting"),
        ("Stopping", False, False, "over"),
        ("Stopped", False, False, "over"),
        ("Stopped", True, False, "waiting"),
        ("Stopped", False, True, "waiting"),
        ("Deleting", True, True, "over"),
        ("Error", False, False, "doubtful"),
        ("Unknown", True, False, "doubtful"),
    ],
)
def test_every_state_has_a_meaning(
    phase: str, was_ready: bool, to_zero: bool, meaning: str
) -> None:
    assert verdict(phase, was_ready, to_zero) == meaning


def test_every_state_of_the_sdk_is_known() -> None:
    from leptonai.api.v2.types.deployment import LeptonDeploymentState

    waiting = {"Not Ready", "Starting", "Updating", "Scaling", "Migrating", "Restarting"}
    known = waiting | {"Ready", "Error", "Deleting", "Stopping", "Stopped", "UNK"}
    assert {state.value for state in LeptonDeploymentState} == known


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def broken() -> None:
        raise requests.ConnectionError("cut")

    with pytest.raises(GivenUp, match="asking: Lepton does not answer as it should for 0 s"):
        lepton_calls.patiently(broken, "asking", 0.2)
