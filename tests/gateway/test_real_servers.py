"""The gateway before a real server (llama.cpp on the CPU, a model of random weights)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from gateway_process import TOKEN, Gateway

from rig.model_server import SERVE, model_file
from rig.waiting import PATIENCE, wait_until
from snakeval.job.endpoint import answers, free_port

pytestmark = pytest.mark.long

NAME = "random"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of its chat completions."""
    port = free_port("127.0.0.1")
    words = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", NAME]
    command = [sys.executable, str(SERVE), "--model", str(model_file()), *words]
    with (tmp_path_factory.mktemp("server") / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
        process.kill()
        process.wait(PATIENCE)


def question(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is 1 + 1?"}]
    return {"model": NAME, "messages": messages, "temperature": 0, "max_tokens": 16, **more}


def said(response: requests.Response) -> str:
    """The text of an answer, streamed or not."""
    if "event-stream" not in response.headers["Content-Type"]:
        return str(response.json()["choices"][0]["message"]["content"])
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["whole", "stream"])
def test_what_a_real_server_says_passes_unchanged_is_counted_and_kept(
    more: dict[str, Any], server: str, start: Callable[..., Gateway]
) -> None:
    first = start(server)
    direct = requests.post(server, json=question(**more), timeout=PATIENCE)

    through = first.ask(question(**more), timeout=PATIENCE)

    assert said(through) == said(direct)
    (row,) = first.rows()
    assert (row["outcome"], row["endpoint"], row["model"]) == ("answered", "model", NAME)
    assert row["finish"] in ("stop", "length")
    first.end()
    again = start(server, attempt=2).ask(question(**more), timeout=PATIENCE)
    assert said(again) == said(through) and "X-Snakeval-Replayed" in again.headers


def test_a_client_that_leaves_a_stream_is_no_failure_of_the_server(
    server: str, start: Callable[..., Gateway]
) -> None:
    gateway = start(server)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = question(stream=True, max_tokens=200, ignore_eos=True)
    with requests.post(
        gateway.url, json=body, headers=headers, stream=True, timeout=PATIENCE
    ) as response:
        next(response.iter_content(10))
    wait_until(lambda: bool(gateway.rows()))
    assert gateway.outcomes() in (["gone"], ["answered"])  # it may be quicker than the client
