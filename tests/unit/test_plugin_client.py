"""Errors of the service, sorted by what they mean; creations that are never made twice."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
import requests

from rig.promised import promised
from snakemake_executor_plugin_lepton.client import (
    Conflict,
    Denied,
    Found,
    Lepton,
    Missing,
    Rejected,
    ServiceError,
    Unauthorized,
    Unreachable,
    asked,
    create_once,
    patiently,
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
        *((400, Rejected), (401, Unauthorized), (403, Denied), (404, Missing), (409, Conflict)),
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
        pydantic.ValidationError.from_exception_data("LeptonDeployment", []),
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
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1

    def create(self, body: dict[str, Any]) -> str:
        told = self.creations.pop(0)
        if told == "denied":
            raise Denied("403")
        if told == "unauthorized":
            raise Unauthorized("401")
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


def test_a_creation_for_which_the_token_was_not_taken_is_tried_with_the_one_known_by_then() -> None:
    service = Scripted("unauthorized", "unauthorized", "ok")
    assert created(service) == ("job-0", False)
    assert service.renewed == 2


def test_one_refused_token_is_not_the_last_word() -> None:
    answers: list[ServiceError | None] = [Unauthorized("401"), None]

    def stumbles() -> str:
        if error := answers.pop(0):
            raise error
        return "said"

    assert patiently(stumbles) == "said"
    answers = [Denied("403")]
    with pytest.raises(Denied):
        patiently(stumbles)


def test_the_workspace_token_is_in_no_message() -> None:
    from leptonai.api.v2.utils import WorkspaceUnauthorizedError

    def unauthorized() -> None:
        raise WorkspaceUnauthorizedError("ws", "http://x", auth_token="ab****yz")

    def broken_line() -> None:
        requests.Request("GET", "http://127.0.0.1:9", headers={"A": "Bearer s3cret\r"}).prepare()

    for call in (unauthorized, broken_line):
        with pytest.raises(Denied) as raised:
            asked(call)
        assert "ab*" not in str(raised.value) and "s3cret" not in str(raised.value)


def test_a_creation_of_unknown_outcome_is_no_refusal_whatever_comes_after() -> None:
    # else nobody would look for the job that may be there
    with pytest.raises(Unreachable, match="whether the job was made is not known"):
        service = Scripted("failed", "denied")
        created(service)


def test_nobody_waits_longer_than_patience_whatever_the_service_asks_for() -> None:
    def busy() -> None:
        raise Unreachable("429", wait=3600)

    with promised(30), pytest.raises(Unreachable):
        patiently(busy, 0.6)


def test_nothing_is_asked_again_when_nobody_waits_any_more() -> None:
    ended, asked_for = threading.Event(), []

    def busy() -> None:
        asked_for.append(1)
        ended.set()
        raise Unreachable("429")

    with pytest.raises(Unreachable):
        patiently(busy, 60, ended)
    assert len(asked_for) == 1


def test_a_log_that_falls_silent_is_shown_as_far_as_it_has_come() -> None:
    def stream(**_: int) -> Iterator[bytes]:
        yield b"the disk "
        yield b"is on fire"
        raise requests.exceptions.ConnectionError("read timed out")

    def silent(**_: int) -> Iterator[bytes]:
        raise requests.exceptions.ConnectionError("read timed out")
        yield b""

    def service(chunks: Any) -> Lepton:
        lepton: Any = object.__new__(Lepton)
        replicas = SimpleNamespace(status_code=200, json=lambda: [{"metadata": {"id": "r"}}])
        log = SimpleNamespace(status_code=200, iter_content=chunks, close=lambda: None)
        lepton._client = SimpleNamespace(auth_token="t", workspace_origin_url="", url="http://x")
        lepton._session = SimpleNamespace(
            request=lambda _, url, **__: log if url.endswith("/log") else replicas
        )
        lepton._timeout = 1.0
        return lepton  # type: ignore[no-any-return]

    assert service(stream).log("job") == "the disk is on fire"
    with pytest.raises(Unreachable):
        service(silent).log("job")
