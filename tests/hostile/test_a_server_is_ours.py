"""A server is the one that was started: at its port, under its name, alive, and gone in the end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rig.waiting import PATIENCE, wait_until
from snakeval.executors.profile import Profile
from snakeval.executors.registry import executor
from snakeval.job import processes, supervise
from snakeval.plan.make import plan
from snakeval.render.lib import write_library
from snakeval.run_folder.layout import RunPaths
from snakeval.start import checks
from snakeval.start.this_start import ThisStart

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
SERVES = """
import json, os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
folder, port = Path(sys.argv[1]), int(os.environ["SNAKEVAL_PORT"])
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        while (folder / "hang").exists(): time.sleep(0.1)
        named = json.dumps({"data": [{"id": "m"}]}).encode()
        self.send_response(404 if "models" in self.path and (folder / "mute").exists() else 200)
        self.end_headers()
        self.wfile.write(named)
    def log_message(self, *_): pass
for _ in range(2):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"],
                             start_new_session=True)
    with (folder / "children").open("a") as file: file.write(f"{child.pid}\\n")
while (folder / "loading").exists(): time.sleep(0.1)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
SCRIPT = """
case ${1:-} in
    serve) exec %s -c "$(cat "$(dirname "$0")/serves.py")" "$(dirname "$0")" ;;
esac
"""
HURRIED = {
    "supervise.LOOK_AGAIN": 0.2,
    "supervise.FAILED_LOOKS": 2,
    "supervise.LISTS_MODELS": 1.0,
    "server_process.GRACE": 1.0,
    "supervise.RESTARTS": 1,
    "server_process.LARGEST_LOG": 10_000,
    "server_process.KEPT_OF_LOG": 1_000,
}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The folder of a server that has two children in sessions of their own."""
    paths = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abcd").server("model")
    paths.users.mkdir(parents=True)
    write_library(RunPaths(paths.dir.parents[1]).lib)
    (paths.dir / "serves.py").write_text(SERVES)
    paths.script.write_text(SCRIPT % sys.executable)
    return paths.dir


@contextlib.contextmanager
def supervised(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Its supervisor, an impatient one."""
    settings = "; ".join(f"{name} = {value}" for name, value in HURRIED.items())
    options = ["--digest=1", "--model=m", "--health=/health", "--own-network", *words]
    command = (
        f"import sys; from snakeval.job import server_process, supervise; {settings}; "
        "sys.exit(supervise.Supervisor(supervise.parser().parse_args(sys.argv[1:])).supervise())"
    )
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", command, str(folder), *options],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, "SNAKEVAL_START": ""},
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def is_up(folder: Path) -> bool:
    return (folder / "endpoint.json").exists()


def children(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "children").read_text().split()]


def lives(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_children_in_sessions_of_their_own_end_with_their_server(server: Path) -> None:
    with supervised(server) as process:
        wait_until(lambda: is_up(server))
        assert [lives(pid) for pid in children(server)] == [True, True]
        process.terminate()
        process.wait(PATIENCE)
        assert [lives(pid) for pid in children(server)] == [False, False]


def test_what_a_killed_supervisor_has_left_ends_before_the_next_server_begins(
    server: Path,
) -> None:
    with supervised(server) as process:
        wait_until(lambda: is_up(server))
        process.kill()
        process.wait()
    left = children(server)
    (server / "endpoint.json").unlink()
    with supervised(server):
        wait_until(lambda: is_up(server))
        assert not any(lives(pid) for pid in left)


def test_a_server_that_hangs_is_started_again(server: Path) -> None:
    with supervised(server) as process:
        wait_until(lambda: is_up(server))
        (server / "hang").touch()
        wait_until(lambda: "did not answer 2 times in a row; it is started again" in said(server))
        (server / "hang").unlink()
        wait_until(lambda: is_up(server))
        assert process.poll() is None


def said(folder: Path) -> str:
    return (folder / "said").read_text()


def test_who_answers_at_the_port_in_a_servers_place_is_not_believed(server: Path) -> None:
    # given a server that loads for long, and somebody who takes its port meanwhile
    (server / "loading").touch()
    from snakeval.job.endpoint import free_port

    port = free_port("127.0.0.1")
    with supervised(server, f"--port={port}", "--fixed-port", "--ready-timeout=600"):
        wait_until(lambda: (server / "children").exists())
        stranger = subprocess.Popen(
            [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=server,
        )
        try:
            (server / "health").touch()
            wait_until(lambda: processes.all_listeners_are({stranger.pid}, port))
            time.sleep(2)
            assert not is_up(server)
        finally:
            stranger.kill()
            stranger.wait()
        (server / "loading").unlink()
        wait_until(lambda: is_up(server))


def test_a_server_that_lists_no_models_is_refused_unless_the_config_insists(server: Path) -> None:
    (server / "mute").touch()
    with supervised(server) as process:
        assert process.wait(PATIENCE) == 1
    record = json.loads((server / "status.json").read_text())
    assert "does not say which models it serves" in record["cause"]
    assert supervise.INSIST in record["cause"]
    with supervised(server, "--any-model"):
        wait_until(lambda: is_up(server))


def test_a_log_that_grows_without_end_is_cut_and_says_so(server: Path) -> None:
    with supervised(server):
        wait_until(lambda: is_up(server))
        log = server / "logs" / "server.1.log"
        with log.open("a") as file:
            file.write("x" * 20_000 + "the end\n")
        wait_until(lambda: log.stat().st_size < 5_000)
        text = log.read_text()
        assert text.startswith("[snakeval: 19") and text.endswith("the end\n")


def test_listeners_are_known_by_their_process() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert processes.all_listeners_are({os.getpid()}, port)
        assert processes.all_listeners_are({1}, port) is False
    assert processes.all_listeners_are({os.getpid()}, port) is False


def refusals(folder: Path, ports: list[int | None]) -> list[str]:
    """What is said against a start of a sweep whose servers listen at these ports."""
    content = {
        "deployment": {"type": "process", "served_model_name": "m"},
        "evaluation": {"tasks": ["gsm8k_cot_instruct"]},
        "models": [
            {"name": f"step-{number}", "deployment": {"command": f"load {number} {{port}}"}}
            for number, _ in enumerate(ports)
        ],
        "execution": {"output_dir": str(folder / "out")},
    }
    for model, port in zip(content["models"], ports, strict=True):  # type: ignore[arg-type]
        if port:
            model["deployment"]["port"] = port
    (folder / "my.yaml").write_text(json.dumps(content))
    runs = plan([folder / "my.yaml"], {}, CATALOGUE)
    asked = {task: "process" for run in runs for task in run.tasks}
    start = ThisStart("start", runs, asked, executor("local"), Profile(), logging.getLogger())
    return [str(problem) for problem in checks.against(start) if "of two servers" in str(problem)]


def test_two_processes_at_one_port_are_refused_before_anything_starts(tmp_path: Path) -> None:
    (said,) = refusals(tmp_path, [18300, 18300])
    assert "port" in said and "18300" in said and "leave `port` out" in said
    assert not (tmp_path / "out").exists()
    assert refusals(tmp_path, [18300, 18301]) == []
    assert refusals(tmp_path, [None, None]) == []
