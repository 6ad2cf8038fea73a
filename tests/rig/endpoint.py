"""A scripted OpenAI-compatible endpoint: known answers, exact counts, faults on request.

In a test:

    with ScriptedEndpoint(latency=0.05) as endpoint:
        ...                                   # something asks endpoint.chat_url
        endpoint.wait_until_answered(60)
        endpoint.fault = Fault("status", status=429, first=1)

From a shell: `python -m tests.rig.endpoint --port 0 --port-file F --config '{"latency": 0.05}'`;
there `GET /rig/counters` gives the counters and `POST /rig/config` changes the settings.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import math
import operator
import re
import select
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

from .waiting import PATIENCE

Json = dict[str, Any]

AZURE = re.compile(r"/openai/deployments/[^/]+/chat/completions")
"""A model's address in Azure's words; who asks there brings a token of `/oauth/token`."""

_SUM = re.compile(r"What is (\d+) ([-+*]) (\d+)\?")
_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


def answer_sums(prompt: str, right_share: float = 0.75) -> str:
    """Answer a question of tests/rig/benchmark: right for a fixed share of them, by hash.

    The same prompt always gets the same answer, so a score is the same in every run.
    """
    asked = _SUM.search(prompt)
    if asked is None:
        return "I only know sums."
    left, sign, right = asked.groups()
    result = _OPERATORS[sign](int(left), int(right))
    # The question alone decides: chat and completions agree, whatever text surrounds it.
    place = int(hashlib.sha256(asked.group(0).encode()).hexdigest()[:8], 16) / 16**8
    return f"The answer is {result if place < right_share else result + 1}."


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong with requests for an answer, and with which of them.

    kind: status (an error body with that status), hang (until the fault is taken away or the
        client leaves), drop (the connection, without an answer), truncate (half of the body),
        empty (a good answer without text), none (a status 200 that is no answer).
    every: only each k-th distinct prompt, in the order in which they were first asked (1: all).
    first: only the first n requests of a prompt (None: all of them).
    model: only requests that name this model (a judge beside the model; None: all of them).
    """

    kind: Literal["status", "hang", "drop", "truncate", "empty", "none"]
    status: int = 500
    every: int = 1
    first: int | None = None
    model: str | None = None

    def hits(self, prompt_number: int, request_number: int) -> bool:
        """Both numbers count from 1."""
        if self.first is not None and request_number > self.first:
            return False
        return prompt_number % self.every == 0


