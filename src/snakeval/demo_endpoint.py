"""A demo endpoint: speaks the OpenAI protocol, answers the demo benchmarks' questions by rules.

It is not a model. It recognises the questions of `config/benchmarks/demo`, knows the answers, and
gets a fixed share of them wrong so that the scores look like scores. Which ones is decided by a
hash of the question: the same question always gets the same answer, in any order, in any run.

    python -m snakeval.demo_endpoint --port 0 --port-file FILE

listens on 127.0.0.1, writes the port to FILE once it is listening, and ends when its standard
input is closed: whoever holds the other end of that pipe cannot leave it behind, even by SIGKILL.
Standard library only, because it is started anew beside every benchmark.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

MODEL = "snakeval-demo"
LATENCY_SECONDS = 0.005
UNKNOWN_QUESTION = "I am a demo, not a model: I answer only the questions of the demo benchmarks."

# Mixed into the hash; this one brings the real shares of our few questions close to the ones meant.
SALT = "demo-121"

# Parameters that ask for what a rule cannot give, and their values that ask for nothing.
NOT_SUPPORTED: dict[str, tuple[object, ...]] = {
    "stream": (None, False),
    "n": (None, 1),
    "logprobs": (None, False, 0),
}

CAPITALS = {
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Canada": "Ottawa",
    "Cuba": "Havana",
    "Egypt": "Cairo",
    "Finland": "Helsinki",
    "France": "Paris",
    "Ghana": "Accra",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Ireland": "Dublin",
    "Japan": "Tokyo",
    "Jordan": "Amman",
    "Kenya": "Nairobi",
    "Mongolia": "Ulaanbaatar",
    "Morocco": "Rabat",
    "Nepal": "Kathmandu",
    "New Zealand": "Wellington",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Portugal": "Lisbon",
    "Senegal": "Dakar",
    "Thailand": "Bangkok",
    "Uruguay": "Montevideo",
}


class Reply(NamedTuple):
    """What the demo knows to say to one question: the right answer and its typical mistake."""

    right: str
    wrong: str


class Skill(NamedTuple):
    """One kind of question, how to answer it, and the share of such questions it gets right."""

    question: re.Pattern[str]
    reply: Callable[[re.Match[str]], Reply]
    share_right: float


def _calculate(match: re.Match[str]) -> Reply:
    left, operator, right = int(match[1]), match[2], int(match[3])
    if operator == "/" and right == 0:
        return Reply("undefined", "0")
    result = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left // right,
    }[operator]()
    return Reply(str(result), str(result + 1))


def _count_letter(match: re.Match[str]) -> Reply:
    count = match[2].count(match[1])
    return Reply(str(count), str(count + 1))


def _spell_backwards(match: re.Match[str]) -> Reply:
    backwards = match[1][::-1]
    return Reply(backwards, backwards[:-1])


def _capital(match: re.Match[str]) -> Reply:
    cities = list(CAPITALS.values())
    if match[1] not in CAPITALS:
        return Reply("unknown", "unknown")
    right = CAPITALS[match[1]]
    return Reply(right, cities[cities.index(right) - 1])


SKILLS = (
    Skill(re.compile(r"What is (\d{1,9}) ([-+*/]) (\d{1,9})\?"), _calculate, 0.85),
    Skill(
        re.compile(r'How many times does the letter "(\w)" occur in the word "(\w+)"\?'),
        _count_letter,
        0.75,
    ),
    Skill(re.compile(r'What is the word "(\w+)" spelled backwards\?'), _spell_backwards, 0.75),
    Skill(re.compile(r"What is the capital of ([A-Za-z ]+)\?"), _capital, 0.65),
)


def answer(prompt: str) -> str:
    """The demo's reply to `prompt`: its last known question is answered, wrongly for a fixed share.

    Depends on the wording of that question alone, not on what stands around it.
    """
    found = [(match, skill) for skill in SKILLS for match in skill.question.finditer(prompt)]
    if not found:
        return UNKNOWN_QUESTION
    match, skill = max(found, key=lambda pair: pair[0].start())
    reply = skill.reply(match)
    return f"Answer: {reply.right if _draw(match[0]) < skill.share_right else reply.wrong}"


def _draw(question: str) -> float:
    """A number in [0, 1) that depends on the question alone."""
    digest = hashlib.sha256(f"{SALT} {question}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class RequestError(Exception):
    """A request that is refused: HTTP status and what OpenAI's error object says about it."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's API words it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def health(_: dict[str, Any]) -> dict[str, Any]:
    """GET /health"""
    return {"status": "ok"}


def models(_: dict[str, Any]) -> dict[str, Any]:
    """GET /v1/models"""
    return {
        "object": "list",
        "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "snakeval"}],
    }


