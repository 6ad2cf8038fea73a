"""Errors of the service, sorted by what they mean; creations that are never made twice."""

from typing import Any

import pytest
import requests

from snakemake_executor_plugin_lepton.client import (
    Conflict,
    Denied,
    Found,
    Missing,
    Rejected,
    ServiceError,
    Unreachable,
    asked,
    create_once,
)
from snakemake_executor_plugin_lepton.states import Phase

LABELS = {"snakemake-attempt": "one"}


def response(status: int, **headers: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer._content = status, b"said"
    answer.headers.update({name.replace("_", "-"): text for name, text in headers.items()})
    return answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, Rejected), (401, Denied), (403, Denied), (404, Missing), (409, Conflict)),
        *((408, Unreachable), (410, Missing), (422, Rejected), (429, Unreachable)),
        *((500, Unreachable), (502, Unreachable), (503, Unreachable), (504, Unreachable)),
    ],
)
def test_a_status_says_whether_asking_again_makes_sense(
    status: int, kind: type[ServiceError]
) -> None:
    from leptonai.api.v2.api_resource import ClientError, ServerError

    def call() -> None:
        raise (ClientError if status < 500 else ServerError)(response(status))

    with pytest.raises(kind) as raised:
        asked(call)
    assert type(raised.value) is kind and str(status) in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("refused"),
        requests.exceptions.ReadTimeout("slow"),
        requests.exceptions.ChunkedEncodingError("cut"),
        RuntimeError("You encountered a programming error"),
    ],
)
def test_no_answer_says_nothing_about_the_job(error: Exception) -> None:
    def call() -> None:
        raise error

    with pytest.raises(Unreachable):
        asked(call)


def test_the_service_may_say_how_long_to_wait() -> None:
    from leptonai.api.v2.api_resource import ClientError

    def call() -> None:
        raise ClientError(response(429, Retry_After="7"))

    with pytest.raises(Unreachable) as raised:
        asked(call)
    assert raised.value.wait == 7


class Scripted:
    """A service whose creations go as told: `ok`, `lost` (made, no answer), `failed`."""

    def __init__(self, *creations: str, blind: int = 0) -> None:
        self.creations = list(creations)
        self.blind = blind
        self.jobs: list[Found] = []

    def create(self, body: dict[str, Any]) -> str:
        told = self.creations.pop(0)
        if told == "denied":
            raise Denied("401")
        if told != "failed":
            self.jobs.append(Found(f"job-{len(self.jobs)}", "one", Phase.WAITING, LABELS))
        if told == "ok":
            return self.jobs[-1].id
        raise Unreachable("503", wait=0.5)

    def find(self, labels: dict[str, str]) -> list[Found]:
        assert labels == LABELS
        if self.blind:
            self.blind -= 1
            raise Unreachable("503")
        return list(self.jobs)

    def delete(self, job: str) -> None:
        self.jobs = [each for each in self.jobs if each.id != job]


def created(service: Any, stopped: bool = False) -> tuple[str, bool]:
    return create_once(service, {}, LABELS, lambda: stopped, pause=lambda _: None)


def test_a_creation_that_was_carried_out_is_not_repeated() -> None:
    service = Scripted("lost")
    assert created(service) == ("job-0", True)
    assert len(service.jobs) == 1


def test_a_creation_that_failed_is_repeated() -> None:
    service = Scripted("failed", "failed", "ok")
    assert created(service) == ("job-0", True)


def test_nothing_is_created_while_nobody_can_say_whether_it_is_there() -> None:
    service = Scripted("lost", blind=5)
    assert created(service) == ("job-0", True)
    assert service.creations == []


def test_of_two_jobs_one_is_deleted() -> None:
    service = Scripted("lost")
    service.jobs.append(Found("late", "one", Phase.WAITING, LABELS, created=9.0))
    assert created(service)[0] == "job-1"
    assert [job.id for job in service.jobs] == ["job-1"]


def test_what_is_not_wanted_any_more_is_not_tried_again() -> None:
    with pytest.raises(Unreachable, match="snakemake-attempt=one"):
        created(Scripted("failed"), stopped=True)


def test_a_refused_creation_is_not_tried_again() -> None:
    with pytest.raises(Denied):
        created(Scripted("denied"))
