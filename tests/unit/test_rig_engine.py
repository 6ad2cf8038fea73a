"""The tests' own Docker engine: what can be told without one."""

import subprocess

import psutil

from rig.docker_engine import _lives


def test_an_engine_that_another_process_started_has_ended_though_nobody_has_asked_how() -> None:
    process = subprocess.Popen(["sleep", "60"])
    seen = psutil.Process(process.pid)
    assert _lives(seen)
    process.kill()
    while seen.status() != psutil.STATUS_ZOMBIE:
        pass
    assert not _lives(seen)
    process.wait()
    assert not _lives(seen)
