"""A Hugging Face hub on the loopback address with one dataset, as far as `datasets` asks it."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "org/quiz"
COMMIT = "1" * 40
FILE = "test.jsonl"
CONTENT = "".join(
    json.dumps({"question": f"hub: what is {n} + {n}?", "answer": str(2 * n)}) + "\n"
    for n in range(5)
).encode()


class Hub:
    """A context manager; `requests` counts what it was asked, `url` goes into HF_ENDPOINT."""

    def __init__(self) -> None:
        self.requests = 0
        hub = self

        class Handler(_Handler):
            def handle_one_request(self) -> None:
                super().handle_one_request()
                hub.requests += bool(self.raw_requestline)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        prefix = f"/api/datasets/{NAME}"
        if path in (prefix, f"{prefix}/revision/main", f"{prefix}/revision/{COMMIT}"):
            self._answer(json.dumps(self._dataset()).encode())
        elif path.startswith(f"{prefix}/tree/"):
            entry = {"type": "file", "path": FILE, "size": len(CONTENT), "oid": COMMIT}
            self._answer(json.dumps([entry]).encode())
        elif path.startswith(f"/datasets/{NAME}/resolve/") and path.endswith(f"/{FILE}"):
            etag = f'"{hashlib.sha1(CONTENT).hexdigest()}"'
            self._answer(CONTENT, {"ETag": etag, "X-Repo-Commit": COMMIT})
        elif path.startswith(f"/datasets/{NAME}/resolve/"):
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            self._answer(b"", headers, 404)
        else:
            self._answer(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

    do_HEAD = do_GET

    @staticmethod
    def _dataset() -> dict[str, Any]:
        return {
            "id": NAME,
            "sha": COMMIT,
            "private": False,
            "gated": False,
            "tags": [],
            "siblings": [{"rfilename": FILE}],
        }

    def _answer(
        self, content: bytes, headers: dict[str, str] | None = None, code: int = 200
    ) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
