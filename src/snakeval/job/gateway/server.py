"""The gateway's server: takes the harness's requests, asks the endpoint, keeps ledger and answers.

Needs aiohttp. One `Gate` for each endpoint, each with a port of its own; one thread, no locks.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from multidict import CIMultiDict

from .accounts import ANSWERED, REPLAYED, UNREACHABLE
from .asked import Occurrences, asked
from .budget import Budget
from .completion import STREAM, Verdict, judge, kind_of
from .ledger import Answers, Ledger, Stored
from .pace import Pace, Patience, retry_after
from .tally import Tallies
from .upstream import Headers, Upstream, decoded, end_to_end

CUT, GONE, PASSED = "cut", "gone", "passed"
REFUSED, NO_ANSWER = "refused", "no answer"
REPLAYED_HEADER = "X-Snakeval-Replayed"
VERDICT_HEADER = "X-Snakeval-Gateway"
LOOKED_AGAIN = 0.2
"""Seconds between two looks at a budget that is used up."""
NOT_AN_ANSWER = 0.25
"""Seconds until what is no answer is asked once more: a page of a service that is just away."""
LAST_EVENT = b"data: [DONE]"
LONGEST = 200
"""Characters of what others have written, in a line of the ledger."""


@dataclass
class Record:
    """What all gates of a task share: its ledger, its answers, the attempt, the sums so far."""

    ledger: Ledger
    answers: Answers
    attempt: int
    tallies: Tallies
    budget: Budget

    def add(self, row: dict[str, Any]) -> None:
        """Raises OSError where the ledger cannot be written."""
        self.ledger.add(row)
        self.tallies.add(row)
        self.budget.add(row)


class Exchange:
    """One request of the harness, and what becomes of it; `row` is its line in the ledger."""

    def __init__(self, gate: Gate, request: BaseRequest, path: str, body: bytes) -> None:
        self.request, self.path, self.body = request, path, body
        self.kind = kind_of(request.method, path.partition("?")[0])
        self.began = time.monotonic()
        self.key, self.occurrence, self.delivered, self.is_sent = b"", 0, False, False
        self.wants_stream = False
        self.is_called_back = False
        """Whether it is not to wait for the address that it was sent to any more."""
        self.row: dict[str, Any] = {
            "time": round(time.time(), 3),
            "attempt": gate.record.attempt,
            "endpoint": gate.upstream.name,
            "path": path.partition("?")[0][:LONGEST],
        }
        if request.method != "POST":
            self.row["method"] = request.method

    def identify(self, endpoint: str, occurrences: Occurrences) -> None:
        body, encoding = self.body, self.request.headers.get("Content-Encoding", "")
        with suppress(ValueError):
            body = decoded(body, encoding)
        what = asked(endpoint, self.path, body)
        self.key, self.occurrence = what.key, occurrences.take(what.key)
        self.wants_stream = what.stream
        self.row.update(key=self.key.hex(), occurrence=self.occurrence, model=what.model[:LONGEST])
        if what.prompt:
            self.row["prompt"] = what.prompt.hex()

    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 4)

    def first_byte(self) -> None:
        self.row.setdefault("first_byte", self.seconds())

    def note(self, verdict: Verdict) -> None:
        """What the reply says of itself."""
        named = (verdict.model or "")[:LONGEST]
        if named and named != self.row.get("model"):
            self.row["named"] = named
        if verdict.tokens:
            self.row["tokens"] = verdict.tokens
        if verdict.finish:
            self.row["finish"] = verdict.finish[:LONGEST]
        if verdict.parts > 1:
            self.row["parts"] = verdict.parts
        if verdict.text is not None:
            said = verdict.text.encode("utf-8", "surrogatepass")  # it may have half a character
            self.row["text"] = f"{zlib.crc32(said):08x}"
            if not verdict.text.strip():
                self.row["empty"] = True


class Reply:
    """What the endpoint has sent: whole where it must be judged first, else still coming."""

    def __init__(self, status: int, headers: Headers, reason: str | None = None) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self.body: bytes | None = None
        self.coming: aiohttp.ClientResponse | None = None
        self.verdict: Verdict | None = None
        self.trouble = ""
        self.is_hopeless = False

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")

    @property
    def encoding(self) -> str:
        return self.headers.get("Content-Encoding", "")

    @property
    def retry_after(self) -> float | None:
        return retry_after(self.headers.get("Retry-After"))

    def comes_in_pieces(self, is_wanted: bool) -> bool:
        """Whether it is a stream; some say `text/plain` of one that was asked for."""
        kind = self.content_type.lower()
        return kind.startswith(STREAM) or (is_wanted and self.status == 200 and "json" not in kind)

    def is_troubled(self) -> bool:
        """Whether the endpoint asks to come back later, or could not be asked."""
        if self.is_hopeless:
            return False
        if self.trouble or self.status in Patience.STATUSES:
            return True
        return self.status >= 400 and self.retry_after is not None

    def release(self) -> None:
        if self.coming is not None:
            self.coming.release()


def failed(trouble: str, is_hopeless: bool = False) -> Reply:
    """Stands for the reply of an endpoint that gave none; hopeless: it will not give one later."""
    reply = Reply(502, CIMultiDict({"Content-Type": "application/json"}))
    reply.trouble, reply.is_hopeless = trouble, is_hopeless
    reply.body = error_body(trouble)
    return reply


def error_body(message: str) -> bytes:
    error = {"message": message, "type": "gateway_error", "param": None, "code": None}
    return json.dumps({"error": error}).encode()


class Gate:
    """One endpoint's side of the gateway."""

    def __init__(
        self,
        upstream: Upstream,
        session: aiohttp.ClientSession,
        record: Record,
        pace: Pace,
        token: str,
        patience: float,
    ) -> None:
        self.upstream, self.session, self.record, self.pace = upstream, session, record, pace
        self.token = token
        self._patience = Patience(patience)
        self._occurrences = Occurrences()
        self._asking: dict[asyncio.Task[Any], Exchange] = {}
        """Who waits for the endpoint's reply."""
        self._coming: set[aiohttp.ClientResponse] = set()
        """Replies that are passed on as they come."""

    def lead_to(self, upstream: Upstream, pace: Pace) -> None:
        """The endpoint is at another address now. What waits for the old one is asked there; what
        has come of a reply is cut, since its end may never come."""
        self.upstream, self.pace = upstream, pace
        self._patience.back()
        for task, exchange in self._asking.items():
            exchange.is_called_back = True
            task.cancel()
        for coming in self._coming:
            coming.close()

    async def serve(self, request: BaseRequest) -> StreamResponse:
        """Every request of the harness."""
        path = self._admitted(request)
        if path is None:
            return refused(401, "this gateway is open to the token of its task only")
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return refused(501, "no websocket passes the gateway; switch it off: gateway: false")
        if not path.startswith("/"):
            return refused(400, "this is no path of the endpoint's")
        await continued(request)
        exchange = Exchange(self, request, path, await request.read())
        if not exchange.kind:
            return await self._recorded(exchange)
        exchange.identify(self.upstream.name, self._occurrences)
        try:
            return await self._replayed(exchange) or await self._recorded(exchange)
        finally:
            if not exchange.delivered:
                self._give_back(exchange)

    def _give_back(self, exchange: Exchange) -> None:
        """Who asks the same next is the same occurrence, and gets the answer if there is one."""
        self._occurrences.give_back(exchange.key, exchange.occurrence)
        if "at" in exchange.row:
            place = exchange.key, exchange.occurrence
            self.record.answers.undelivered(*place, exchange.row["at"])

    def _admitted(self, request: BaseRequest) -> str | None:
        """The path to ask for; None for who does not know the token.

        It comes as the key, or as the first folder of the path where the endpoint wants no key.
        """
        asked = path_of(request)
        first, slash, rest = asked[1:].partition("/")
        if slash and same(first, self.token):
            return f"/{rest}"
        return asked if any(same(each, self.token) for each in keys_of(request.headers)) else None

    # ---- answers on disk

    async def _replayed(self, exchange: Exchange) -> StreamResponse | None:
        found = self.record.answers.take(exchange.key, exchange.occurrence)
        if found is None:
            return None
        stored = found.stored
        exchange.row.update(at=found.at, given=round(stored.given, 3))
        told = {"named": found.named, "source": found.source, "parts": found.parts}
        exchange.row.update({name: value for name, value in told.items() if value})
        given = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stored.given))
        headers = {"Content-Type": stored.content_type, REPLAYED_HEADER: given}
        response = StreamResponse(headers=headers)
        if not stored.content_type.lower().startswith(STREAM):
            response.content_length = len(stored.body)
        self._write(exchange, REPLAYED, 200)
        await response.prepare(exchange.request)
        await response.write(stored.body)
        await response.write_eof()
        exchange.delivered = True
        return response

    # ---- asking

    async def _allowed(self, exchange: Exchange) -> None:
        """Waits where the budget is used up; for ever, as a rule: the attempt is ended then."""
        budget = self.record.budget
        if not exchange.kind or exchange.is_sent:
            return
        exchange.row["unsent"] = True
        budget.waiting += 1
        try:
            while budget.used_up() is not None:
                await asyncio.sleep(LOOKED_AGAIN)
        finally:
            budget.waiting -= 1
        del exchange.row["unsent"]
        exchange.is_sent = True
        budget.in_flight += 1

    async def _recorded(self, exchange: Exchange) -> StreamResponse:
        """Asks the endpoint and passes its reply on; a client that leaves is in the ledger, too."""
        try:
            async with self._reply(exchange) as reply:
                if reply.body is None:
                    return await self._pass_on(exchange, reply)
                return await self._send(exchange, reply, reply.body)
        except (asyncio.CancelledError, ConnectionError):
            if "outcome" not in exchange.row:
                with suppress(OSError):
                    self._write(exchange, GONE)
            raise
        finally:
            self._is_over(exchange)

    @asynccontextmanager
    async def _reply(self, exchange: Exchange) -> AsyncIterator[Reply]:
        """The endpoint's reply, when it is not in trouble or patience is at an end; the request is
        in flight as long as its reply is in use."""
        tries = 0
        while True:
            tries += 1
            await self._allowed(exchange)
            async with self.pace.slot() as since:
                held = since - exchange.began
                reply = await self._once(exchange)
                pause = self._pause(exchange, reply, tries, since)
                if pause is None:
                    self._hold(exchange, held, tries)
                    try:
                        yield reply
                    finally:
                        reply.release()
                    return
                reply.release()
            await asyncio.sleep(pause)

    def _hold(self, exchange: Exchange, held: float, tries: int) -> None:
        if held >= 0.001:
            exchange.row["held"] = round(held, 3)
        if tries > 1:
            exchange.row["tries"] = tries

    def _pause(self, exchange: Exchange, reply: Reply, tries: int, since: float) -> float | None:
        """Seconds until the next try; None: this reply is passed on."""
        if exchange.is_called_back:
            exchange.is_called_back = False
            return 0.0
        if not reply.is_troubled():
            if reply.status < 400:
                self.pace.faster()
                self._patience.back()
            return NOT_AN_ANSWER if tries == 1 and self._is_none(exchange, reply) else None
        # A kept connection that the server has just closed is no sign of trouble.
        if reply.trouble and tries == 1:
            return 0.0 if self._patience.pause(exchange.began, 0) is not None else None
        wanted = reply.retry_after
        pause = self._patience.pause(exchange.began, tries, wanted)
        self.pace.slower(since, wanted or 0.0 if pause is not None else 0.0)
        return pause

    def _is_none(self, exchange: Exchange, reply: Reply) -> bool:
        """Whether a status 200 that is here as a whole is no answer."""
        if reply.status != 200 or reply.body is None or not exchange.kind:
            return False
        reply.verdict = self._verdict(exchange, reply, reply.body)
        return not reply.verdict.answered

    async def _once(self, exchange: Exchange) -> Reply:
        request, upstream = exchange.request, self.upstream
        headers = upstream.headers(request.headers, self.token)
        task = asyncio.current_task()
        assert task is not None
        self._asking[task] = exchange
        try:
            coming = await upstream.ask(
                self.session, request.method, exchange.path, headers, exchange.body
            )
            given = self._leading_here(request, end_to_end(coming.headers))
            reply = Reply(coming.status, given, coming.reason)
            reply.coming = coming
            if exchange.kind and not reply.comes_in_pieces(exchange.wants_stream):
                reply.body = await coming.read()
        except aiohttp.ClientConnectorCertificateError as error:
            why = error.certificate_error
            return failed(f"the endpoint's certificate is not trusted: {why}", is_hopeless=True)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:  # noqa: UP041 - until 3.11
            return failed(f"the endpoint could not be asked: {said(error)}")
        except asyncio.CancelledError:
            if not exchange.is_called_back:
                raise
            uncancel(task)
            return failed("the endpoint is at another address now")
        finally:
            del self._asking[task]
        exchange.first_byte()
        return reply

    def _leading_here(self, request: BaseRequest, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """A redirect to the endpoint itself leads to the gateway: who followed it to the endpoint
        would show the token there."""
        place = headers.get("Location", "")
        path = place.removeprefix(self.upstream.origin)
        if not path.startswith("/") or path.startswith("//"):
            return headers
        shows_token = path_of(request).startswith(f"/{self.token}/")
        headers["Location"] = f"/{self.token}{path}" if shows_token else path
        return headers

    # ---- passing on

    async def _send(self, exchange: Exchange, reply: Reply, body: bytes) -> StreamResponse:
        """A reply that is here as a whole: judged and recorded before the harness has it."""
        outcome, verdict = self._judged(exchange, reply, body)
        headers = CIMultiDict(reply.headers)
        if outcome == NO_ANSWER:
            headers[VERDICT_HEADER] = f"not an answer: {verdict.why}"
        headers.popall("Content-Length", None)
        self._write(exchange, outcome, reply.status, reply.trouble or verdict.why)
        response = Response(status=reply.status, reason=reply.reason, headers=headers, body=body)
        await response.prepare(exchange.request)
        await response.write_eof()
        exchange.delivered = outcome == ANSWERED
        return response

    def _judged(self, exchange: Exchange, reply: Reply, body: bytes) -> tuple[str, Verdict]:
        """The outcome by the one rule; an answer is on disk afterwards."""
        if reply.trouble:
            return UNREACHABLE, Verdict(False, reply.trouble)
        verdict = reply.verdict or self._verdict(exchange, reply, body)
        exchange.note(verdict)
        if not verdict.answered:
            return (NO_ANSWER if reply.status == 200 else REFUSED), verdict
        stored = Stored(reply.content_type, time.time(), decoded(body, reply.encoding))
        exchange.row["at"] = self.record.answers.keep(stored)
        return ANSWERED, verdict

    def _verdict(self, exchange: Exchange, reply: Reply, body: bytes) -> Verdict:
        try:
            text = decoded(body, reply.encoding)
        except ValueError as error:
            return Verdict(False, str(error))
        return judge(str(exchange.kind), reply.status, reply.content_type, text)

    async def _pass_on(self, exchange: Exchange, reply: Reply) -> StreamResponse:
        """A reply that is still coming: chunk by chunk, as they come."""
        coming = reply.coming
        assert coming is not None
        headers = CIMultiDict(reply.headers)
        if exchange.kind:
            headers.popall("Content-Length", None)  # or its end would come before it is recorded
        response = StreamResponse(status=reply.status, reason=reply.reason, headers=headers)
        chunks: list[bytes] = []
        await response.prepare(exchange.request)
        self._coming.add(coming)
        try:
            async for chunk in coming.content.iter_any():
                if exchange.kind:
                    chunks.append(chunk)
                if LAST_EVENT in chunk:
                    self._end_if_answered(exchange, reply, chunks)
                await written(response, chunk)
        except aiohttp.ClientError as error:
            if "outcome" not in exchange.row:
                self._write(exchange, CUT, reply.status, said(error))
            return cut(exchange.request, response)
        except (asyncio.CancelledError, ConnectionError):
            # Some leave when they have seen the last event, and wait for no end.
            exchange.delivered = self._end_if_answered(exchange, reply, chunks)
            raise
        finally:
            self._coming.discard(coming)
        self._end(exchange, reply, chunks)
        await response.write_eof()
        exchange.delivered = exchange.row["outcome"] == ANSWERED
        return response

    def _end(self, exchange: Exchange, reply: Reply, chunks: list[bytes]) -> None:
        """Of a reply that has come to its end: recorded before the harness sees the end."""
        if self._end_if_answered(exchange, reply, chunks):
            return
        if exchange.kind:
            outcome, verdict = self._judged(exchange, reply, b"".join(chunks))
            self._write(exchange, outcome, reply.status, verdict.why)
        else:
            self._write(exchange, PASSED, reply.status)

    def _end_if_answered(self, exchange: Exchange, reply: Reply, chunks: list[bytes]) -> bool:
        """Whether what has come so far is a whole answer; then it is recorded, once."""
        if "outcome" in exchange.row or not exchange.kind:
            return "outcome" in exchange.row
        outcome, verdict = self._judged(exchange, reply, b"".join(chunks))
        if outcome == ANSWERED:
            self._write(exchange, outcome, reply.status, verdict.why)
        return outcome == ANSWERED

    def _write(self, exchange: Exchange, outcome: str, status: int = 0, why: str = "") -> None:
        row = exchange.row
        row.update(outcome=outcome, seconds=exchange.seconds())
        if status and outcome != UNREACHABLE:
            row["status"] = status
        if why and outcome not in (ANSWERED, REFUSED):
            row["why"] = why[:LONGEST]
        self.record.add(row)
        self._is_over(exchange)

    def _is_over(self, exchange: Exchange) -> None:
        """It is in the ledger, and in flight no more; or nothing will ever be known of it."""
        self.record.budget.in_flight -= exchange.is_sent
        exchange.is_sent = False


def refused(status: int, why: str) -> Response:
    """The gateway's own word: nothing was asked, and what may follow is not read."""
    reply = Response(status=status, body=error_body(why), content_type="application/json")
    reply.force_close()
    return reply


def path_of(request: BaseRequest) -> str:
    """Path and query as they were sent; who takes this for a proxy sends a whole URL."""
    target = request.raw_path
    if target[:7].lower() != "http://":
        return target
    return f"/{target[7:].partition('/')[2]}"


async def continued(request: BaseRequest) -> None:
    """Who asks first whether the body is wanted is told so."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def written(response: StreamResponse, chunk: bytes) -> None:
    """Raises ConnectionError where the client has left: aiohttp says it as of an endpoint."""
    try:
        await response.write(chunk)
    except aiohttp.ClientError as error:
        raise ConnectionResetError(str(error)) from error


def cut(request: BaseRequest, response: StreamResponse) -> StreamResponse:
    """Ends the connection in the middle, as the endpoint has: no orderly end may follow."""
    if request.transport is not None:
        request.transport.abort()
    return response


def uncancel(task: asyncio.Task[Any]) -> None:
    """A cancel that was ours is over; before Python 3.11 nobody counts them."""
    if hasattr(task, "uncancel"):
        task.uncancel()


def same(given: str, token: str) -> bool:
    """Compares in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def keys_of(headers: Headers) -> list[str]:
    """What a request gives as its key."""
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    given = [headers.get("X-Api-Key", ""), headers.get("Api-Key", "")]
    return [*given, bearer.strip()] if scheme.lower() == "bearer" else given


def said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
