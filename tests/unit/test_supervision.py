"""What a server's supervisor, and those who ask about it, make of what they find."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from snakeval.config.model import Config
from snakeval.errors import InputError
from snakeval.executors.local import server as local
from snakeval.job import cancelled, need, server, slurm_job, supervise
from snakeval.job.endpoint import answers, served_models
from snakeval.job.lease import boot_id, born, holder_of, host_id
from snakeval.job.supervise import Supervisor
from snakeval.plan.server import MODEL, servers_of
from snakeval.render.lib import write_library
from snakeval.render.server import render
from snakeval.run_folder import servers
from snakeval.run_folder.layout import RunPaths, ServerPaths

LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def paths(tmp_path: Path) -> ServerPaths:
    """The folder of a server that nobody supervises."""
    paths = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abcd").server(MODEL)
    for folder in (paths.users, paths.logs):
        folder.mkdir(parents=True)
    return paths


def record(paths: ServerPaths, state: str, cause: str | None = None, **life: Any) -> None:
    content = {"state": state, "cause": cause, "lives": [{"host": "h", "job": None, **life}]}
    paths.status.write_text(json.dumps(content))


def held(paths: ServerPaths, pid: int, silent: bool = False, began: str = "") -> None:
    """Somebody supervises it. `began`: as the lease has it; an older one has nothing."""
    paths.lease.mkdir()
    born = f"born={began}\nboot={boot_id()}\n" if began else ""
    (paths.lease / "owner").write_text(f"host={host_id()}\npid={pid}\n{born}digest=1\nstart=\n")
    (paths.lease / "beat").touch()
    if silent:
        os.utime(paths.lease / "beat", LONG_AGO)


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives as long as this one wants, with these words in its command line."""
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()", *words]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as started:
        yield started


def supervisor(paths: ServerPaths) -> Supervisor:
    words = [str(paths.dir), "--digest=1", "--model=m", "--health=/health"]
    return Supervisor(supervise.parser().parse_args(words))


# --- who uses the server -------------------------------------------------------------------------


def test_a_benchmark_that_comes_and_goes_between_two_looks_was_there(paths: ServerPaths) -> None:
    os.utime(paths.users, LONG_AGO)  # two changes within one tick of the file system look alike
    users = need.Users(paths.users)
    assert not users.passed_by()
    sign = paths.users / "short"
    sign.touch()
    sign.unlink()
    assert not users.now() and users.passed_by()
    assert not users.passed_by()


# --- one supervisor at a time -------------------------------------------------------------------


def test_a_pid_that_is_another_programs_by_now_holds_nothing(paths: ServerPaths) -> None:
    with process("something else") as other:
        held(paths, other.pid, began="1")
        assert holder_of(paths.lease) is None
        assert supervisor(paths).lease.take()


def test_a_supervisor_that_is_busy_for_long_is_not_taken_over(paths: ServerPaths) -> None:
    with process() as busy:
        held(paths, busy.pid, silent=True, began=born(busy.pid))
        assert holder_of(paths.lease)
        assert not supervisor(paths).lease.take()


def test_who_takes_over_a_killed_ones_server_leaves_no_address_of_it(paths: ServerPaths) -> None:
    paths.endpoint.write_text('{"url": "http://127.0.0.1:1"}')
    paths.stop.write_text("now")
    assert supervisor(paths).lease.take()
    assert not paths.endpoint.exists() and not paths.stop.exists()


# --- who needs it -------------------------------------------------------------------------------


def driven(paths: ServerPaths, of: str = "", start: str = "s1") -> Path:
    """A Snakemake that lives, by the heartbeat of the run that it drives."""
    run = RunPaths(paths.dir.parents[2] / of) if of else RunPaths(paths.dir.parents[1])
    run.dir.mkdir(exist_ok=True)
    run.controller.write_text(json.dumps({"start": start}))
    return run.controller