def chat_completions(request: dict[str, Any]) -> dict[str, Any]:
    """POST /v1/chat/completions. Raises RequestError where the request has no usable messages."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages", "messages must be a list with at least one message")
    prompt = "\n".join(_message_text(message) for message in messages)
    text, finish_reason = _generate(prompt, request)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    return _response("chatcmpl", "chat.completion", [choice], prompt, text)


def completions(request: dict[str, Any]) -> dict[str, Any]:
    """POST /v1/completions, one prompt or a list. Raises RequestError where there is none."""
    prompts = request.get("prompt")
    prompts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise _bad("prompt", "prompt must be a string or a list of strings (tokens have no text)")
    generated = [_generate(prompt, request) for prompt in prompts]
    choices = [
        {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
        for index, (text, finish_reason) in enumerate(generated)
    ]
    texts = "\n".join(text for text, _ in generated)
    return _response("cmpl", "text_completion", choices, "\n".join(prompts), texts)


def _message_text(message: object) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise _bad("messages", "every message must be an object with text in its content")
    return content


def _generate(prompt: str, request: dict[str, Any]) -> tuple[str, str]:
    """The answer, cut as `stop` and `max_tokens` ask, and the reason why it ends."""
    text = answer(prompt)
    stops = request.get("stop")
    for stop in stops if isinstance(stops, list) else [stops]:
        if isinstance(stop, str) and stop:
            text = text.partition(stop)[0]
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    words = text.split()
    if isinstance(limit, int) and len(words) > limit:
        return " ".join(words[:limit]), "length"
    return text, "stop"


def _response(
    prefix: str, kind: str, choices: list[dict[str, Any]], prompt: str, text: str
) -> dict[str, Any]:
    digest = hashlib.sha256(f"{kind} {prompt}".encode()).hexdigest()[:24]
    return {
        "id": f"{prefix}-{digest}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL,
        "choices": choices,
        "usage": _usage(prompt, text),
    }


def _usage(prompt: str, text: str) -> dict[str, int]:
    """Token counts. What has no tokenizer counts words."""
    asked, said = len(prompt.split()), len(text.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _bad(param: str, message: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, message, param=param)


def _checked_request(body: bytes) -> dict[str, Any]:
    """The request as an object for this model. Raises RequestError for anything else."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise RequestError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
    model = request.get("model")
    if not isinstance(model, str):
        raise _bad("model", f'you must name a model; this endpoint serves "{MODEL}"')
    if model != MODEL:
        raise RequestError(
            HTTPStatus.NOT_FOUND,
            f'the model "{model}" does not exist; this endpoint serves "{MODEL}"',
            param="model",
            code="model_not_found",
        )
    for name, values in NOT_SUPPORTED.items():
        if request.get(name) not in values:
            raise _bad(name, f"the demo endpoint does not support {name}={request[name]!r}")
    return request


ENDPOINTS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "/health": ("GET", health),
    "/v1/models": ("GET", models),
    "/v1/chat/completions": ("POST", chat_completions),
    "/v1/completions": ("POST", completions),
}


def respond(method: str, path: str, body: bytes = b"") -> tuple[HTTPStatus, dict[str, Any]]:
    """Status and JSON of the answer to one request; errors are OpenAI's error objects."""
    try:
        if path not in ENDPOINTS:
            message = f"unknown path {path}; this endpoint has {', '.join(ENDPOINTS)}"
            raise RequestError(HTTPStatus.NOT_FOUND, message)
        takes, endpoint = ENDPOINTS[path]
        if method != takes:
            message = f"{path} takes {takes}, not {method}"
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, message)
        return HTTPStatus.OK, endpoint(_checked_request(body) if takes == "POST" else {})
    except RequestError as error:
        return error.status, error.body()


class DemoHandler(BaseHTTPRequestHandler):
    """One connection. Answers and errors are JSON; nothing is logged."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in one packet; in two they would wait for each other's acknowledgement.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._send(*respond("GET", self._path()))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "the request needs a Content-Length")
            return
        body = self.rfile.read(int(length))
        time.sleep(LATENCY_SECONDS)
        self._send(*respond("POST", self._path(), body))

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        # http.server does this after its do_ methods only, not after its own errors.
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is refused before its body is read (a broken request line, another method).

        Ends the connection: what was left unread would be taken for the next request.
        """
        self.close_connection = True
        status = HTTPStatus(code)
        self._send(status, RequestError(status, message or status.phrase).body())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the log of a benchmark belongs to the benchmark."""


class DemoServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1, a thread for each connection."""

    daemon_threads = True
    # A harness opens all its connections at once; the default of 5 would make it wait.
    request_queue_size = 1024

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for this host's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is none of the endpoint's business.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def write_port(path: Path, port: int) -> None:
    """Writes the port and a newline, so that a reader sees all of it or no file."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(f"{port}\n")
    part.replace(path)


def serve(port: int, port_file: Path | None) -> NoReturn:
    """Serves until standard input is closed or a signal ends it.

    Raises OSError where the port is taken or the port file cannot be written.
    """
    if port_file:
        # One that a killed endpoint left behind would name a port that is somebody else's by now.
        port_file.unlink(missing_ok=True)
    server = DemoServer(("127.0.0.1", port), DemoHandler)
    if port_file:
        write_port(port_file, server.server_port)
    signal.signal(signal.SIGTERM, lambda *_: _end(port_file))
    threading.Thread(target=_end_with_stdin, args=[port_file], daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    _end(port_file)


def _end_with_stdin(port_file: Path | None) -> None:
    with contextlib.suppress(OSError):  # closed from the start
        while os.read(0, 4096):
            pass
    _end(port_file)


def _end(port_file: Path | None) -> NoReturn:
    """At once: waits for no connection, whose other end may be gone."""
    if port_file:
        with contextlib.suppress(OSError):  # nothing may keep the process alive
            port_file.unlink()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m snakeval.demo_endpoint",
        description="OpenAI-compatible demo endpoint on 127.0.0.1: rules, not a model. "
        "Ends when its standard input is closed.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any free port")
    parser.add_argument("--port-file", type=Path, help="file to write the port to, once listening")
    options = parser.parse_args()
    try:
        serve(options.port, options.port_file)
    except OSError as error:
        sys.exit(f"demo endpoint: cannot serve on port {options.port}: {error}")


if __name__ == "__main__":
    main()
