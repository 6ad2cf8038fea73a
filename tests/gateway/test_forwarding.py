"""Everything passes unchanged, but for the key."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from aiohttp import web
from gateway_process import KEY, TOKEN, Gateway, text_of
from scripted_service import DONE, Service, chunk, completion, question

from rig.endpoint import ScriptedEndpoint
from rig.proxy import CountingProxy
from rig.tls import TlsFront
from rig.waiting import PATIENCE, wait_until
from snakeval.job.endpoint import CA_VARIABLES

LONGER = 330
"""Seconds."""
Start = Callable[..., Gateway]


def answering(*_: object) -> web.Response:
    return web.json_response(completion("hello"))


async def hello(*_: object) -> web.StreamResponse:
    return answering()


def test_the_real_key_takes_the_place_of_the_token(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        assert text_of(gateway.ask(question("a"))) == "hello"
        requests.post(
            gateway.url, json=question("b"), headers={"x-api-key": TOKEN}, timeout=PATIENCE
        )
        by_bearer, by_header = (headers for _, _, headers, _ in service.requests)
    assert by_bearer["Authorization"] == f"Bearer {KEY}"
    assert {name.lower(): value for name, value in by_header.items()}["x-api-key"] == KEY
    assert TOKEN not in str(service.requests)


def test_only_the_token_of_the_task_opens_it(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        for headers in ({}, {"Authorization": "Bearer else"}, {"x-api-key": TOKEN[:-1]}):
            refused = requests.post(gateway.url, json={}, headers=headers, timeout=PATIENCE)
            assert refused.status_code == 401
        assert not service.requests and not gateway.rows()


def test_the_token_may_be_the_first_folder_of_the_path(start: Start) -> None:
    """For endpoints without a key: their harnesses send none."""
    with Service(hello) as service:
        gateway = start(service.url)
        url = gateway.url.replace("/v1", f"/{TOKEN}/v1")
        assert requests.post(url, json=question("a"), timeout=PATIENCE).ok
        ((_, path, headers, _),) = service.requests
    assert path == "/v1/chat/completions" and "Authorization" not in headers


def test_the_real_key_is_in_no_file_and_no_command_line(start: Start, tmp_path: Path) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        gateway.ask(question("a"))
        command = Path(f"/proc/{gateway.process.pid}/cmdline").read_bytes()
    assert KEY.encode() not in command and TOKEN.encode() not in command
    written = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert KEY.encode() not in written and TOKEN.encode() not in written


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_any_method_and_path_passes_unchanged(start: Start, method: str) -> None:
    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Own", "x")]
        return web.Response(status=207, reason="Some", body=b"<" + body + b">", headers=headers)

    with Service(script) as service:
        gateway = start(service.url)
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Asked": "yes"}
        path = "/v2/any%2Fthing?b=%20&a=2"
        given = requests.request(
            method, gateway.origin + path, data=b"body", headers=headers, timeout=PATIENCE
        )
        ((asked, raw_path, seen, body),) = service.requests
    assert (asked, raw_path, body) == (method, path, b"body")
    assert seen["X-Asked"] == "yes" and seen["Host"].endswith(str(service.port))
    assert (given.status_code, given.reason, given.headers["X-Own"]) == (207, "Some", "x")
    assert given.headers["Set-Cookie"] == "a=1, b=2"
    assert given.content == (b"" if method == "HEAD" else b"<body>")
    wait_until(lambda: gateway.outcomes() == ["passed"])


def test_models_errors_and_redirects_pass_unchanged(start: Start) -> None:
    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        if request.path == "/moved":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        return web.json_response({"error": {"message": "no such thing"}}, status=418)

    with Service(script) as service:
        gateway = start(service.url)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        models = requests.get(gateway.origin + "/v1/models", headers=headers, timeout=PATIENCE)
        moved = requests.get(
            gateway.origin + "/moved", headers=headers, allow_redirects=False, timeout=PATIENCE
        )
        refused = gateway.ask(question("a"))
    assert models.json() == {"data": [{"id": "m"}]}
    assert (moved.status_code, moved.headers["Location"]) == (307, "/elsewhere")
    assert refused.status_code == 418 and refused.json() == {"error": {"message": "no such thing"}}
    assert gateway.rows()[-1]["status"] == 418 and gateway.outcomes()[-1] == "refused"


def test_a_compressed_answer_passes_as_it_is_and_is_read(start: Start) -> None:
    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        packed = gzip.compress(json.dumps(completion("hello")).encode())
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=packed, headers=headers)

    with Service(script) as service:
        gateway = start(service.url)
        given = gateway.ask(question("a"), headers={"Accept-Encoding": "br, gzip"})
        assert service.requests[0][2]["Accept-Encoding"] == "gzip"
        assert given.headers["Content-Encoding"] == "gzip" and text_of(given) == "hello"
        assert gateway.account().tokens == {"prompt": 10, "completion": 3}
        gateway.end()
        again = start(service.url, attempt=2).ask(question("a"))
    assert text_of(again) == "hello" and "Content-Encoding" not in again.headers


@pytest.mark.parametrize("name", ["deflate", "x-gzip"])
def test_other_words_for_compression_are_read_too(start: Start, name: str) -> None:
    """Many servers send a deflate without its head, as browsers take it."""
    content = json.dumps(completion("hello")).encode()
    raw = zlib.compressobj(wbits=-15)
    packed = gzip.compress(content) if "gzip" in name else raw.compress(content) + raw.flush()

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {"Content-Encoding": name, "Content-Type": "application/json"}
        return web.Response(body=packed, headers=headers)

    with Service(script) as service:
        gateway = start(service.url)
        gateway.ask(question("a"), headers={"Accept-Encoding": "gzip, deflate"})
        assert gateway.outcomes() == ["answered"] and len(service.requests) == 1


def test_half_a_character_is_an_answer_too(start: Start) -> None:
    """`\\ud83d` alone is JSON, and no text that could be written in UTF-8."""

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.json_response(completion("\ud83d", model="\udcff"))

    with Service(script) as service:
        gateway = start(service.url)
        assert text_of(gateway.ask(question("a"))) == "\ud83d"
        gateway.end()
        second = start(service.url, attempt=2)
        assert text_of(second.ask(question("a"))) == "\ud83d"
    assert second.outcomes() == ["answered", "replayed"]


@pytest.mark.parametrize("media_type", ["text/event-stream", "text/plain"])
def test_streams_pass_chunk_by_chunk_as_they_come(start: Start, media_type: str) -> None:
    go_on = asyncio.Event()

    async def script(service: Service, request: web.Request, _: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": media_type})
        await response.prepare(request)
        await response.write(chunk("Hel"))
        await go_on.wait()
        await response.write(chunk("lo", "stop") + DONE)
        return response

    with Service(script) as service:
        gateway = start(service.url)
        with gateway.ask(question("a", stream=True), stream=True) as given:
            parts = given.iter_content(None)
            first = next(parts)
            service._loop.call_soon_threadsafe(go_on.set)
            rest = b"".join(parts)
    assert first == chunk("Hel") and rest == chunk("lo", "stop") + DONE
    (row,) = gateway.rows()
    assert (row["outcome"], row["finish"]) == ("answered", "stop")
    assert row["first_byte"] <= row["seconds"]


def test_a_stream_that_is_cut_is_cut_for_the_harness_and_no_answer(start: Start) -> None:
    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk("Hel"))
        assert request.transport
        request.transport.abort()
        return response

    with Service(script) as service:
        gateway = start(service.url)
        with pytest.raises(requests.RequestException):
            _ = gateway.ask(question("a", stream=True)).content
    assert gateway.outcomes() == ["cut"] and gateway.account().unanswered == 1


def test_who_leaves_after_the_last_event_of_a_stream_was_answered(start: Start) -> None:
    """Some clients wait for no end of the body."""

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk("Hello", "stop") + DONE)
        await asyncio.sleep(60)
        return response

    with Service(script) as service:
        gateway = start(service.url)
        with gateway.ask(question("a", stream=True), stream=True) as given:
            assert DONE in next(given.iter_content(None))
            assert gateway.outcomes() == ["answered"], "recorded before it is passed on"
        wait_until(lambda: service.left == 1)
    assert gateway.account().unanswered == 0 and len(gateway.rows()) == 1


def test_a_client_that_hangs_up_ends_the_request_at_the_endpoint(start: Start) -> None:
    async def script(*_: object) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    with Service(script) as service:
        gateway = start(service.url)
        with pytest.raises(requests.Timeout):
            gateway.ask(question("a"), timeout=0.5)
        wait_until(lambda: service.left == 1)
        wait_until(lambda: gateway.outcomes() == ["gone"])


def test_bodies_of_50_mb_pass_both_ways(start: Start) -> None:
    text = "x" * 50_000_000

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.json_response(completion(text))

    with Service(script) as service:
        gateway = start(service.url)
        assert text_of(gateway.ask(question(text))) == text
        assert len(service.requests[0][3]) > 50_000_000


@pytest.mark.long
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_an_answer_may_take_as_long_as_the_harness_waits(start: Start, is_stream: bool) -> None:
    """Longer than the libraries' own limits, of which five minutes is the longest."""

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        if not is_stream:
            await asyncio.sleep(LONGER)
            return web.json_response(completion("hello"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk("Hel"))
        await asyncio.sleep(LONGER)
        await response.write(chunk("lo", "stop") + DONE)
        return response

    with Service(script) as service:
        gateway = start(service.url)
        given = gateway.ask(question("a", stream=is_stream), timeout=4 * LONGER)
    assert b"lo" in given.content and gateway.outcomes() == ["answered"]


def test_a_slow_reader_holds_nobody_up(start: Start) -> None:
    """It reads a stream of 50 MB bit by bit: the gateway does not take all of it in."""

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        if b"short" in body:
            return answering()
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(500):
            await response.write(b"x" * 100_000)
        return response

    with Service(script) as service:
        gateway = start(service.url)
        reader = socket.create_connection(("127.0.0.1", int(gateway.ports["model"])))
        head = f"GET /big HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        reader.sendall(head.encode())
        assert reader.recv(100)
        assert gateway.ask(question("short")).ok
        status = Path(f"/proc/{gateway.process.pid}/status").read_text()
        memory = int(status.split("VmRSS:")[1].split()[0])
        assert memory < 150_000, "kB"
        reader.close()


def test_two_endpoints_have_an_account_each(start: Start) -> None:
    with Service(hello) as model, Service(hello) as judge:
        environment = {"JUDGE": judge.url, "JUDGE_KEY": "sk-judge-key"}
        more = ["--endpoint", "judge", "JUDGE", "JUDGE_KEY"]
        gateway = start(model.url, environment=environment, more=more)
        gateway.ask(question("a"))
        url = f"http://127.0.0.1:{gateway.ports['judge']}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        requests.post(url, json=question("b"), headers=headers, timeout=PATIENCE)
        assert judge.requests[0][2]["Authorization"] == "Bearer sk-judge-key"
    assert [row["endpoint"] for row in gateway.rows()] == ["model", "judge"]


def test_the_callers_proxy_is_used_but_not_for_this_machine(
    start: Start, endpoint: ScriptedEndpoint
) -> None:
    with CountingProxy(everything_to=("127.0.0.1", endpoint.port)) as proxy:
        environment = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "no_proxy": ""}
        far = start("http://model.test/v1/chat/completions", environment=environment)
        near = start(endpoint.chat_url, attempt=2, environment=environment)
        assert far.ask(question("What is 1 + 1?")).ok and near.ask(question("What is 1 + 2?")).ok
        assert proxy.asked == {"model.test": 1}


def test_the_callers_certificate_authority_is_trusted_and_no_other(
    start: Start, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    with TlsFront(endpoint.port, tmp_path / "tls") as front:
        url = f"https://localhost:{front.port}/v1/chat/completions"
        trusting = start(url, environment=dict.fromkeys(CA_VARIABLES, str(front.authority)))
        assert trusting.ask(question("What is 1 + 1?")).ok
        other = start(url, attempt=2)
        refused = other.ask(question("What is 1 + 2?"), timeout=PATIENCE)
    assert refused.status_code == 502 and "certificate" in refused.json()["error"]["message"]


def test_it_ends_with_its_standard_input(start: Start, endpoint: ScriptedEndpoint) -> None:
    gateway = start(endpoint.chat_url)
    gateway.end()
    assert gateway.process.returncode == 0
    with pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", int(gateway.ports["model"])).connect()
