"""What harnesses and endpoints may send beside the usual passes, or is refused in a sentence."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from aiohttp import web
from gateway_process import KEY, TOKEN, Gateway, text_of
from scripted_service import Service, completion, question

from rig.waiting import PATIENCE

Start = Callable[..., Gateway]
BODY = json.dumps(question("a")).encode()


async def hello(*_: object) -> web.StreamResponse:
    return web.json_response(completion("hello"))


@contextmanager
def line_to(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(gateway.ports["model"])), PATIENCE) as line:
        line.settimeout(PATIENCE)
        yield line


def said(gateway: Gateway, text: bytes) -> bytes:
    """All that comes back until the gateway closes the connection."""
    with line_to(gateway) as line:
        line.sendall(text)
        return b"".join(iter(lambda: line.recv(65536), b""))


def asking(target: bytes, *more: bytes, version: bytes = b"1.1") -> bytes:
    head = [b"POST %s HTTP/%s" % (target, version), b"Host: x", b"Connection: close", *more]
    head += [b"Authorization: Bearer " + TOKEN.encode(), b"Content-Type: application/json"]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(BODY), b"", BODY])


def test_a_whole_url_as_for_a_proxy_is_a_path_of_the_endpoint(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        for target in (b"http://127.0.0.1:1", b"http://127.0.0.1:1/" + TOKEN.encode()):
            assert b"hello" in said(gateway, asking(target + b"/v1/chat/completions?a=1"))
    assert {path for _, path, *_ in service.requests} == {"/v1/chat/completions?a=1"}


@pytest.mark.parametrize("target", [b"*", b"elsewhere:443"])
def test_what_is_no_path_is_refused_in_a_sentence(start: Start, target: bytes) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        method = b"OPTIONS" if target == b"*" else b"CONNECT"
        answer = said(gateway, asking(target).replace(b"POST", method))
    assert b" 400 " in answer[:20] and not service.requests


def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        head, _, body = asking(b"/v1/chat/completions", b"Expect: 100-continue").partition(
            b"\r\n\r\n"
        )
        with line_to(gateway) as line:
            line.sendall(head + b"\r\n\r\n")
            assert line.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
            line.sendall(body)
            answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200") and b"hello" in answer
    assert service.requests[0][3] == BODY


def test_http_1_0_gets_an_answer_that_it_can_read(start: Start) -> None:
    with Service(hello) as service:
        answer = said(start(service.url), asking(b"/v1/chat/completions", version=b"1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head and b"chunked" not in head.lower() and json.loads(body)["choices"]


def test_a_question_in_chunks_and_a_compressed_one_are_the_same_question(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        chunked = requests.post(gateway.url, iter([BODY]), headers=headers, timeout=PATIENCE)
        headers["Content-Encoding"] = "gzip"
        packed = requests.post(gateway.url, gzip.compress(BODY), headers=headers, timeout=PATIENCE)
        assert text_of(chunked) == text_of(packed) == "hello"
        (_, _, _, first), (_, _, seen, second) = service.requests
        one, other = gateway.rows()
    assert first == second == BODY  # the service has undone the encoding
    assert seen["Content-Encoding"] == "gzip"
    assert one["key"] == other["key"] and other["model"] == "test-model"


def test_a_websocket_is_refused_in_a_sentence(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        more = (b"Upgrade: websocket", b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==")
        text = asking(b"/v1/realtime", *more, b"Sec-WebSocket-Version: 13")
        answer = said(gateway, text.replace(b"POST", b"GET").replace(b"close", b"Upgrade"))
    assert b" 501 " in answer[:20] and b"no websocket passes the gateway" in answer
    assert not service.requests


def test_long_urls_pass_and_longer_ones_are_refused(start: Start) -> None:
    with Service(hello) as service:
        gateway = start(service.url)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for length, status in ((7000, 200), (100_000, 400)):
            url = f"{gateway.origin}/v1/x?q={'a' * length}"
            assert requests.get(url, headers=headers, timeout=PATIENCE).status_code == status


@pytest.mark.parametrize("status", [204, 304])
def test_a_reply_without_a_body_has_none(start: Start, status: int) -> None:
    async def script(*_: object) -> web.StreamResponse:
        return web.Response(status=status)

    with Service(script) as service:
        gateway = start(service.url)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with requests.Session() as session:
            for _ in range(2):  # on one connection: nothing is left on it
                found = session.get(gateway.origin + "/v1/x", headers=headers, timeout=PATIENCE)
                assert (found.status_code, found.content) == (status, b"")
            assert (
                session.post(
                    gateway.url, json=question("a"), headers=headers, timeout=PATIENCE
                ).status_code
                == status
            )


def test_a_redirect_to_the_endpoint_itself_leads_through_the_gateway(start: Start) -> None:
    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path.endswith("/"):
            return web.json_response(completion("hello"))
        place = f"http://{request.host}{request.path}/"
        return web.Response(status=307, headers={"Location": place})

    with Service(script) as service:
        gateway = start(service.url)
        assert text_of(gateway.ask(question("a"))) == "hello"
        by_path = gateway.url.replace("/v1", f"/{TOKEN}/v1")
        assert text_of(requests.post(by_path, json=question("b"), timeout=PATIENCE)) == "hello"
        keys = [headers.get("Authorization") for _, _, headers, _ in service.requests]
    assert keys == [f"Bearer {KEY}"] * 2 + [None] * 2


def test_a_redirect_to_another_host_never_has_the_key(start: Start) -> None:
    async def elsewhere(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": other.url})

    with Service(hello) as other, Service(elsewhere) as service:
        gateway = start(service.url)
        gateway.ask(question("a"))
        assert KEY not in str(other.requests)
    assert gateway.outcomes() == ["refused"]


def test_headers_that_come_twice_come_twice(start: Start) -> None:
    seen: list[list[str]] = []

    async def script(_: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        seen.append(request.headers.getall("X-Own"))
        return web.json_response(completion("hello"))

    with Service(script) as service:
        said(start(service.url), asking(b"/v1/chat/completions", b"X-Own: a", b"X-Own: b"))
    assert seen == [["a", "b"]]
