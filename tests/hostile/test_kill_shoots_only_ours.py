"""`kill` ends what belongs to the run: no number in a file is believed alone."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from snakeval.job import lease
from snakeval.run_folder.layout import RunPaths
from snakeval.runs import kill


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOOK", 0.2)
    for name in ("SCRIPT_GRACE", "CONTROLLER_GRACE"):
        monkeypatch.setattr(kill, name, 2.0)


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    run = RunPaths(tmp_path / "2026-01-01-00-00-00-01234567")
    run.task("arc").lease.mkdir(parents=True)
    run.task("arc").spec.write_text("digest: 0123\n")
    run.task("arc").script.write_text("sleep 300 & wait\n")
    run.record.write_text(json.dumps({"tasks": ["arc"]}))
    return run


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as process:
        yield process
        process.kill()


def hold(run: RunPaths, pid: object, more: str = "") -> None:
    text = f"host={lease.host_id()}\npid={pid}\n{more}job=\ncontainer=\ndigest=0123\n"
    (run.task("arc").lease / "owner").write_text(text)
    (run.task("arc").lease / "beat").touch()


def drive(run: RunPaths, pid: object, **more: object) -> None:
    host, _, namespace = lease.host_id().partition(" ")
    said = {"host": host, "namespace": namespace, "pid": pid, "since": "then", "start": "s"}
    run.controller.write_text(json.dumps(said | more))


def began(pid: int) -> str:
    return f"born={lease.born(pid)}\nboot={lease.boot_id()}\n"


@pytest.mark.parametrize("knows", ["nothing", "when it began", "another time"])
def test_an_unrelated_process_that_a_lease_names_lives_on(
    run: RunPaths, stranger: subprocess.Popen[bytes], knows: str
) -> None:
    said = {"nothing": "", "when it began": began(stranger.pid), "another time": "born=1\n"}
    hold(run, stranger.pid, said[knows])
    report = kill.kill_run(run)
    assert stranger.poll() is None
    assert not report.ended
    if knows != "another time":  # then its owner is dead
        assert "was left alone, as it is not a process of this run" in report.left[0]


@pytest.mark.parametrize("knows", ["nothing", "when it began", "another time", "the old way"])
def test_an_unrelated_process_that_a_controllers_file_names_lives_on(
    run: RunPaths, stranger: subprocess.Popen[bytes], knows: str
) -> None:
    said: dict[str, dict[str, object]] = {
        "nothing": {},
        "when it began": {"born": lease.born(stranger.pid), "boot": lease.boot_id()},
        "another time": {"born": "1"},
        "the old way": {"born": psutil.Process(stranger.pid).create_time()},
    }
    drive(run, stranger.pid, **said[knows])
    kill.kill_run(run)
    assert stranger.poll() is None


@pytest.mark.parametrize(
    "pid",
    [0, 1, -1, -2, "", "x", "1e3", "0x10", 10**30, 2**31, 2**22 + 1, "own", "parent"],
)
def test_no_number_that_is_no_scripts_is_sent_a_signal(
    run: RunPaths, pid: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = {"own": os.getpid(), "parent": os.getppid()}.get(str(pid), pid)
    sent: list[object] = []
    monkeypatch.setattr(os, "kill", lambda *told: sent.append(told) if told[1] else None)
    monkeypatch.setattr("signal.pidfd_send_signal", lambda *told: sent.append(told))
    hold(run, pid)
    drive(run, pid)
    kill.kill_run(run)
    assert not sent


def test_the_run_s_own_script_is_ended(run: RunPaths) -> None:
    with subprocess.Popen(["bash", str(run.task("arc").script)], start_new_session=True) as script:
        time.sleep(0.2)
        hold(run, script.pid, began(script.pid))
        report = kill.kill_run(run)
        assert script.wait() == -15
    assert report.ended == [f"arc: pid {script.pid}"]


def test_a_copy_s_containers_are_not_this_run_s(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an engine with a container of this folder, one of its copy, and one that says nothing
    copy = RunPaths(tmp_path / "copy" / run.id)
    marks = {
        "ours": kill.folder_mark(run.task("arc").dir),
        "the-copys": kill.folder_mark(copy.task("arc").dir),
        "old": "",
    }
    lines = "\n".join(f"/{name}|{mark}|{run.id}/arc|" for name, mark in marks.items())
    engine = tmp_path / "docker"
    engine.write_text(
        f'#!/bin/sh\ncase $1 in ps) echo 1 2 3 ;; inspect) cat "{tmp_path}/said" ;; esac\n'
    )
    (tmp_path / "said").write_text(lines + "\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert kill.containers("docker", run) == ["ours"]


def test_a_process_of_another_machine_of_this_name_is_left_alone(
    run: RunPaths, stranger: subprocess.Popen[bytes]
) -> None:
    hold(run, stranger.pid, f"born={lease.born(stranger.pid)}\nboot=another\n")
    report = kill.kill_run(run)
    assert report.left == [
        f"arc: pid {stranger.pid} on {platform.node()} (another machine of that name)"
    ]