class ScriptedEndpoint:
    """The endpoint and its counters; a context manager that listens from enter to exit.

    Settings; all but host and port may be changed while it runs:
        answer: text for a prompt; None: `answer_sums` with `right_share`.
        reply: text or message (tool calls) for the n-th choice of a request's whole body; it
            comes before `answer`.
        latency: seconds from a request to its answer.
        held: no answer is given until this is taken back; see `holding`.
        models: names in /v1/models; None: /v1/models answers 404.
        refuse_other_models: 404 for a request that names another model, as vLLM does; otherwise
            it is answered in the name of the first model, as llama.cpp does.
        required_key: 401 for every request without "Authorization: Bearer <key>".
        fault: what goes wrong, None: nothing.
        die_after: with this many answers given stop listening and cut every connection.

    Counters:
        requests, answers: per prompt (the last user message, or the prompt of a completion);
            an answer counts when it was sent whole, with status 200, to a client still there.
        in_flight, highest_in_flight: requests for an answer that are being worked on.
        authorizations: the Authorization header of every request, None where there was none.
        bodies: the body of every request for an answer.
    """

    SETTINGS = (
        "latency",
        "held",
        "right_share",
        "models",
        "refuse_other_models",
        "required_key",
        "fault",
        "die_after",
    )

    def __init__(
        self,
        answer: Callable[[str], str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        right_share: float = 0.75,
        models: list[str] | None = ["test-model"],  # noqa: B006 - copied below
        refuse_other_models: bool = False,
        required_key: str | None = None,
        fault: Fault | None = None,
        die_after: int | None = None,
    ) -> None:
        self.answer = answer
        self.reply: Callable[[Json, int], str | Json] | None = None
        self.host = host
        self.port = port
        self.latency = latency
        self.held = False
        self.right_share = right_share
        self.models = None if models is None else list(models)
        self.refuse_other_models = refuse_other_models
        self.required_key = required_key
        self.fault = fault
        self.die_after = die_after

        self.requests: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.in_flight = 0
        self.highest_in_flight = 0
        self._given: set[int] = set()
        self.authorizations: list[str | None] = []
        self.bodies: list[Json] = []

        self._changed = threading.Condition()
        self._prompt_numbers: dict[str, int] = {}
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_listening()

    @property
    def url(self) -> str:
        """The base address, without a slash at the end: http://host:port/v1."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def chat_url(self) -> str:
        return f"{self.url}/chat/completions"

    @property
    def completions_url(self) -> str:
        return f"{self.url}/completions"

    @property
    def listening(self) -> bool:
        return self._server is not None

    def listen(self) -> None:
        """Start to listen; after `stop_listening`, again on the same port."""
        with self._changed:
            if self._server is not None:
                return
            self._server = _Server((self.host, self.port), self)
            self.port = self._server.server_address[1]
            self._server.start()

    def stop_listening(self) -> None:
        """Close the port and cut every open connection, as a crash of the server would."""
        with self._changed:
            server, self._server = self._server, None
            self._changed.notify_all()
        if server is not None:
            server.stop()

    def come_back(self) -> None:
        """Listen again after `die_after`, and stay."""
        self.die_after = None
        self.listen()

    def configure(self, settings: Json) -> None:
        """Change settings from plain JSON (a fault is an object); ValueError for others."""
        for name, value in settings.items():
            if name not in self.SETTINGS:
                raise ValueError(f"no setting {name!r}; there are {', '.join(self.SETTINGS)}")
            if name == "fault" and value is not None:
                value = Fault(**value)
            setattr(self, name, value)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Meanwhile requests come in and nothing is answered: whoever asks stays in the middle."""
        self.held = True
        try:
            yield
        finally:
            self.held = False

    def wait_for(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Return when the condition holds; TimeoutError when it does not and nothing was asked or
        answered for `timeout` seconds: a slow machine's benchmarks still come."""
        with self._changed:
            seen, deadline = self.counters(), time.monotonic() + timeout
            while not condition():
                if (now := self.counters()) != seen:
                    seen, deadline = now, time.monotonic() + timeout
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError(f"nothing came for {timeout:g} s; counters: {seen}")
                # Woken by every change here; the limit serves conditions on something else.
                self._changed.wait(min(remaining, 0.2))

    def wait_until_asked(self, count: int, timeout: float = PATIENCE) -> None:
        self.wait_for(lambda: self.requests.total() >= count, timeout)

    def wait_until_answered(self, count: int, timeout: float = PATIENCE) -> None:
        self.wait_for(lambda: self.answers.total() >= count, timeout)

    def wait_until_idle(self, timeout: float = PATIENCE) -> None:
        self.wait_for(lambda: self.in_flight == 0, timeout)

    def reset_counters(self) -> None:
        """Count from zero, for the second half of a test; `in_flight` stays what it is."""
        with self._changed:
            self.requests.clear()
            self.answers.clear()
            self._prompt_numbers.clear()
            self.highest_in_flight = self.in_flight
            self.authorizations.clear()
            self.bodies.clear()
            self._changed.notify_all()

    def counters(self) -> Json:
        """The totals, for messages and for /rig/counters."""
        with self._changed:
            return {
                "requests": self.requests.total(),
                "prompts": len(self.requests),
                "most_requests_of_a_prompt": max(self.requests.values(), default=0),
                "answers": self.answers.total(),
                "in_flight": self.in_flight,
                "highest_in_flight": self.highest_in_flight,
            }

    # What follows serves the handler, in the thread of one connection.

    def text_for(self, prompt: str) -> str:
        if self.answer is not None:
            return self.answer(prompt)
        return answer_sums(prompt, self.right_share)

    def replies_to(self, body: Json, prompts: list[str]) -> list[str | Json]:
        """What the choices of an answer say."""
        if self.reply is None:
            return [self.text_for(prompt) for prompt in prompts]
        return [self.reply(body, choice) for choice in range(body.get("n") or 1)]

    def saw(self, authorization: str | None) -> None:
        with self._changed:
            self.authorizations.append(authorization)

    def begin(self, prompts: list[str], body: Json) -> Fault | None:
        """Count a request for an answer; the fault that hits it, if one does."""
        with self._changed:
            self.bodies.append(body)
            self.requests.update(prompts)
            self.in_flight += 1
            self.highest_in_flight = max(self.highest_in_flight, self.in_flight)
            first = prompts[0]
            number = self._prompt_numbers.setdefault(first, len(self._prompt_numbers) + 1)
            self._changed.notify_all()
            fault = self.fault
            if fault is None or fault.model not in (None, body.get("model")):
                return None
            return fault if fault.hits(number, self.requests[first]) else None

    def give(self, prompts: list[str], send: Callable[[], None]) -> None:
        """Send an answer and count it as one step, so that `die_after` is exact.

        Raises ConnectionError where the endpoint has died meanwhile.
        """
        with self._changed:
            if not self.listening or self._is_due():
                raise ConnectionError("the endpoint has died")
            send()
            # In the same step: who has got its answer may ask again at once.
            self.in_flight -= 1
            self._given.add(threading.get_ident())
            self.answers.update(prompts)
            self._changed.notify_all()
            if not self._is_due():
                return
        self.stop_listening()

    def end(self) -> None:
        with self._changed:
            if threading.get_ident() not in self._given:
                self.in_flight -= 1
            self._given.discard(threading.get_ident())
            self._changed.notify_all()

    def wait_in(
        self,
        connection: socket.socket,
        *,
        until: float = math.inf,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait until that time (monotonic) or until `over()`.

        Raises ConnectionError when the client leaves or the endpoint stops.
        """
        poll = select.poll()
        # A client that waits for its answer says nothing: readable means it has left.
        poll.register(connection, select.POLLIN)
        while not over() and (left := until - time.monotonic()) > 0:
            if not self.listening:
                raise ConnectionError("the endpoint has stopped")
            if poll.poll(min(left, 0.05) * 1000):
                raise ConnectionError("the client has left")

    def _is_due(self) -> bool:
        return self.die_after is not None and self.answers.total() >= self.die_after


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True
    # Threads of open connections end when those are cut; do not wait for them.
    block_on_close = False

    def __init__(self, address: tuple[str, int], endpoint: ScriptedEndpoint) -> None:
        self.endpoint = endpoint
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: a client that was killed in the middle is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise every answer on a kept connection takes 40 ms more (delayed acknowledgement).
    disable_nagle_algorithm = True
    server: _Server

    @property
    def endpoint(self) -> ScriptedEndpoint:
        return self.server.endpoint

    def do_GET(self) -> None:
        match self.path.split("?")[0].rstrip("/"):
            case "/health":
                self._send(200, {"status": "ok"})
            case "/rig/counters":
                self._send(200, self.endpoint.counters())
            case "/v1/models" if self.endpoint.models is not None:
                if self._is_allowed():
                    self._send(200, _model_list(self.endpoint.models))
            case _:
                self._send_error_body(404, f"Not found: GET {self.path}")

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/oauth/token":
            self._send(200, {"access_token": "azure", "expires_in": 3600})
            return
        body = json.loads(sent or b"{}")
        match AZURE.sub("/v1/chat/completions", self.path.split("?")[0].rstrip("/")):
            case "/v1/chat/completions":
                self._answer(body, [_last_user_text(body)], _chat_completion)
            case "/v1/completions":
                prompt = body.get("prompt", "")
                prompts = prompt if isinstance(prompt, list) else [prompt]
                self._answer(body, prompts, _text_completion)
            case "/rig/config":
                self._configure(body)
            case _:
                self._send_error_body(404, f"Not found: POST {self.path}")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the counters tell more."""

    def _configure(self, settings: Json) -> None:
        try:
            self.endpoint.configure(settings)
        except (TypeError, ValueError) as error:
            self._send_error_body(400, str(error))
        else:
            self._send(200, self.endpoint.counters())

    def _is_allowed(self) -> bool:
        """Record the caller's key; where it is not the required one, answer 401."""
        given = self.headers.get("Authorization")
        self.endpoint.saw(given)
        key = self.endpoint.required_key
        if key is None or given == f"Bearer {key}":
            return True
        self._send_error_body(401, "Incorrect API key provided.")
        return False

    def _answer(
        self,
        body: Json,
        prompts: list[str],
        completion: Callable[[str, list[str | Json]], Json],
    ) -> None:
        fault = self.endpoint.begin(prompts, body)
        try:
            if not self._is_allowed() or not self._serves(body):
                return
            ready = time.monotonic() + self.endpoint.latency
            self.endpoint.wait_in(self.connection, until=ready)
            self.endpoint.wait_in(self.connection, over=lambda: not self.endpoint.held)
            if fault is None or fault.kind == "empty":
                empty: list[str | Json] = [""] * (body.get("n") or len(prompts))
                said = empty if fault else self.endpoint.replies_to(body, prompts)
                answer = completion(self._model_name(body), said)
                self.endpoint.give(prompts, lambda: self._send(200, answer))
            else:
                self._fail(fault, completion(self._model_name(body), ["cut"] * len(prompts)))
        except ConnectionError:
            self.close_connection = True
        finally:
            self.endpoint.end()

    def _fail(self, fault: Fault, answer: Json) -> None:
        match fault.kind:
            case "status":
                self._send_error_body(fault.status, "The scripted endpoint refuses this request.")
            case "truncate":
                self._send(200, answer, share=0.5)
                self.close_connection = True
            case "hang":
                self.endpoint.wait_in(
                    self.connection, over=lambda: self.endpoint.fault is not fault
                )
                self.close_connection = True
            case "none":
                self._send(200, {"detail": "The model is being loaded."})
            case "drop":
                self.close_connection = True

    def _serves(self, body: Json) -> bool:
        """Whether the model asked for is answered for; where it is not, answer 404."""
        models = self.endpoint.models or []
        if not self.endpoint.refuse_other_models or body.get("model") in models:
            return True
        self._send_error_body(404, f"The model `{body.get('model')}` does not exist.")
        return False

    def _model_name(self, body: Json) -> str:
        asked = str(body.get("model"))
        models = self.endpoint.models or [asked]
        return asked if asked in models else models[0]

    def _send_error_body(self, status: int, message: str) -> None:
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        error = {"message": message, "type": kind, "param": None, "code": status}
        self._send(status, {"error": error})

    def _send(self, status: int, content: Json, share: float = 1.0) -> None:
        """Send JSON; only the first `share` of the body, under the length of all of it."""
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded[: int(len(encoded) * share)])


def _last_user_text(body: Json) -> str:
    users = [m for m in body.get("messages", []) if m.get("role") == "user"]
    content = users[-1]["content"] if users else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _model_list(names: list[str]) -> Json:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "rig"} for name in names]
    return {"object": "list", "data": models}


