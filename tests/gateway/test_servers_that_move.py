"""A server that comes back at another address is asked there, and the harness notices nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from aiohttp import web
from gateway_process import TOKEN
from scripted_service import DONE, Service, chunk, completion, question

from rig.waiting import PATIENCE, wait_until
from snakeval.job.gateway.ledger import LEDGER, rows
from snakeval.job.gateway.service import Endpoint, InThread, Wanted


async def silent(service: Service, request: web.Request, body: bytes) -> web.StreamResponse:
    """As a node that has lost its power: the connection stays, and nothing comes."""
    await asyncio.sleep(PATIENCE)
    raise AssertionError("nobody waits for so long")


async def in_the_middle(service: Service, request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(chunk("half of"))
    await asyncio.sleep(PATIENCE)
    return response


async def answers(service: Service, request: web.Request, body: bytes) -> web.StreamResponse:
    return web.json_response(completion("here"))


async def streams(service: Service, request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(chunk("here", "stop") + DONE)
    return response


class Attempt:
    def __init__(self, folder: Path, url: str) -> None:
        self.record = folder / "run" / "record"
        self.record.mkdir(parents=True)
        endpoints = [Endpoint("model", url, "key")]
        wanted = Wanted(self.record, 1, TOKEN, endpoints, pace_folder=folder)
        broken: list[Exception] = []
        self.gateway = InThread(wanted, folder / "log", lambda why: None, broken.append)
        self.url = f"http://127.0.0.1:{self.gateway.begin()['model']}/v1/chat/completions"

    def ask(self, prompt: str, stream: bool = False) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = question(prompt, stream=stream)
        return requests.post(self.url, json=body, headers=headers, timeout=PATIENCE)

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in rows(self.record / LEDGER)]


@pytest.fixture
def harness() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_what_waits_for_a_server_that_was_lost_is_answered_by_its_successor(
    tmp_path: Path, harness: ThreadPoolExecutor
) -> None:
    with Service(silent) as lost, Service(answers) as successor:
        attempt = Attempt(tmp_path, lost.url)
        asked = [harness.submit(attempt.ask, f"question {number}") for number in range(4)]
        wait_until(lambda: lost.in_flight == 4)
        attempt.gateway.lead("model", successor.url)
        assert [each.result().status_code for each in asked] == [200] * 4
        assert attempt.ask("one more").ok
        attempt.gateway.end()
    assert attempt.outcomes() == ["answered"] * 5
    assert (len(lost.requests), len(successor.requests)) == (4, 5)
    assert {headers["Authorization"] for *_, headers, _ in successor.requests} == {"Bearer key"}


def test_a_stream_of_a_server_that_was_lost_is_cut_and_asked_of_its_successor(
    tmp_path: Path, harness: ThreadPoolExecutor
) -> None:
    with Service(in_the_middle) as lost, Service(streams) as successor:
        attempt = Attempt(tmp_path, lost.url)
        asked = harness.submit(attempt.ask, "a question", stream=True)
        wait_until(lambda: lost.in_flight == 1)
        attempt.gateway.lead("model", successor.url)
        # Cut where something of it had come, else asked again inside.
        try:
            assert "half of" not in asked.result().text
        except requests.RequestException:
            assert "here" in attempt.ask("a question", stream=True).text
        attempt.gateway.end()
    assert attempt.outcomes()[-1] == "answered"


def test_a_client_that_leaves_after_a_move_has_left(tmp_path: Path) -> None:
    with Service(silent) as lost, Service(silent) as successor:
        attempt = Attempt(tmp_path, lost.url)
        with ThreadPoolExecutor(1) as pool:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            body = question("a question")
            asked = pool.submit(requests.post, attempt.url, json=body, headers=headers, timeout=3)
            wait_until(lambda: lost.in_flight == 1)
            attempt.gateway.lead("model", successor.url)
            with pytest.raises(requests.Timeout):
                asked.result()
        wait_until(lambda: successor.left == len(successor.requests) and successor.in_flight == 0)
        wait_until(lambda: attempt.outcomes() == ["gone"])
        attempt.gateway.end()
