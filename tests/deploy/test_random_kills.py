"""Twenty kills at random moments leave no container and no process behind."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from pathlib import Path

import psutil
from deployed import llama_image, wait_until
from supervised import Supervised

from snakeval.layout import RunPaths

SEED = 20261122
KILLS = 20
IDLE = 2
PARTS = {
    "supervisor": "lib/supervise.py",
    "log's filter": "lib/attempt.py redact",
    "engine's client": "docker run",
}
"""What is killed, by words of its command line; and the container, by the engine."""


def processes(server: Supervised) -> dict[str, psutil.Process]:
    """What runs for this server on this machine, by the names of `PARTS`."""
    found = {}
    for each in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(each.info["cmdline"] or [])
        ours = str(server.run.dir) in words or server.run.id in words
        for name, part in PARTS.items():
            if ours and part in words and each.info["status"] != "zombie":
                found[name] = each
    return found


def containers(server: Supervised) -> list[str]:
    command = ["docker", "ps", "-aq", "--filter", f"label=snakeval.run={server.run.id}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_twenty_random_kills_leave_no_container_and_no_process(
    server_image: str, tmp_path: Path
) -> None:
    # given a real server in a container
    run = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abc0")
    run.dir.mkdir()
    server = Supervised(run, {"SNAKEVAL_START": "", "SNAKEVAL_SILENCE": "3"})
    server.write(llama_image(idle_timeout=IDLE), runtime="docker")
    chance = random.Random(SEED)
    killed: list[str] = []
    # when parts of it are killed at random moments, and it is started again where it has ended
    while len(killed) < KILLS:
        with server.started() as supervisor:
            while len(killed) < KILLS and supervisor.poll() is None:
                time.sleep(chance.uniform(0, 1))
                there = processes(server)
                names = [*sorted(there), *(["container"] if containers(server) else [])]
                name = chance.choice(names) if names else ""
                with contextlib.suppress(psutil.NoSuchProcess):
                    if name == "container":
                        subprocess.run(["docker", "kill", *containers(server)], capture_output=True)
                    elif name:
                        there[name].kill()
                    killed += [name] if name else []
                server.use()
    # then one more start ends what is left, and itself when it is idle
    with server.started() as supervisor:
        supervisor.wait(60)
    wait_until(lambda: not containers(server) and not processes(server), 20)
    assert len(set(killed)) >= len(PARTS), killed
    assert server.record["state"] == "stopped", server.record["cause"]
