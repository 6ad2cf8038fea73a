"""A gateway as `run.sh` starts it: a process from a run folder's `lib/`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from rig.waiting import PATIENCE
from snakeval.job.gateway.accounts import Account, accounts
from snakeval.job.gateway.ledger import LEDGER, rows

TOKEN = "token-of-this-task-0123456789"
KEY = "sk-the-real-key-of-the-user"


class Gateway:
    """url: the endpoint's, as the harness gets it. record: the folder of the ledger."""

    def __init__(self, folder: Path, upstream: str, attempt: int, options: dict[str, Any]) -> None:
        self.record, self.upstream = folder / "record", upstream
        ports = folder / f"ports-{time.monotonic_ns()}"
        environment = {
            **os.environ,
            "GATE_TOKEN": TOKEN,
            "UPSTREAM": upstream,
            "REAL_KEY": KEY,
            **options.pop("environment", {}),
        }
        command = [sys.executable, str(folder / "lib" / "gateway.py"), "serve"]
        command += ["--record", str(self.record), "--attempt", str(attempt)]
        command += ["--endpoint", "model", "UPSTREAM", "REAL_KEY", "--token-env", "GATE_TOKEN"]
        command += ["--port-file", str(ports), "--pace-folder", str(folder)]
        command += options.pop("more", [])
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while not ports.exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)
        self.ports = dict(line.split() for line in ports.read_text().splitlines())
        self.origin = f"http://127.0.0.1:{self.ports['model']}"

    @property
    def url(self) -> str:
        return self.origin + urlsplit(self.upstream).path

    def ask(self, body: Any, token: str = TOKEN, timeout: float = PATIENCE, **more: Any) -> Any:
        """Sends a body and gives the response of `requests`."""
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return requests.post(self.url, json=body, headers=headers, timeout=timeout, **more)

    def rows(self) -> list[dict[str, Any]]:
        return list(rows(self.record / LEDGER))

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rows()]

    def account(self) -> Account:
        return accounts(self.record)["model"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """As `run.sh` does it, by its own end: standard input ends."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(PATIENCE)


def text_of(response: requests.Response) -> str:
    return str(json.loads(response.content)["choices"][0]["message"]["content"])
