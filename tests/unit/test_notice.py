"""Who is told when a run ends: what is told, and that no address of a webhook is told to anyone."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from snakeval.config.execution.common import Notify
from snakeval.config.load import Loaded
from snakeval.config.model import Config
from snakeval.plan.make import make_run
from snakeval.plan.run import Run
from snakeval.results.notice import notify
from snakeval.start.checks import webhooks

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


def _run(folder: Path, **notice: str) -> Run:
    raw: dict[str, Any] = {
        "name": "nightly",
        "execution": {"output_dir": str(folder), "notify": notice},
        "target": {
            "api_endpoint": {"url": "http://localhost:1/v1/chat/completions", "model_id": "m"}
        },
        "evaluation": {"tasks": ["gsm8k_cot_instruct"]},
    }
    run = make_run(Loaded(Config.model_validate(raw), raw, (Path("my.yaml"),)), CATALOGUE)
    run.paths.dir.mkdir(parents=True)
    return run


class Hook(BaseHTTPRequestHandler):
    """Keeps what is sent; answers with the status that the path names."""

    got: list[Any]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.got.append(json.loads(self.rfile.read(length)))  # type: ignore[attr-defined]
        self.send_response(int(self.path.partition("?")[0].strip("/")))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Any]:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.got = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_command_gets_the_summary_of_every_run(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    run = _run(tmp_path / "out", command=f"cat >{told}")

    assert list(notify([run])) == []

    (summary,) = json.loads(told.read_text())["runs"]
    assert summary["name"] == "nightly"
    assert (summary["published"], summary["benchmarks"], summary["complete"]) == (0, 1, False)
    assert (summary["pending"], summary["failed"], summary["cancelled"]) == (1, 0, 0)
    assert summary["tasks"][0]["task"] == "gsm8k_cot_instruct"
    assert summary["tasks"][0]["state"] == "pending"


def test_command_that_fails_is_told_and_ends_nothing(tmp_path: Path) -> None:
    assert list(notify([_run(tmp_path, command="cat >/dev/null; exit 3")])) == [
        "execution.notify.command ended with exit code 3"
    ]


def test_webhook_gets_the_summary_and_its_address_is_never_told(
    tmp_path: Path, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path, webhook="MY_HOOK")
    address = f"http://127.0.0.1:{hook.server_port}"
    said = {}
    for name, url in {
        "taken": f"{address}/200?secret=canary",
        "refused": f"{address}/403?secret=canary",
        "gone": "http://127.0.0.1:1/canary",
        "none": "canary",
    }.items():
        monkeypatch.setenv("MY_HOOK", url)
        said[name] = list(notify([run]))

    assert hook.got[0]["runs"][0]["run"] == run.paths.id
    assert said["taken"] == []
    assert said["refused"] == ["the webhook in MY_HOOK answers 403"]
    assert "could not be reached" in said["gone"][0]
    assert "is no URL" in said["none"][0]
    assert "canary" not in str(said)


def test_variable_that_is_not_set_is_told_before_anything_starts(tmp_path: Path) -> None:
    assert "MY_HOOK" not in os.environ

    (problem,) = webhooks([_run(tmp_path, webhook="MY_HOOK")])

    assert problem.where.endswith("execution.notify.webhook")
    assert "the variable MY_HOOK is not set" in str(problem)


def test_address_in_place_of_a_variables_name_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        Notify(webhook="https://hooks.example/canary")

    assert "is not the name of an environment variable" in str(refused.value.errors()[0]["msg"])


def test_nobody_is_told_where_nobody_is_named(tmp_path: Path) -> None:
    assert list(notify([_run(tmp_path)])) == []
