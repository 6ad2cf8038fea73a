"""A service whose replies a test writes itself, for what the scripted endpoint has no words for.

async def script(service, request, body): return web.json_response(completion("hello"))

with Service(script) as service: ...
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

from rig.waiting import PATIENCE

Script = Callable[["Service", web.Request, bytes], Awaitable[web.StreamResponse]]


class Service:
    """requests: all that came (method, path with query, headers, body); in_flight and its highest;
    left: requests whose client hung up."""

    def __init__(self, script: Script, ssl: Any = None) -> None:
        self.script = script
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.prompts: Counter[str] = Counter()
        self.in_flight = self.highest = self.left = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    async def _listen(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=4096).start()
        self.port = self._runner.addresses[0][1]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.raw_path, dict(request.headers), body))
        self.prompts[prompt_of(body)] += 1
        self.in_flight += 1
        self.highest = max(self.highest, self.in_flight)
        try:
            return await self.script(self, request, body)
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.in_flight -= 1


def prompt_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["messages"][-1]["content"])
    except (ValueError, KeyError, TypeError):
        return ""


def completion(text: str, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": "chat.completion",
        "model": "test-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
        **more,
    }


def question(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "test-model", "messages": [{"role": "user", "content": prompt}], **more}


def chunk(text: str, finish: str | None = None) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    event = {"object": "chat.completion.chunk", "model": "test-model", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
