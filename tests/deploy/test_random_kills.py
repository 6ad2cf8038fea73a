"""Kills at random moments: nothing is left behind, and nothing is lost.

Every run has a few of them, always the same; the long form has many, with a seed of its own, which
it prints: SNAKEVAL_SEED=<seed> makes it the same again.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from deployed import Deployed, quiz, scripted
from supervised import Supervised

from rig import reliability
from rig.model_server import llama_image
from rig.waiting import PATIENCE, wait_until
from snakeval.run_folder.layout import RunPaths

SEED = 20261122
KILLS = 8
MANY_KILLS = 60
FORMS = [
    pytest.param((KILLS, SEED), id="few"),
    pytest.param((MANY_KILLS, None), id="many", marks=[pytest.mark.long]),
]
"""How many kills, and the seed of their order; None: another one each time."""
Form = tuple[int, int | None]
IDLE = 2
PARTS = {
    "supervisor": "lib/supervise.py",
    "log's filter": "lib/attempt.py redact",
    "engine's client": "docker run",
}
"""What is killed, by words of its command line; and the container, by the engine."""
OF_A_RUN = {
    "controller": "bin/snakemake",
    "deploy": "scripts/deploy.py",
    "supervisor": "lib/supervise.py",
    "server": "scripted_server.py",
    "run.sh": "run.sh",
    "harness": "ask.py",
}
"""The same of a whole run without containers."""


def seed_of(form: Form) -> int:
    fixed = form[1] or os.environ.get("SNAKEVAL_SEED")
    return int(fixed) if fixed else random.randrange(1_000_000)


def not_yet(names: list[str], killed: list[str]) -> list[str]:
    """Those whose turn it is: few kills, and each part once before any comes twice."""
    least = min(killed.count(name) for name in names)
    return [name for name in names if killed.count(name) == least]


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


@pytest.mark.parametrize("form", FORMS)
def test_random_kills_leave_no_container_and_no_process(
    server_image: str, tmp_path: Path, form: Form
) -> None:
    kills, seed = form[0], seed_of(form)
    print(f"seed {seed}")
    # given a real server in a container
    run = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abc0")
    run.dir.mkdir()
    server = Supervised(run, {"SNAKEVAL_START": "", "SNAKEVAL_SILENCE": "3"})
    server.write(llama_image(idle_timeout=IDLE), runtime="docker")
    chance = random.Random(seed)
    killed: list[str] = []
    # when parts of it are killed at random moments, and it is started again where it has ended
    while len(killed) < kills:
        with server.started() as supervisor:
            while len(killed) < kills and supervisor.poll() is None:
                time.sleep(chance.uniform(0, 1))
                there = processes(server)
                names = [*sorted(there), *(["container"] if containers(server) else [])]
                name = chance.choice(not_yet(names, killed)) if names else ""
                with contextlib.suppress(psutil.NoSuchProcess):
                    if name == "container":
                        subprocess.run(["docker", "kill", *containers(server)], capture_output=True)
                    elif name:
                        there[name].kill()
                    killed += [name] if name else []
                server.use()
    # then one more start ends what is left, and itself when it is idle
    with server.started() as supervisor:
        supervisor.wait(PATIENCE)
    wait_until(lambda: not containers(server) and not processes(server))
    assert server.record["state"] == "stopped", server.record["cause"]
    if kills > KILLS:
        assert set(killed) >= {*PARTS, "container"}, killed
        told = f"seed {seed}; {counted(killed)}; nothing was left"
        reliability.note(f"{kills} random kills around a server in a container", told)


def parts_of(project: Deployed) -> dict[str, list[psutil.Process]]:
    """What runs for a project, by the names of `OF_A_RUN`."""
    found: dict[str, list[psutil.Process]] = {}
    for each in psutil.process_iter(["cmdline", "cwd", "status"]):
        words = " ".join(each.info["cmdline"] or [])
        inside = str(project.folder) in words or each.info["cwd"] == str(project.folder)
        for name, part in OF_A_RUN.items():
            if inside and part in words and each.info["status"] != "zombie":
                found.setdefault(name, []).append(each)
                break
    return found


@pytest.mark.parametrize("form", FORMS[1:])
def test_after_random_kills_of_a_run_the_next_start_publishes_all_and_nothing_is_left(
    project: Deployed, form: Form
) -> None:
    kills, seed = form[0], seed_of(form)
    print(f"seed {seed}")
    # given two benchmarks whose server keeps them waiting
    project.environment["SNAKEVAL_SILENCE"] = "5"
    project.configure(scripted(idle_timeout=20), [quiz(seed=1), quiz(seed=2)])
    hold = project.file("hold")
    hold.parent.mkdir(parents=True, exist_ok=True)
    hold.touch()
    chance = random.Random(seed)
    killed: list[str] = []
    # when parts of it are killed, most of them in the middle, and Snakemake is started again
    # where it has ended
    while len(killed) < kills:
        asked = project.noted("asked")
        with project.started("--retries", "2") as snakemake:
            while len(killed) < kills and snakemake.poll() is None:
                wait_until(
                    lambda asked=asked, snakemake=snakemake: (  # type: ignore[misc]
                        project.noted("asked") > asked or snakemake.poll() is not None
                    ),
                    told=lambda: f"after {killed}: {sorted(parts_of(project))}, {project.log}",
                )
                for _ in range(chance.randint(1, 4)):
                    there = parts_of(project)
                    name = chance.choice(not_yet(sorted(there), killed)) if there else ""
                    if name:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            chance.choice(there[name]).kill()
                        killed.append(name)
                    time.sleep(chance.uniform(0, 0.7))
                asked = project.noted("asked")
    if kills > KILLS:
        assert set(killed) >= {"controller", "supervisor", "server", "run.sh", "harness"}, killed
    hold.unlink()
    # then the next start publishes everything, and nothing is left
    project.snakemake("--retries", "3").check()
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    wait_until(lambda: not project.leftovers())
    if kills > KILLS:
        told = f"seed {seed}; {counted(killed)}; all published, nothing was left"
        reliability.note(f"{kills} random kills in a run with a server", told)


def counted(killed: list[str]) -> str:
    """`5 x run.sh, 3 x server`."""
    return ", ".join(f"{count} x {name}" for name, count in Counter(killed).most_common())
