"""A model server that does what a test says: OpenAI-compatible, standard library only.

Each start adds a line to `--log`, and one with its GPUs if it was given any. Files steer it while
it runs: it is healthy unless `--sick-while` exists; while `--hold-while` exists it answers nothing.
"""

import argparse
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    options: argparse.Namespace

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send({}, 503 if self.options.sick_while.exists() else 200)
        else:
            self.send({"data": [{"id": self.options.name}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        note(self.options, f"asked by {self.client_address[0]}")
        while self.options.hold_while.exists():
            time.sleep(0.05)
        message = {"role": "assistant", "content": "It is 7."}
        self.send({"model": self.options.name, "choices": [{"message": message}]})

    def send(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def note(options: argparse.Namespace, word: str) -> None:
    with options.log.open("a") as log:
        log.write(f"{word} {os.getpid()}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="test-model")
    parser.add_argument("--log", type=Path, default=Path("server-starts"))
    parser.add_argument("--sick-while", type=Path, default=Path("sick"))
    parser.add_argument("--hold-while", type=Path, default=Path("hold"))
    parser.add_argument("--exit-code", type=int, help="end at once, after a last word")
    options = parser.parse_args()
    note(options, "start")
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        note(options, f"gpus {os.environ['CUDA_VISIBLE_DEVICES']}")
    if options.exit_code is not None:
        print("no GPU was found, says the server", flush=True)
        raise SystemExit(options.exit_code)
    Handler.options = options
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
