"""A service that is short of breath is given time, and costs no sample."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web
from gateway_process import Gateway, text_of
from scripted_service import Service, completion, prompt_of, question

from rig.endpoint import Fault, ScriptedEndpoint
from rig.promised import promised
from rig.waiting import PATIENCE, wait_until
from snakeval.job.gateway.pace import Pace, Patience, private_folder, retry_after

Start = Callable[..., Gateway]


@pytest.mark.parametrize("status", [429, 502, 503])
def test_come_back_later_is_waited_out_inside(
    start: Start, endpoint: ScriptedEndpoint, status: int
) -> None:
    endpoint.fault = Fault("status", status=status, first=2)
    gateway = start(endpoint.chat_url)
    assert gateway.ask(question("What is 1 + 1?")).status_code == 200
    (row,) = gateway.rows()
    assert row["tries"] == 3 and row["held"] > 0.1 and gateway.account().unanswered == 0


@pytest.mark.parametrize("kind", ["drop", "truncate"])
def test_a_connection_that_is_cut_is_made_again(
    start: Start, endpoint: ScriptedEndpoint, kind: str
) -> None:
    endpoint.fault = Fault(kind, first=2)  # type: ignore[arg-type]
    gateway = start(endpoint.chat_url)
    assert gateway.ask(question("What is 1 + 1?")).status_code == 200
    assert gateway.outcomes() == ["answered"]


def test_other_errors_are_the_harness_own_at_once(start: Start, endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = Fault("status", status=500)
    gateway = start(endpoint.chat_url)
    assert gateway.ask(question("What is 1 + 1?"), timeout=PATIENCE).status_code == 500
    assert endpoint.requests.total() == 1


def test_a_service_that_is_away_for_a_while_costs_no_sample(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    gateway = start(endpoint.chat_url)
    assert gateway.ask(question("What is 0 + 1?")).ok
    endpoint.stop_listening()
    back = threading.Timer(6, endpoint.listen)
    back.start()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: gateway.ask(question(f"What is {n} + 1?")), range(16)))
    assert [reply.status_code for reply in replies] == [200] * 16
    assert gateway.account().unanswered == 0 and not gateway.account().failures


def test_a_service_that_is_gone_is_told_so_and_not_waited_for_by_each(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    gateway = start(endpoint.chat_url, patience=2)
    endpoint.stop_listening()
    with promised(10):  # the first one waits for all
        replies = [gateway.ask(question(f"What is {n} + 1?")) for n in range(10)]
    assert {reply.status_code for reply in replies} == {502}
    assert "could not be asked" in replies[0].json()["error"]["message"]
    assert gateway.account().failures == {"unreachable": 10}
    assert gateway.account().unanswered == 10


def test_a_refusal_that_lasts_is_passed_on_unchanged(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    endpoint.fault = Fault("status", status=429)
    gateway = start(endpoint.chat_url, patience=1)
    reply = gateway.ask(question("What is 1 + 1?"))
    assert reply.status_code == 429 and "refuses" in reply.json()["error"]["message"]
    assert gateway.account().failures == {"429": 1}


def test_retry_after_is_kept_by_all(start: Start) -> None:
    asked: list[float] = []

    async def script(*_: object) -> web.StreamResponse:
        asked.append(time.monotonic())
        if len(asked) == 1:
            return web.json_response({}, status=429, headers={"Retry-After": "2"})
        return web.json_response(completion("x"))

    with Service(script) as service:
        gateway = start(service.url)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(gateway.ask, question("a"))
            wait_until(lambda: len(asked) == 1)
            time.sleep(1)  # the gateway has read it
            second = pool.submit(gateway.ask, question("b"))
            assert first.result().ok and second.result().ok
    assert all(at - asked[0] > 1.8 for at in asked[1:])


def test_a_retry_after_beyond_patience_is_passed_on_at_once(start: Start) -> None:
    async def script(*_: object) -> web.StreamResponse:
        return web.json_response({}, status=429, headers={"Retry-After": "3600"})

    with Service(script) as service:
        gateway = start(service.url)
        reply = gateway.ask(question("a"), timeout=PATIENCE)
    assert reply.status_code == 429 and reply.headers["Retry-After"] == "3600"


def test_a_service_that_takes_four_at_once_is_asked_by_about_four(start: Start) -> None:
    refused: Counter[str] = Counter()

    async def script(service: Service, _: web.Request, body: bytes) -> web.StreamResponse:
        if service.in_flight > 4:
            refused[prompt_of(body)] += 1
            return web.json_response({"error": "too many"}, status=429)
        await asyncio.sleep(0.05)
        return web.json_response(completion("x"))

    with Service(script) as service:
        gateway = start(service.url)
        with ThreadPoolExecutor(32) as pool:
            replies = list(pool.map(lambda n: gateway.ask(question(f"{n}")), range(200)))
    assert {reply.status_code for reply in replies} == {200}
    assert refused.total() < 200, "without holding back there would be many more"
    assert gateway.account().unanswered == 0


def test_max_in_flight_holds_for_all_tasks_together(start: Start) -> None:
    async def script(*_: object) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.json_response(completion("x"))

    with Service(script) as service:
        one, two = (start(service.url, n, max_in_flight=3) for n in (1, 2))
        with ThreadPoolExecutor(16) as pool:
            asking = [
                pool.submit(each.ask, question(f"{n}")) for n in range(30) for each in (one, two)
            ]
            assert all(each.result().ok for each in asking)
    assert service.highest == 3


def test_slots_of_a_gateway_that_was_killed_are_free(start: Start) -> None:
    async def script(_: Service, __: web.Request, body: bytes) -> web.StreamResponse:
        if b"hang" in body:
            await asyncio.sleep(60)
        return web.json_response(completion("x"))

    with Service(script) as service:
        first = start(service.url, max_in_flight=1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(first.ask, question("hang"))
            wait_until(lambda: service.in_flight == 1)
            first.kill()
        second = start(service.url, 2, max_in_flight=1)
        assert text_of(second.ask(question("a"), timeout=PATIENCE)) == "x"


def test_the_limit_is_halved_once_for_what_was_in_flight_and_grows_by_one_a_round(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        pace = Pace(tmp_path, "http://x:1")
        assert pace.limit > 10_000
        slots = [pace.slot() for _ in range(16)]
        asked_at = [await slot.__aenter__() for slot in slots]
        for at in asked_at:
            pace.slower(at)  # 16 refusals of one moment
        assert pace.limit == 8
        for slot in slots:
            await slot.__aexit__(None, None, None)
        for _ in range(9):
            pace.faster()
        assert pace.limit == 9
        other = Pace(tmp_path, "http://x:1")
        assert other.limit == 9, "all see the same"
        assert Pace(tmp_path, "http://y:1").limit > 10_000

    asyncio.run(story())


def test_slots_are_shared_between_processes(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from snakeval.job.gateway.pace import Pace\n"
        "async def hold():\n"
        "    async with Pace(Path(sys.argv[1]), 'http://x:1', 1).slot():\n"
        "        print('held', flush=True)\n"
        "        sys.stdin.read()\n"
        "asyncio.run(hold())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"

        async def wanted(seconds: float) -> bool:
            try:
                async with asyncio.timeout(seconds), Pace(tmp_path, "http://x:1", 1).slot():
                    return True
            except TimeoutError:
                return False

        assert not asyncio.run(wanted(0.3))
        holder.kill()
        holder.wait()
        assert asyncio.run(wanted(5))


def test_patience_ends_with_the_request_or_with_the_service() -> None:
    patience = Patience(10)
    now = time.monotonic()
    assert 0 < (patience.pause(now, 1) or 0) < 1
    assert patience.pause(now, 1, wanted=60) is None
    assert patience.pause(now - 9.9, 3) is None, "this request has waited long enough"
    assert patience.pause(now, 1, wanted=3) == 3


def test_retry_after_may_be_a_number_or_a_date() -> None:
    assert retry_after("2.5") == 2.5 and retry_after("-1") == 0
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3000))
    assert 2000 < (retry_after(later) or 0) <= 3000
    assert retry_after("soon") is retry_after(None) is retry_after("") is None


def test_the_shared_folder_is_private() -> None:
    assert private_folder().stat().st_mode & 0o077 == 0