@pytest.mark.parametrize("elsewhere", ["", "2026-01-01-00-00-01-0123abce"])
def test_while_snakemake_has_benchmarks_to_run_their_server_waits(
    paths: ServerPaths, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two benchmarks in a queue, of whatever run the Snakemake drives
    monkeypatch.setattr(need, "LOOK_ROUND", 0)
    paths.tasks.write_text('{"start": "s1", "tasks": {"a": "d", "b": "d"}}')
    coming = need.Coming(paths.dir)
    assert coming.queued() == 0  # nobody drives a run
    controller = driven(paths, elsewhere)
    assert coming.queued() == 2
    # when one of them needs it no more
    task = RunPaths(paths.dir.parents[1]).task("a")
    task.dir.mkdir()
    cancelled.mark(task.dir, "s1")
    assert coming.queued() == 1
    # when the Snakemake is silent
    monkeypatch.setattr(need, "SILENCE", 0)
    assert coming.queued() == 0
    monkeypatch.undo()
    # when another start drives
    monkeypatch.setattr(need, "LOOK_ROUND", 0)
    controller.write_text('{"start": "s2"}')
    assert need.Coming(paths.dir).queued() == 0


def test_without_snakemake_jobs_in_slurms_queue_keep_their_server(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a server that is a job, and benchmarks whose jobs wait
    monkeypatch.setattr(need, "LOOK_ROUND", 0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    paths.tasks.write_text('{"start": "s1", "tasks": {"a": "d", "b": "e"}}')
    said: list[int | None] = [2, 1, None, 0, None]
    asked: list[set[str]] = []

    def waiting(names: set[str]) -> int | None:
        asked.append(names)
        return said.pop(0)

    monkeypatch.setattr(slurm_job, "waiting", waiting)
    coming = need.Coming(paths.dir)
    # then they count, by their jobs' names; and where Slurm does not answer, nobody is gone
    assert [coming.queued() for _ in range(5)] == [2, 1, 1, 0, 2]
    assert asked[0] == {"a.d", "b.e"}


def test_while_benchmarks_are_queued_no_idle_time_counts(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "TICK", 0.01)
    given = supervisor(paths)
    given.options.idle_timeout = 0.05
    assert given.lease.take()
    looks = iter([6] * 20)
    monkeypatch.setattr(given.coming, "queued", lambda: next(looks, 0))
    seen = []
    monkeypatch.setattr(given, "record", lambda state: seen.append(given.life["queued"]))
    with pytest.raises(supervise.Ended, match=r"idle for 0\.05 s"):
        given.watch()
    assert next(looks, None) is None
    assert seen[0] == 6


def test_status_says_what_an_idle_server_waits_for(paths: ServerPaths) -> None:
    held(paths, os.getpid(), began=born(os.getpid()))
    run = RunPaths(paths.dir.parents[1])
    for life, words in {
        (0, 6): "idle, waiting for 6 queued benchmarks",
        (0, 1): "idle, waiting for 1 queued benchmark",
        (2, 4): "up",
        (0, 0): "up",
    }.items():
        record(paths, "up", users=life[0], queued=life[1])
        (line,) = servers.told(run, lambda _: "")
        assert line.startswith(f"server model: {words};")


def test_a_benchmark_that_was_cancelled_before_it_ran_needs_no_server(paths: ServerPaths) -> None:
    task = RunPaths(paths.dir.parents[1]).task("t")
    task.dir.mkdir()
    assert not need.is_done(task.dir, "d", "s1")
    cancelled.mark(task.dir, "s1")
    assert need.is_done(task.dir, "d", "s1")
    assert not need.is_done(task.dir, "d", "s2")


# --- what is said -------------------------------------------------------------------------------


def test_a_killed_supervisor_is_told_in_the_benchmarks_cause(
    paths: ServerPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    # given an attempt that has seen the server up, and a supervisor that was killed since
    record(paths, "up", host="gpu07", job="812")
    paths.endpoint.write_text('{"url": "http://127.0.0.1:1", "health": "/health"}')
    seen = paths.dir / "seen"
    seen.write_text(paths.endpoint.read_text())
    for words in (["trouble", str(paths.dir), "--seen", str(seen)], ["wait", str(paths.dir)]):
        given = server.parser().parse_args(words)
        given.run(given)
    failed, next_one = capsys.readouterr().out.strip().split("\n")
    assert "ended during this attempt: its supervisor (job 812) was killed" in failed
    assert "server 'model' is not running (its supervisor (job 812) was killed" in next_one
    assert "run snakemake again" in next_one
    # while it lives nothing is said
    held(paths, os.getpid())
    assert server.trouble(paths.dir, seen.read_text()) == ""
    assert not capsys.readouterr().out


def test_a_server_whose_supervisor_says_so_a_moment_later_is_gone(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster ends both at once, and a harness that asks at that moment ends before both."""
    seen = paths.dir / "seen"
    for file in (paths.endpoint, seen):
        file.write_text('{"url": "http://127.0.0.1:1", "health": "/health"}')
    asks = server.parser().parse_args(["gone", str(paths.dir), "--seen", str(seen)])
    said_late = threading.Timer(0.5, paths.endpoint.unlink)
    said_late.start()
    assert server.gone(asks) == 0
    # one that answers is not, and nobody waits; nor is one of which nothing more is heard
    paths.endpoint.write_text(seen.read_text())
    monkeypatch.setattr(server, "LAST_WORD", 0.0)
    assert server.gone(asks) == 1
    monkeypatch.setattr(server, "LAST_WORD", 600.0)
    monkeypatch.setattr(server, "answers", lambda *_: True)
    assert server.gone(asks) == 1


def test_the_address_of_a_killed_one_is_not_asked_whoever_answers_there(
    paths: ServerPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "answers", lambda *_: True)
    waits = server.parser().parse_args(["wait", str(paths.dir)])
    paths.endpoint.write_text(json.dumps({"url": "http://here:1", "host": platform.node()}))
    assert server.wait(waits) == 1
    assert "server 'model' is not running" in capsys.readouterr().out
    held(paths, os.getpid())
    assert server.wait(waits) == 0
    assert capsys.readouterr().out == "http://here:1\n"


def test_why_there_is_no_server_any_more_is_told(paths: ServerPaths) -> None:
    assert "server 'model' is not running: run snakemake" in server.why_none(paths.dir)
    record(paths, "stopped", "idle for 600 s")
    assert "server 'model' is not running (idle for 600 s): run" in server.why_none(paths.dir)


def test_what_speaks_no_http_is_not_healthy_and_lists_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                connection.recv(1000)
                connection.sendall(b"\x00\x01 who are you?\r\n\r\n")
                connection.close()

        speaking = threading.Thread(target=speak)
        speaking.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert not answers(f"{url}/health")
        with pytest.raises(ValueError, match="no HTTP"):
            served_models(f"{url}/v1", None)
        speaking.join()


def test_the_hubs_token_and_a_proxys_password_are_kept_out_of_the_servers_log(
    paths: ServerPaths,
) -> None:
    secrets = {"HF_TOKEN": "hf_secret", "https_proxy": "http://u:secret@p:1"}
    said = logged(paths, 'echo "hub: $HF_TOKEN, proxy: $https_proxy"', secrets)
    assert said == "hub: ***, proxy: ***\n"


@pytest.mark.parametrize(
    ("gpus", "variables", "seen"),
    [
        ("0,1", {}, "0,1"),
        (2, {}, "as it was"),
        (1, {"SNAKEVAL_DEVICES": "3"}, "3"),  # a sweep's share
        ("4,5", {"SLURM_JOB_GPUS": "0,1"}, "as it was"),  # the job's own
    ],
)
def test_a_process_sees_the_gpus_that_the_config_or_the_cluster_names(
    paths: ServerPaths, gpus: int | str, variables: dict[str, str], seen: str
) -> None:
    variables |= {"CUDA_VISIBLE_DEVICES": "as it was"}
    assert logged(paths, "echo $CUDA_VISIBLE_DEVICES", variables, gpus=gpus) == f"{seen}\n"


def logged(paths: ServerPaths, command: str, variables: dict[str, str], **deployment: Any) -> str:
    """What is in the log of a server, a process."""
    run = RunPaths(paths.dir.parents[1])
    write_library(run.lib)
    given = {"type": "process", "command": command, "served_model_name": "m", **deployment}
    config = Config.model_validate({"deployment": given, "evaluation": {"tasks": ["t"]}})
    paths.script.write_text(render(servers_of(config)[MODEL], "process", None))
    with subprocess.Popen(
        ["bash", str(paths.script), "serve"],
        stdin=subprocess.PIPE,  # its lifeline
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    ) as serving:
        assert serving.stdout
        return serving.stdout.read()


# --- bringing it up -----------------------------------------------------------------------------


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process keeps its own."""
    monkeypatch.setattr("signal.signal", lambda *_: None)


DIES = "#!/usr/bin/env bash\necho 'no space left' >&2\nexit 1\n"
SERVES = """#!/usr/bin/env bash
here=$(dirname "$0")
mkdir "$here/lease"
touch "$here/lease/beat"
printf 'host=elsewhere\\npid=1\\n' >"$here/lease/owner"
echo '{"url": "http://127.0.0.1:2"}' >"$here/endpoint.json"
"""


@pytest.mark.usefixtures("signals")
def test_a_supervisor_that_dies_at_once_is_not_told_with_an_earlier_ones_end(
    paths: ServerPaths,
) -> None:
    record(paths, "stopped", "no benchmark needs it any more")
    paths.script.write_text(DIES)
    with pytest.raises(InputError, match="did not come up: no space left"):
        local.Servers().bring_up(paths)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("state", "cause", "again"),
    [
        ("stopped", supervise.UNUSED, True),
        ("stopped", "idle for 600 s", True),
        ("up", None, True),
        ("stopped", "stopped on request", False),
        ("failed", "the server was not healthy after 600 s", False),
    ],
)
def test_one_that_is_found_ending_by_itself_is_started_again(
    paths: ServerPaths, state: str, cause: str | None, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a supervisor of an earlier start, which ends while it is waited for
    paths.script.write_text(SERVES)
    record(paths, state, cause)
    ending = iter([True])
    real = local.state.supervisor_of

    def found(asked: ServerPaths) -> Any:
        if next(ending, False):
            digest = local.state.script_digest(paths)
            return local.state.Owner("h", digest=digest)
        return real(asked)

    monkeypatch.setattr(local.state, "supervisor_of", found)
    if again:
        local.Servers().bring_up(paths)
        assert paths.endpoint.exists()
    else:
        with pytest.raises(InputError, match=str(cause)):
            local.Servers().bring_up(paths)
