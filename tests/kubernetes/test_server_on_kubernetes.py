"""A model's server as a Deployment behind a Service: one, for as long as it is wanted."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.kubernetes_service import KubernetesService
from rig.waiting import wait_until
from snakeval.executors.hosted_life import live
from snakeval.executors.kubernetes import endpoint as life
from snakeval.executors.kubernetes.endpoint import Endpoint
from snakeval.executors.kubernetes.endpoint_spec import LABEL, SPEC
from snakeval.executors.kubernetes.places import Place
from snakeval.job.endpoint import free_port

SCRIPTED = Path(__file__).parents[1] / "deploy" / "scripted_server.py"
NAME = "snakeval-quiz-01234567"


@pytest.fixture
def service(
    cluster: KubernetesService, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubernetesService]:
    """Nobody waits long."""
    monkeypatch.setattr(life, "POLL", 0.05)
    monkeypatch.setattr(life, "STUCK_PATIENCE", 0.5)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    yield cluster


Make = Callable[..., Endpoint]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Servers of one deployment's folder."""
    port = free_port("127.0.0.1")

    def made(*arguments: str, spec: str = "1") -> Endpoint:
        steered = f"--log {tmp_path}/log --sick-while {tmp_path}/sick --hold-while {tmp_path}/hold"
        command = f"exec {sys.executable} {SCRIPTED} --port {port} {steered} {' '.join(arguments)}"
        container = {
            "name": "server",
            "image": "i",
            "command": ["sh", "-c", command],
            "env": [],
            "readinessProbe": {"httpGet": {"path": "/health", "port": port}},
        }
        metadata = {"name": NAME, "annotations": {SPEC: spec}, "labels": {LABEL: NAME}}
        content: dict[str, Any] = {
            "context": "",
            "namespace": "evals",
            "deployment": {
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {
                    "selector": {"matchLabels": {LABEL: NAME}},
                    "template": {
                        "metadata": {"labels": {LABEL: NAME}},
                        "spec": {"containers": [container]},
                    },
                },
            },
            "service": {
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": {LABEL: NAME}, "ports": [{"port": port}]},
            },
        }
        (tmp_path / "endpoint_spec.json").write_text(json.dumps(content))
        return Endpoint(tmp_path, Place("", "evals"))

    return made


class Living:
    """A server that is created and watched in a thread, as `serve` does it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.cause = ""
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        self.cause = live(self.endpoint)

    @property
    def address(self) -> str:
        try:
            return self.endpoint.address.read_text().strip()
        except OSError:
            return ""

    def ended(self) -> str:
        wait_until(lambda: not self._thread.is_alive())
        return self.cause

    def stop(self) -> str:
        self.endpoint.ended.set()
        return self.ended()


def test_it_comes_up_has_an_address_only_while_it_is_ready_and_is_deleted(
    service: KubernetesService, make: Make, tmp_path: Path
) -> None:
    living = Living(make())
    wait_until(lambda: living.address)
    assert living.address.startswith(f"http://{NAME}.evals.svc:")
    # one that is not ready any more loses its address, and gets it back
    (tmp_path / "sick").touch()
    wait_until(lambda: not living.address)
    (tmp_path / "sick").unlink()
    wait_until(lambda: living.address)
    assert living.stop() == ""
    assert not service.deployments.all and not service.deployments.services
    assert not living.address and not (tmp_path / life.NOTE).exists()


def test_one_that_a_dead_start_has_left_is_taken_over_and_one_of_another_config_replaced(
    service: KubernetesService, make: Make
) -> None:
    # given one that somebody has left
    left = make()
    left.come_up()
    # when the same config is started again, then there is no second one
    living = Living(make())
    wait_until(lambda: living.address)
    assert len(service.deployments.created) == 1
    living.stop()
    # when another config finds one, then it is replaced
    make().come_up()
    living = Living(make(spec="2"))
    wait_until(lambda: living.address)
    assert len(service.deployments.created) == 3 and len(service.deployments.all) == 1
    living.stop()
    assert not service.deployments.all


@pytest.mark.parametrize("drop", ["request", "answer"])
def test_a_lost_answer_to_its_creation_makes_no_second_one(
    service: KubernetesService, make: Make, drop: str
) -> None:
    service.faults.add("POST", "/deployments", drop=drop, times=1)
    living = Living(make())
    wait_until(lambda: living.address)
    assert len(service.deployments.created) == 1
    assert living.stop() == ""


def test_what_keeps_it_from_coming_up_is_told_in_the_clusters_words(
    service: KubernetesService, make: Make
) -> None:
    service.deployments.why = ("ImagePullBackOff", "Back-off pulling image i")
    assert "ImagePullBackOff: Back-off pulling image i" in Living(make()).ended()
    service.deployments.why = None
    cause = Living(make("--exit-code", "3")).ended()
    assert "before it was ready: CrashLoopBackOff" in cause
    assert not service.deployments.all and not service.deployments.services


def test_a_server_without_answers_of_the_api_server_stays_and_one_deleted_by_hand_is_noticed(
    service: KubernetesService, make: Make
) -> None:
    living = Living(make())
    wait_until(lambda: living.address)
    # given errors of the API server, a refused token, answers that are none: nothing is concluded
    nameless = b'{"items": [{"status": {"containerStatuses": [{"state": {"running": {}}}]}}]}'
    for path, given in (
        *(("/deployments/", {"status": status}) for status in (500, 429, 401, 403)),
        *(("/deployments/", {"body": body}) for body in (b"<html>", b'{"metadata": 7}', b"[]")),
        ("/pods", {"body": nameless}),
    ):
        fault = service.faults.add("GET", path, times=2, **given)
        wait_until(lambda fault=fault: fault.hits == 2)  # type: ignore[misc]
    assert living.address and len(service.deployments.all) == 1
    # when somebody deletes it
    service.deployments.delete("deployments", NAME)
    assert "somebody has deleted it" in living.ended()
    assert not service.deployments.services
