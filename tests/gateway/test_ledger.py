"""The ledger: what was asked, answered, failed; and answers that are asked once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web
from gateway_process import TOKEN, Gateway, text_of
from scripted_service import DONE, Service, chunk, completion, question

from rig.endpoint import Fault, ScriptedEndpoint
from rig.waiting import wait_until
from snakeval.job import record
from snakeval.job.gateway.accounts import Account, accounts, unanswered
from snakeval.job.gateway.asked import Occurrences, asked
from snakeval.job.gateway.ledger import ANSWERS, LEDGER, Answers, Ledger, Stored, rows
from snakeval.job.gateway.tally import answers_of, live, totals_of

Start = Callable[..., Gateway]


def numbered() -> Callable[..., object]:
    """Every answer is another: what is asked anew is seen."""
    numbers = count(1)

    async def script(*_: object) -> web.StreamResponse:
        return web.json_response(completion(f"answer {next(numbers)}"))

    return script


def test_a_line_has_all_that_is_known_of_a_request(start: Start) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}

    async def script(*_: object) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.json_response(completion("x", "length", model="other-model", usage=usage))

    with Service(script) as service:
        gateway = start(service.url, attempt=3)
        gateway.ask(question("a"))
    (row,) = gateway.rows()
    assert row["attempt"] == 3 and row["endpoint"] == "model" and row["status"] == 200
    assert row["path"] == "/v1/chat/completions" and row["occurrence"] == 0
    assert (row["model"], row["named"]) == ("test-model", "other-model")
    assert row["tokens"] == {"prompt": 7, "completion": 2} and row["finish"] == "length"
    assert 0.1 <= row["first_byte"] <= row["seconds"] and len(row["key"]) == 32
    account = gateway.account()
    assert account.other_models == {"test-model -> other-model": 1} and account.all_cut


def test_an_interrupted_attempt_asks_only_what_was_never_answered(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    bodies = [question(f"What is {n} + 1?") for n in range(40)]
    endpoint.latency = 0.05
    first = start(endpoint.chat_url)
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(first.ask, body) for body in bodies]
        endpoint.wait_until_answered(15)
        first.kill()  # SIGKILL, with four in flight
        answered = [each.result().json() for each in asking if each.exception() is None]
    given = endpoint.answers.total()
    second = start(endpoint.chat_url, attempt=2)
    again = [second.ask(body).json() for body in bodies]
    assert all(each in again for each in answered)
    assert endpoint.requests.total() <= 40 + 4, "only those in flight are asked twice"
    assert second.account().replayed >= given - 4
    assert second.account().unanswered == 0


def test_what_the_harness_has_received_is_always_on_disk(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    """SIGKILL at any moment: nothing that was given out is asked again."""
    received: set[int] = set()
    for attempt in range(1, 6):
        gateway = start(endpoint.chat_url, attempt=attempt)
        stop = threading.Timer(0.15 * attempt, gateway.process.kill)
        stop.start()
        with ThreadPoolExecutor(8) as pool:
            texts = pool.map(partial(asked_text, gateway), range(300))
            received |= {n for n, text in enumerate(texts) if text}
        stop.cancel()
        gateway.kill()
    last = start(endpoint.chat_url, attempt=9)
    endpoint.reset_counters()
    for n in received:
        asked_text(last, n)
    assert len(received) > 20 and endpoint.requests.total() == 0


def asked_text(gateway: Gateway, n: int) -> str:
    try:
        return text_of(gateway.ask(question(f"What is {n} + 1?")))
    except requests.RequestException:
        return ""


def test_repeats_are_samples_of_their_own_and_resume_one_by_one(start: Start) -> None:
    with Service(numbered()) as service:  # type: ignore[arg-type]
        first = start(service.url)
        before = [text_of(first.ask(question("a", temperature=1))) for _ in range(3)]
        first.kill()
        second = start(service.url, attempt=2)
        after = [text_of(second.ask(question("a", temperature=1))) for _ in range(5)]
    assert before == ["answer 1", "answer 2", "answer 3"]
    assert after == [*before, "answer 4", "answer 5"]
    assert second.outcomes() == ["answered"] * 3 + ["replayed"] * 3 + ["answered"] * 2
    assert second.account().unanswered == 0


def test_two_equal_requests_in_flight_are_two(start: Start) -> None:
    with Service(numbered()) as service:  # type: ignore[arg-type]
        gateway = start(service.url)
        with ThreadPoolExecutor(4) as pool:
            texts = list(pool.map(lambda _: text_of(gateway.ask(question("a"))), range(4)))
    assert len(set(texts)) == 4
    assert sorted(row["occurrence"] for row in gateway.rows()) == [0, 1, 2, 3]


def test_who_hangs_up_and_asks_again_is_the_same_occurrence(start: Start) -> None:
    slow = [True]

    async def script(*_: object) -> web.StreamResponse:
        if slow:
            await asyncio.sleep(60)
        return web.json_response(completion("hello"))

    with Service(script) as service:
        gateway = start(service.url)
        with pytest.raises(requests.Timeout):
            gateway.ask(question("a"), timeout=0.3)
        wait_until(lambda: gateway.outcomes() == ["gone"])
        assert gateway.account().unanswered == 1
        slow.clear()
        assert gateway.ask(question("a")).ok
    assert [row["occurrence"] for row in gateway.rows()] == [0, 0]
    assert gateway.account().unanswered == 0


def test_a_retry_after_an_error_leaves_none_unanswered(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    endpoint.fault = Fault("status", status=500, first=2)
    gateway = start(endpoint.chat_url)
    statuses = [gateway.ask(question("What is 1 + 1?")).status_code for _ in range(3)]
    account = gateway.account()
    assert statuses == [500, 500, 200]
    assert (account.requests, account.answered, account.unanswered) == (3, 1, 0)
    assert account.failures == {"500": 2}


def test_what_never_got_an_answer_is_counted_once_over_all_attempts(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    endpoint.fault = Fault("status", status=400, every=2)
    bodies = [question(f"What is {n} + 1?") for n in range(6)]
    first = start(endpoint.chat_url)
    for body in [*bodies, *bodies[1::2]]:
        first.ask(body)
    assert first.account().unanswered == 3
    first.end()
    second = start(endpoint.chat_url, attempt=2)  # its harness takes the failed ones for done
    for body in bodies[::2]:
        second.ask(body)
    assert second.account().unanswered == 3


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "<html>Service is starting</html>", "content_type": "text/html"},
        {"text": '{"detail": "Not found"}', "content_type": "application/json"},
        {"text": '{"choices": []}', "content_type": "application/json"},
        {"text": json.dumps(completion("half an", "error"))},
        {"text": json.dumps(completion("x", error={"message": "overloaded"}))},
    ],
)
def test_errors_in_a_200_pass_as_they_are_and_are_never_kept(
    start: Start, reply: dict[str, str]
) -> None:
    bad = [True]

    async def script(*_: object) -> web.StreamResponse:
        return web.Response(**reply) if bad else web.json_response(completion("hello"))  # type: ignore[arg-type]

    with Service(script) as service:
        first = start(service.url)
        given = first.ask(question("a"))
        assert given.status_code == 200 and given.text == reply["text"]
        assert given.headers["X-Snakeval-Gateway"].startswith("not an answer")
        assert first.account().unanswered == 1 and first.account().failures == {"no answer": 1}
        assert len(service.requests) == 2, "what may be a page of a moment is asked once more"
        first.kill()
        bad.clear()
        second = start(service.url, attempt=2)
        assert text_of(second.ask(question("a"))) == "hello"
    assert second.account().unanswered == 0


def test_a_page_of_a_moment_in_a_200_costs_the_harness_nothing(start: Start) -> None:
    async def script(service: Service, *_: object) -> web.StreamResponse:
        if len(service.requests) == 1:
            return web.Response(text="<html>back in a moment</html>", content_type="text/html")
        return web.json_response(completion("hello"))

    with Service(script) as service:
        gateway = start(service.url)
        assert text_of(gateway.ask(question("a"))) == "hello"
    assert gateway.outcomes() == ["answered"] and gateway.rows()[0]["tries"] == 2


def test_a_stream_is_replayed_as_a_stream(start: Start) -> None:
    whole = chunk("Hel") + chunk("lo", "stop") + DONE

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(body=whole, content_type="text/event-stream")

    with Service(script) as service:
        first = start(service.url)
        assert first.ask(question("a", stream=True)).content == whole
        first.kill()
        second = start(service.url, attempt=2)
        given = second.ask(question("a", stream=True))
    assert given.content == whole and given.headers["Content-Type"] == "text/event-stream"
    assert given.headers["X-Snakeval-Replayed"] and len(service.requests) == 1
    assert second.outcomes() == ["answered", "replayed"]


def test_an_answer_that_nobody_received_is_given_to_who_asks_again(start: Start) -> None:
    text = "x" * 20_000_000  # more than sockets take

    async def script(*_: object) -> web.StreamResponse:
        return web.json_response(completion(text))

    with Service(script) as service:
        gateway = start(service.url)
        response = gateway.ask(question("a"), stream=True)
        response.raw.read(10)
        response.close()
        wait_until(lambda: len(gateway.rows()) == 1)
        assert text_of(gateway.ask(question("a"))) == text
    assert len(service.requests) == 1 and gateway.outcomes() == ["answered", "replayed"]
    assert [row["occurrence"] for row in gateway.rows()] == [0, 0]


def test_empty_and_equal_answers_are_told(start: Start) -> None:
    async def script(*_: object) -> web.StreamResponse:
        return web.json_response(completion(""))

    with Service(script) as service:
        gateway = start(service.url)
        for n in range(3):
            gateway.ask(question(f"question {n}"))
    account = gateway.account()
    assert account.empty == 3 and account.all_equal and not account.all_cut


# ---------------------------------------------------------------- the files themselves


def test_equal_bodies_in_other_words_are_equal() -> None:
    one = asked("model", "/v1/chat/completions", b'{"model": "m", "n": 1}')
    assert one == asked("model", "/v1/chat/completions", b'{"n":1,"model":"m"}')
    assert one.model == "m" and len(one.key) == 16
    others = [("judge", "/v1/chat/completions"), ("model", "/v1/completions")]
    assert all(asked(*other, b'{"model": "m", "n": 1}').key != one.key for other in others)
    assert asked("model", "/x", b"no json").key != asked("model", "/x", b"no  json").key


def test_a_number_that_was_given_back_is_the_next_one() -> None:
    occurrences = Occurrences()
    assert [occurrences.take(b"a") for _ in range(3)] == [0, 1, 2]
    occurrences.give_back(b"a", 1)
    occurrences.give_back(b"a", 0)
    assert [occurrences.take(b"a") for _ in range(3)] == [0, 1, 3]
    assert occurrences.take(b"b") == 0


def test_a_ledger_that_was_cut_anywhere_is_read_and_continued(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for n in range(3):
        ledger.add({"n": n})
    whole = (tmp_path / LEDGER).read_bytes()
    for length in range(len(whole) + 1):
        (tmp_path / LEDGER).write_bytes(whole[:length])
        before = [row["n"] for row in rows(tmp_path / LEDGER)]
        Ledger(tmp_path).add({"n": 9})
        assert [row["n"] for row in rows(tmp_path / LEDGER)] == [*before, 9]
        assert before == list(range(len(before)))


def test_an_answer_that_was_cut_or_changed_is_asked_again(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    at = answers.keep(Stored("application/json", 1.5, b"the answer"))
    later = answers.keep(Stored("application/json", 2.5, b"another"))
    assert answers.read(at) == Stored("application/json", 1.5, b"the answer")
    content = (tmp_path / ANSWERS).read_bytes()
    other_byte = content[: at + 20] + bytes([content[at + 20] ^ 1]) + content[at + 21 :]
    zeros = b"\0" * len(content)
    for changed in (content[:at], content[: at + 6], content[: at + 20], zeros, other_byte):
        (tmp_path / ANSWERS).write_bytes(changed)
        assert Answers(tmp_path).read(at) is None
    (tmp_path / ANSWERS).write_bytes(content)
    assert Answers(tmp_path).read(later) is not None


def test_readers_count_by_endpoint_and_take_no_replay_for_paid(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    line = {"time": 100.0, "attempt": 1, "endpoint": "model", "seconds": 2.0, "occurrence": 0}
    tokens = {"prompt": 10, "completion": 4}
    ledger.add({**line, "key": "a", "outcome": "answered", "tokens": tokens, "finish": "stop"})
    ledger.add({**line, "key": "a", "outcome": "replayed", "attempt": 2, "tokens": tokens})
    ledger.add({**line, "key": "b", "outcome": "refused", "status": 500})
    ledger.add({**line, "key": "c", "outcome": "unreachable", "endpoint": "judge"})
    ledger.add({**line, "outcome": "passed", "path": "/v1/models"})
    found = accounts(tmp_path)
    assert unanswered(tmp_path / LEDGER) == {"model": 1, "judge": 1}
    assert found["model"].requests == 3 and found["model"].tokens == tokens
    assert set(found["model"].latency) == {"mean", "median", "p90", "p99", "max"}
    assert set(found["model"].latency.values()) == {2.0}
    assert found["model"].answers_per_second == 0.5
    assert found["judge"].failures == {"unreachable": 1}
    assert accounts(tmp_path / "nothing") == {} and Account().answers_per_second is None
    assert TOKEN not in json.dumps({name: each.as_json() for name, each in found.items()})


def test_answers_by_another_model_than_the_rest_are_asked_again(tmp_path: Path) -> None:
    ledger, answers = Ledger(tmp_path), Answers(tmp_path)
    for key, named in (("aa", None), ("bb", None), ("cc", "other")):
        at = answers.keep(Stored("application/json", 1.5, key.encode()))
        line = {"key": key, "occurrence": 0, "at": at, "outcome": "answered", "model": "m"}
        ledger.add({**line, "named": named} if named else line)
    kept = Answers(tmp_path)
    assert [kept.take(bytes.fromhex(key), 0) is not None for key in ("aa", "bb", "cc")] == [
        True, True, False,
    ]  # fmt: skip
    assert Answers(tmp_path, of_one_model=False).take(b"\xcc", 0) is not None


def test_answers_of_an_attempt_whose_model_is_in_doubt_are_asked_again(tmp_path: Path) -> None:
    ledger, answers = Ledger(tmp_path), Answers(tmp_path)
    line = {"occurrence": 0, "model": "m"}

    def keep(key: str, attempt: int, **more: Any) -> dict[str, Any]:
        at = answers.keep(Stored("application/json", 1.5, b"{}"))
        row = {**line, "key": key, "attempt": attempt, "at": at, "outcome": "answered", **more}
        ledger.add(row)
        return row

    keep("aa", 1)
    bad = keep("bb", 2)
    keep("cc", 2, endpoint="judge")
    ledger.add({**bad, "attempt": 3, "outcome": "replayed"})
    record.doubt(tmp_path, 2)
    kept = Answers(tmp_path)
    assert [kept.take(bytes.fromhex(key), 0) is not None for key in ("aa", "bb", "cc")] == [
        True, False, True,
    ]  # fmt: skip
    keep("bb", 4)
    assert Answers(tmp_path).take(b"\xbb", 0) is not None


def test_a_verdict_that_came_the_second_time_is_kept(tmp_path: Path) -> None:
    ledger, answers = Ledger(tmp_path), Answers(tmp_path)
    line = {"occurrence": 0, "outcome": "answered", "model": "j", "endpoint": "judge", "key": "aa"}
    for empty in (True, False):
        at = answers.keep(Stored("application/json", 1.5, b"{}"))
        ledger.add({**line, "at": at, "empty": empty})
    assert Answers(tmp_path).take(b"\xaa", 0) is not None


def test_the_silence_of_a_judge_is_no_verdict_and_is_asked_again(tmp_path: Path) -> None:
    ledger, answers = Ledger(tmp_path), Answers(tmp_path)
    line = {"occurrence": 0, "outcome": "answered", "model": "m"}
    for key, endpoint, empty in (("aa", "judge", True), ("bb", "judge", False), ("cc", "model", 1)):
        at = answers.keep(Stored("application/json", 1.5, b"{}"))
        ledger.add({**line, "endpoint": endpoint, "key": key, "at": at, "empty": bool(empty)})
    ledger.add({**line, "endpoint": "model", "key": "dd", "at": 0})
    kept = Answers(tmp_path)
    assert [kept.take(bytes.fromhex(key), 0) is not None for key in ("aa", "bb", "cc")] == [
        False, True, True,
    ]  # fmt: skip


def test_a_model_that_has_said_nothing_at_all_is_asked_again(tmp_path: Path) -> None:
    ledger, answers = Ledger(tmp_path), Answers(tmp_path)
    line = {"occurrence": 0, "outcome": "answered", "model": "m", "endpoint": "model"}
    for key in ("aa", "bb"):
        at = answers.keep(Stored("application/json", 1.5, b"{}"))
        ledger.add({**line, "key": key, "at": at, "empty": True})
    assert Answers(tmp_path).is_empty
    at = answers.keep(Stored("application/json", 1.5, b"a word"))
    ledger.add({**line, "key": "cc", "at": at})
    assert Answers(tmp_path).take(b"\xaa", 0) is not None


def test_a_result_stands_on_what_was_asked_since_it_began_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    line = {"time": 100.0, "endpoint": "model", "seconds": 2.0, "occurrence": 0, "model": "m"}
    ledger.add({**line, "attempt": 1, "key": "a1", "outcome": "refused", "status": 500})
    ledger.add({**line, "attempt": 1, "key": "b1", "outcome": "answered", "named": "other"})
    assert accounts(tmp_path, since=2)["model"].unanswered == 1, "the second has asked nothing"
    ledger.add({**line, "attempt": 2, "key": "a2", "outcome": "answered"})
    ledger.add({**line, "attempt": 2, "key": "b2", "outcome": "replayed"})
    now, ever = accounts(tmp_path, since=2)["model"], accounts(tmp_path)["model"]
    assert (now.unanswered, now.is_mixed, now.requests) == (0, False, 4)
    assert (ever.unanswered, ever.is_mixed, ever.requests) == (1, True, 4)


def test_sums_are_told_while_it_runs(start: Start, endpoint: ScriptedEndpoint) -> None:
    gateway = start(endpoint.chat_url)
    gateway.ask(question("What is 1 + 1?"))
    wait_until(lambda: answers_of(live(gateway.record), "model") == 1)
    told = live(gateway.record)
    assert totals_of(told, "model")["requests"] == 1
    gateway.end()
    second = start(endpoint.chat_url, attempt=2)
    second.ask(question("What is 1 + 1?"))
    wait_until(lambda: answers_of(live(second.record), "model") == 1)
    told = live(second.record)
    assert told["attempt"] == 2
    assert totals_of(told, "model")["requests"] == totals_of(told, "model")["replayed"] == 1
