"""A tiny HTTP proxy on loopback that counts what it is asked for, for tests.

with CountingProxy(everything_to=("127.0.0.1", endpoint.port)) as proxy:
    ...                                  # HTTP_PROXY=proxy.url, the endpoint is http://model.test/v1
    assert proxy.asked["model.test"]
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


class CountingProxy:
    """asked: requests per host. everything_to: the server that stands for every host."""

    def __init__(self, everything_to: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.asked: Counter[str] = Counter()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                parts = urlsplit(self.path)
                proxy.asked[parts.hostname or self.path] += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                upstream = http.client.HTTPConnection(*everything_to, timeout=60)
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("proxy-connection", "connection", "host")
                }
                with contextlib.closing(upstream):
                    upstream.request(self.command, parts.path or "/", body, headers)
                    answer = upstream.getresponse()
                    content = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = forward

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet: the counter tells more."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