def _chat_completion(model: str, said: list[str | Json]) -> Json:
    messages = [{"content": each} if isinstance(each, str) else each for each in said]
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", **message},
            "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
        }
        for index, message in enumerate(messages)
    ]
    texts = [each if isinstance(each, str) else json.dumps(each) for each in said]
    return _completion("chat.completion", model, texts, choices)


def _text_completion(model: str, said: list[str | Json]) -> Json:
    texts = list(map(str, said))
    choices = [
        {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return _completion("text_completion", model, texts, choices)


def _completion(kind: str, model: str, texts: list[str], choices: list[Json]) -> Json:
    words = sum(len(text.split()) for text in texts)
    return {
        "id": "rig-" + hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12],
        "object": kind,
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible endpoint.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--port-file", type=Path, help="where to write the port, once it listens")
    parser.add_argument("--config", type=json.loads, default={}, help="settings as JSON")
    arguments = parser.parse_args()

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    endpoint = ScriptedEndpoint(host=arguments.host, port=arguments.port)
    endpoint.configure(arguments.config)
    with endpoint:
        if arguments.port_file:
            # Renamed into place: who waits for the file never reads half of it.
            unfinished = arguments.port_file.with_name(arguments.port_file.name + ".new")
            unfinished.write_text(f"{endpoint.port}\n")
            unfinished.replace(arguments.port_file)
        print(endpoint.url, flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
