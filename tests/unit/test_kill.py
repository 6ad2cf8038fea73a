"""What `kill` says is still there: the parts that need no cluster."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rig.waiting import PATIENCE
from snakeval.job import lease
from snakeval.run_folder.layout import RunPaths
from snakeval.runs import kill


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A task whose script, on another machine, has given a sign of life this moment."""
    run = RunPaths(tmp_path / "2026-01-01-00-00-00-01234567")
    task = run.task("arc")
    task.lease.mkdir(parents=True)
    task.spec.write_text("digest: 0123\n")
    run.record.write_text(json.dumps({"tasks": ["arc"]}))
    (run.dir / "sbatch_arc.sh").write_text("#!/bin/bash\n")
    (task.lease / "owner").write_text("host=node-1 pid:[1]\npid=7\njob=259\ncontainer=\ndigest=\n")
    (task.lease / "beat").touch()
    return run


def slurm_says(monkeypatch: pytest.MonkeyPatch, folder: Path, state: str) -> None:
    """A `squeue` that knows job 259, and as a live one only if it is."""
    queue = folder / "squeue"
    line = f"259|{state}|None|node-1|1:00|arc|{folder}/elsewhere.sh"
    queue.write_text(f'#!/bin/sh\ncase "$*" in *--states=all*) echo "{line}" ;; esac\n')
    queue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_script_whose_job_has_been_shot_is_not_still_there(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_says(monkeypatch, tmp_path, "FAILED")
    assert not kill.kill_run(run).left


def test_a_script_on_another_machine_whose_job_lives_is_still_there(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_says(monkeypatch, tmp_path, "RUNNING")
    monkeypatch.setattr(kill, "JOB_GRACE", 0.0)
    assert kill.kill_run(run).left == ["arc: pid 7 on node-1 (another host)"]


def test_a_pid_of_a_container_is_not_a_pid_of_this_machine(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a script in a container that has this machine's name, as with its network
    said = f"host={platform.node()} pid:[1]\npid=7\njob=\ncontainer=\ndigest=\n"
    (run.task("arc").lease / "owner").write_text(said)
    (run.dir / "sbatch_arc.sh").unlink()
    sent: list[int] = []
    monkeypatch.setattr(kill, "send", lambda owner, *_: sent.append(owner.pid))
    assert kill.kill_run(run).left == [f"arc: pid 7 on {platform.node()} (in a container)"]
    assert sent == []


def test_a_controller_that_is_gone_before_anybody_looks_again_is_told_as_ended(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.task("arc").lease / "owner").unlink()
    # given a controller that ends at once, while the jobs are being stopped
    run.controller.touch()
    drives = (  # the tests may have been started with SIGINT ignored, as by `nohup ... &`
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL);"
        f"held = open({str(run.controller)!r}); print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", drives], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()  # it has the file open
        host, _, namespace = lease.host_id().partition(" ")
        said = {"host": host, "namespace": namespace, "pid": process.pid, "boot": lease.boot_id()}
        said |= {"born": lease.born(process.pid), "since": "then", "start": "s"}
        run.controller.write_text(json.dumps(said))
        monkeypatch.setattr(kill, "_stop_jobs", lambda *_: process.wait(PATIENCE))
        assert kill.kill_run(run).ended == [f"controller: pid {process.pid}"]
