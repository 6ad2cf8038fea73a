"""Before a server that answers slowly: what was asked once is answered again in the same words.

    with Remembering(url, tmp_path / "answers.jsonl") as before:
        ...                                  # something asks before.url
        before.asked                         # requests that the server itself has answered

So two programs that are to get the same answers cost the server one, and the second of them asks it
nothing where its requests are those of the first.
"""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

LONGEST = 3600.0
"""Seconds for one answer, on a processor that others use as well."""


class Remembering:
    """A proxy of one address for POST; only answers with status 200 are remembered.

    url     of the proxy, with the path of the address behind it
    asked   requests that reached the server
    """

    def __init__(self, behind: str, kept: Path) -> None:
        self.behind = behind
        self.kept = kept
        self.asked = 0
        lines = kept.read_text().splitlines() if kept.exists() else []
        self._answers: dict[str, str] = dict(map(json.loads, lines))
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.remembering = self
        path = "/" + behind.split("/", 3)[3]
        self.url = f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: bytes) -> str:
        """Of the server, or as it was. Raises HTTPError."""
        key = json.dumps(json.loads(body), sort_keys=True)
        if key not in self._answers:
            said = _ask(self.behind, body).decode()
            with self._lock, self.kept.open("a") as file:
                self.asked += 1
                self._answers[key] = said
                file.write(json.dumps([key, said]) + "\n")
        return self._answers[key]


def _ask(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LONGEST) as response:
        data: bytes = response.read()
        return data


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    remembering: Remembering


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        base = self.server.remembering.behind.split("/", 3)[:3]
        self._reply(lambda: _ask("/".join(base) + self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(lambda: self.server.remembering.answer(body).encode())

    def _reply(self, answer: Any) -> None:
        try:
            status, data = 200, answer()
        except urllib.error.HTTPError as refused:
            status, data = refused.code, refused.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        with contextlib.suppress(ConnectionError):  # who asked has left; the answer is kept
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
