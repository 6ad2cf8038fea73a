"""`bash server.sh`: what a server's supervisor does, in good times and in bad ones."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deployed import scripted, taken_port
from supervised import Supervised

from rig.waiting import PATIENCE, wait_until
from snakeval.job import server_process, supervise
from snakeval.run_folder.layout import RunPaths


@pytest.fixture
def server(tmp_path: Path) -> Supervised:
    run = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abcd")
    run.dir.mkdir()
    return Supervised(run, {"SNAKEVAL_SILENCE": "3", "SNAKEVAL_START": ""})


def steered(server: Supervised, *arguments: str) -> list[str]:
    """Arguments of the scripted server with its files in this run folder."""
    folder = server.run.dir
    files = {"log": "starts", "sick-while": "sick", "hold-while": "hold"}
    return [*(f"--{flag} {folder / name}" for flag, name in files.items()), *arguments]


def starts(server: Supervised) -> int:
    return (server.run.dir / "starts").read_text().count("start")


def test_by_hand_it_comes_up_at_loopback_and_ctrl_c_takes_it_down(server: Supervised) -> None:
    server.write(scripted(*steered(server)))
    with server.started() as process:
        wait_until(lambda: "healthy after" in server.said)
        assert server.address.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert not server.servers()
    assert not server.address
    assert server.record["state"] == "stopped"


def test_a_second_one_leaves_the_first_alone(server: Supervised) -> None:
    server.write(scripted(*steered(server)))
    with server.started():
        wait_until(lambda: server.address)
        second = subprocess.run(
            ["bash", str(server.paths.script)], capture_output=True, text=True, timeout=PATIENCE
        )
        assert second.returncode == 0
        assert "supervised already" in second.stdout
        assert starts(server) == 1


def test_never_healthy_is_a_failure_with_the_last_lines_and_the_time_waited(
    server: Supervised,
) -> None:
    server.write(scripted(*steered(server)), timeout=2)
    (server.run.dir / "sick").touch()
    said = server.ended()
    assert "was not healthy after 2 s" in said
    assert "the server's weights are loaded" in server.record["cause"]
    assert server.record["state"] == "failed"
    assert not server.servers()


def test_a_server_that_ends_before_it_is_healthy_is_not_started_again(server: Supervised) -> None:
    server.write(scripted(*steered(server, "--exit-code 3")))
    server.ended()
    assert "exit code 3 before it was healthy" in server.record["cause"]
    assert "no GPU was found, says the server" in server.record["cause"]
    assert starts(server) == 1


def test_a_server_that_dies_comes_back_at_most_three_times(server: Supervised) -> None:
    server.write(scripted(*steered(server)))
    with server.started() as process:
        for number in range(4):
            wait_until(lambda: server.address)
            before = server.address
            for each in server.servers():
                each.kill()
            wait_until(lambda before=before: server.address != before)  # type: ignore[misc]
            if number < 3:
                wait_until(lambda number=number: starts(server) == number + 2)  # type: ignore[misc]
        assert process.wait(PATIENCE) == 1
    assert server.record["lives"][-1]["restarts"] == 3
    assert "after 3 restarts" in server.record["cause"]


def test_a_fixed_port_that_is_taken_is_a_clear_error(server: Supervised) -> None:
    with taken_port() as listening:
        port = listening.getsockname()[1]
        server.write(scripted(*steered(server), port=port))
        server.ended()
    assert f"port {port} is taken" in server.record["cause"]
    assert not (server.run.dir / "starts").exists()


def test_another_model_is_an_error_before_any_sample(server: Supervised) -> None:
    server.write(scripted(*steered(server, "--name other")))
    server.ended()
    assert "the server serves other and not 'test-model'" in server.record["cause"]
    assert not server.servers()


def test_it_ends_when_nobody_has_used_it_for_a_while(server: Supervised) -> None:
    server.write(scripted(*steered(server), idle_timeout=2))
    server.ended()
    assert server.record["cause"] == "idle for 2 s"
    assert server.record["lives"][0]["seconds_idle"] >= 2


def test_a_benchmark_that_comes_and_goes_between_two_looks_has_used_it(server: Supervised) -> None:
    server.write(scripted(*steered(server), idle_timeout=2))
    with server.started() as process:
        wait_until(lambda: server.address)
        server.use("short")
        (server.paths.users / "short").unlink()
        process.wait(PATIENCE)
    assert server.record["cause"] == "idle for 2 s"
    assert server.record["lives"][0]["seconds_in_use"] > 0


def test_a_start_that_has_found_it_up_has_time_to_use_it(server: Supervised) -> None:
    server.write(scripted(*steered(server), idle_timeout=3))
    with server.started() as process:
        wait_until(lambda: server.address)
        for number in range(8):  # four seconds and more
            server.paths.up(f"start{number}").touch()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.6)
        process.wait(PATIENCE)
    assert server.record["cause"] == "idle for 3 s"


def test_it_stays_while_it_is_used_and_ends_with_its_last_benchmark(server: Supervised) -> None:
    # given two benchmarks of this start: one finished, one under way
    server.write(scripted(*steered(server), idle_timeout=2))
    server.paths.tasks.write_text(json.dumps({"start": "s1", "tasks": {"a": "d1", "b": "d2"}}))
    complete = server.run.task("a").complete("d1")
    complete.parent.mkdir(parents=True)
    complete.touch()
    with server.started(SNAKEVAL_START="s1") as process:
        wait_until(lambda: server.address)
        for _ in range(40):
            server.use("b")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        # when the second one fails for the last time
        attempt = {"digest": "d2", "start": "s1", "state": "failed", "last": True}
        server.run.task("b").dir.mkdir()
        server.run.task("b").status.write_text(json.dumps({"attempts": [attempt]}))
        (server.paths.users / "b").unlink()
        # then the server is down within seconds
        process.wait(PATIENCE)
    assert server.record["cause"] == "no benchmark needs it any more"


def test_a_failure_that_is_tried_again_keeps_the_server(server: Supervised) -> None:
    server.write(scripted(*steered(server), idle_timeout=2))
    server.paths.tasks.write_text(json.dumps({"start": "s1", "tasks": {"b": "d2"}}))
    attempt = {"digest": "d2", "start": "s1", "state": "failed", "last": False}
    server.run.task("b").dir.mkdir()
    server.run.task("b").status.write_text(json.dumps({"attempts": [attempt]}))
    server.ended(SNAKEVAL_START="s1")
    assert server.record["cause"] == "idle for 2 s"


def test_killed_it_leaves_no_server_and_the_next_one_takes_over(server: Supervised) -> None:
    server.write(scripted(*steered(server)))
    with server.started() as process:
        wait_until(lambda: server.address)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not server.servers())
    with server.started():
        wait_until(lambda: starts(server) == 2 and server.address)


def test_run_sh_by_hand_says_when_there_is_no_server(server: Supervised) -> None:
    server.write(scripted(*steered(server)))
    asked = subprocess.run(
        ["python3", str(server.run.lib / "server.py"), "wait", str(server.paths.dir)],
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 1
    assert f"bash {server.paths.script}" in asked.stdout


def test_a_free_port_that_somebody_takes_first_is_exchanged(
    server: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.write(scripted(*steered(server), idle_timeout=1))
    with taken_port() as listening:
        # given a port that is taken between the choice and the server's start
        ports = iter([listening.getsockname()[1]])
        choose = server_process.free_port
        monkeypatch.setattr(
            server_process, "free_port", lambda host: next(ports, 0) or choose(host)
        )
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
        words = [str(server.paths.dir), "--digest=1", "--model=test-model", "--health=/health"]
        options = supervise.parser().parse_args([*words, "--own-network", "--idle-timeout=1"])
        # when it is brought up
        monkeypatch.setenv("SNAKEVAL_START", "")
        monkeypatch.setenv("SNAKEVAL_PYTHON", sys.executable)
        assert supervise.Supervisor(options).supervise() == 0
    # then it has come up at another one
    assert server.record["cause"] == "idle for 1 s"
    assert starts(server) == 2
