"""What stands before an endpoint's server: lets in who has a token, and passes requests on."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError


class Gateway:
    """Listens from the first moment; `target` is asked for the server's address each time.

    tokens  the values that are let in, asked for each time; none: everybody
    """

    def __init__(self, target: Callable[[], str], tokens: Callable[[], list[str]]) -> None:
        self.refused = 0
        self.passed = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, target, tokens))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(
    gateway: Gateway, target: Callable[[], str], tokens: Callable[[], list[str]]
) -> type[BaseHTTPRequestHandler]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = tokens()
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if known and given not in known:
                gateway.refused += 1
                self._send(401, b'{"message": "no such token"}')
                return
            gateway.passed += 1
            request = urllib.request.Request(
                target() + self.path, data=body or None, method=self.command
            )
            request.add_header("Content-Type", self.headers.get("Content-Type") or "text/plain")
            try:
                with opener.open(request, timeout=60) as answer:
                    self._send(answer.status, answer.read())
            except HTTPError as error:
                self._send(error.code, error.read())
            except (OSError, HTTPException):
                self._send(503, b'{"message": "no replica is ready"}')

        def _send(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client has left
                return

        do_GET = do_POST = _pass

    return Handler
