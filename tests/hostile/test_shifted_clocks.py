"""A file server whose clock is not ours: who lives is alive, who died is dead, for every reader."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.promised import promised
from snakeval.errors import InputError
from snakeval.job import lease, server, supervise
from snakeval.run_folder import controller, servers
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import run_states, task_state
from snakeval.runs import clean, kill

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
CONFIG = {
    "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
    "evaluation": {"tasks": [{"name": "gsm8k_cot_instruct"}]},
}
SHIFTS = [-300, 300]
"""Seconds that the file server's clock is ahead."""
ELSEWHERE = "host=node7 pid:[1]\npid=4711\nborn=1\njob=\ncontainer=\ndigest=abc\nstart=s\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat every 0.1 s, and a silence of 1.5 s is an end."""
    monkeypatch.setattr(lease, "SILENCE", 1.5)
    monkeypatch.setattr(lease, "LOOK", 0.5)
    monkeypatch.setattr(lease, "PAUSE", 0.05)
    monkeypatch.setattr(controller, "SILENCE", 1.5)
    monkeypatch.setattr(lease, "_watch", lease.Watch())


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A task, a server, its user and a controller: all of them on another machine."""
    run = RunPaths(tmp_path / "2026-01-01-00-00-00-01234567")
    model = run.server("model")
    for held in (run.task("arc").lease, model.lease):
        held.mkdir(parents=True)
        (held / "owner").write_text(ELSEWHERE)
    model.users.mkdir()
    run.task("arc").spec.write_text("digest: abc\n")
    run.config.write_text(json.dumps(CONFIG))
    left = run.task("arc").dir / "work" / "0123"  # of a spec that it had before
    left.mkdir(parents=True)
    (left / "answers").write_text("an answer\n")
    run.record.write_text(json.dumps({"tasks": ["arc"]}))
    run.controller.write_text(
        json.dumps({"host": "node7", "pid": 4711, "born": "1", "start": "s", "since": "then"})
    )
    for sign in signs(run):
        sign.touch()
    return run


def signs(run: RunPaths) -> list[Path]:
    model = run.server("model")
    beats = [run.task("arc").lease / "beat", model.lease / "beat"]
    return [*beats, model.users / "arc", run.controller]


def stamp(run: RunPaths, shift: float) -> None:
    moment = time.time() + shift
    for sign in signs(run):
        with contextlib.suppress(FileNotFoundError):
            os.utime(sign, (moment, moment))


@contextlib.contextmanager
def living(run: RunPaths, shift: float) -> Iterator[None]:
    """Their hearts beat, and the file server writes down its own time."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            stamp(run, shift)

    stamp(run, shift)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def start_is_refused(run: RunPaths) -> bool:
    try:
        controller.Hold(run.controller).release()
    except InputError:
        return True
    return False


def second_supervisor_is_refused(run: RunPaths) -> bool:
    words = [str(run.server("model").dir), "--digest=1", "--model=m", "--health=/health"]
    given = supervise.Supervisor(supervise.parser().parse_args(words)).lease
    taken = given.take()
    if taken:
        given.release()
    return not taken


def server_is_waited_for(run: RunPaths) -> bool:
    """Whether a benchmark waits for the server, or is told that there is none."""
    words = ["wait", str(run.server("model").dir), "--timeout=0"]
    text: list[str] = []
    real, server.why_none = server.why_none, lambda folder: text.append("none") or ""  # type: ignore[func-returns-value]
    try:
        server.wait(server.parser().parse_args(words))
    finally:
        server.why_none = real
    return not text


def kill_says_it_is_left(run: RunPaths) -> bool:
    return any("arc" in line for line in kill.kill_run(run, "arc").left)


def clean_of_a_driven_run_is_refused(run: RunPaths) -> bool:
    try:
        clean.remove(run, [], CATALOGUE)
    except InputError:
        return True
    return False


def clean_lets_it_be(run: RunPaths) -> bool:
    """Whether an old work folder of the task stays, where nobody drives the run any more."""
    run.controller.unlink()
    _, failures = clean.remove(run, [], CATALOGUE)
    assert not failures
    return (run.task("arc").dir / "work" / "0123" / "answers").exists()


READERS: dict[str, Callable[[RunPaths], object]] = {
    "lease": lambda run: lease.holder_of(run.task("arc").lease),
    "status of a task": lambda run: task_state(run.task("arc")).state == "running",
    "status of a run": lambda run: run_states(run)[0].state == "running",
    "a server's users": lambda run: servers.users_of(run.server("model")),
    "supervisor": lambda run: servers.supervisor_of(run.server("model")),
    "second supervisor": second_supervisor_is_refused,
    "a benchmark that waits": server_is_waited_for,
    "controller": lambda run: controller.alive(run.controller),
    "second start": start_is_refused,
    "kill": kill_says_it_is_left,
    "clean of a driven run": clean_of_a_driven_run_is_refused,
    "clean": clean_lets_it_be,
}


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("reader", READERS)
def test_who_lives_is_alive_whatever_the_file_servers_clock_says(
    run: RunPaths, reader: str, shift: float
) -> None:
    with living(run, shift):
        assert READERS[reader](run)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("reader", READERS)
def test_who_died_is_dead_whatever_the_file_servers_clock_says(
    run: RunPaths, reader: str, shift: float
) -> None:
    stamp(run, shift)
    assert not READERS[reader](run)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_servers_users_are_those_whose_signs_change(run: RunPaths, shift: float) -> None:
    users = supervise.Users(run.server("model").users)
    stamp(run, shift)
    assert users.now() == ["arc"]
    time.sleep(1.6)
    assert users.now() == []
    stamp(run, shift)
    assert users.now() == ["arc"]


def test_two_hundred_owners_elsewhere_are_looked_at_at_once(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a run whose tasks were all lost with their machines
    names = [f"t{number}" for number in range(200)]
    for name in names:
        task = run.task(name)
        task.lease.mkdir(parents=True)
        task.spec.write_text("digest: abc\n")
        (task.lease / "owner").write_text(ELSEWHERE)
        (task.lease / "beat").touch()
        os.utime(task.lease / "beat", (1_000_000_000, 1_000_000_000))
    run.record.write_text(json.dumps({"tasks": names}))
    with promised(5 * lease.LOOK):
        assert {each.state for each in run_states(run)} == {"pending"}
    # when they live, nobody waits: their file server says so
    monkeypatch.setattr(lease, "_watch", lease.Watch())
    monkeypatch.setattr(lease, "LOOK", 600.0)
    for name in names:
        (run.task(name).lease / "beat").touch()
    run.controller.touch()
    (run.server("model").lease / "beat").touch()
    assert {each.state for each in run_states(run)} == {"running"}


def test_a_first_look_leaves_nothing_behind(run: RunPaths) -> None:
    before = sorted(run.dir.rglob("*"))
    run_states(run)
    assert sorted(run.dir.rglob("*")) == before
