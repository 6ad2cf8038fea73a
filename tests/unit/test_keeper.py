"""The keeper, which is resident while a task runs: its parts, and what it makes of `run.sh`."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from rig.keeper import a_job
from rig.killed import a_lease, dead_owner, kills
from rig.pipeline import as_in_a_terminal
from rig.promised import promised
from rig.waiting import PATIENCE, wait_until
from snakeval.config.load import load
from snakeval.job import attempt, cancelled, lease, record, verify
from snakeval.job.keeper import bridge, killed
from snakeval.job.keeper import hold as holding
from snakeval.job.keeper.beside import Gateway
from snakeval.job.keeper.hold import Hold
from snakeval.job.keeper.job import Failed, Job
from snakeval.job.keeper.log_filter import LogFilter
from snakeval.job.keeper.main import Keeper
from snakeval.job.keeper.prepared import keep_answers, write_files
from snakeval.job.keeper.servers import Servers
from snakeval.job.keeper.settings import texts_in
from snakeval.job.keeper.stop import BROKEN, FULL, LOST, SPENT, Stop, Stopped
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.render.bash import here_document
from snakeval.render.lib import write_library
from snakeval.render.task import render
from snakeval.start.begin import spec_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
PASSES = """printf '{"scores": {"a": 1}}' >{results}/results.json"""


def a_task(folder: Path, command: str = PASSES, **more: object) -> Task:
    """A task in a run folder with everything that a start writes."""
    own = {"kind": "command", "command": command, "tasks": {"quiz": {"endpoint_type": "chat"}}}
    endpoint = {"url": "http://nobody.invalid/v1/chat/completions", "model_id": "m"}
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "harnesses": {"own": own},
        "evaluation": {"tasks": ["own.quiz"]},
        "target": {"api_endpoint": endpoint},
        **more,
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    (task,) = make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks
    task.paths.dir.mkdir(parents=True)
    write_library(task.paths.dir.parent / "lib")
    task.paths.spec.write_text(spec_text(task))
    task.paths.script.write_text(render(task, "process", None), encoding="utf-8")
    return task


def words(task: Task, *more: str) -> list[str]:
    return ["bash", str(task.paths.script), *more]


def run_sh(task: Task, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(task, *more),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@contextlib.contextmanager
def started(task: Task, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`bash run.sh`, until its harness has begun."""
    with subprocess.Popen(
        words(task),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    ) as process:
        try:
            wait_until(lambda: (task.paths.work(task.digest) / "begun").exists())
            yield process
        finally:
            process.kill()


def states(task: Task) -> list[str]:
    attempts = json.loads(task.paths.status.read_text())["attempts"]
    return [attempt["state"] for attempt in attempts]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A task that this very process keeps; its signals are put back."""
    task = a_task(tmp_path)
    monkeypatch.setattr("os.environ", os.environ.copy())
    before = {number: signal.getsignal(number) for number in (*signals(), signal.SIGCHLD)}
    yield a_job(task.paths.dir, render(task, "process", None))
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def signals() -> tuple[signal.Signals, ...]:
    return signal.SIGTERM, signal.SIGINT, signal.SIGHUP


# --- run.sh ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a\nEND\nb", "END", "END_\nEND\n", "", "\r\n'$(x)'\t\u2028", "x\n"]
)
def test_a_text_in_run_sh_is_read_as_it_was_written(text: str) -> None:
    script = "\n".join(["first", *here_document(": a.txt", text), *here_document(": b", "x"), "y"])
    assert texts_in(script) == {"a.txt": text.rstrip("\n") + "\n", "b": "x\n"}


def test_the_harness_alone_is_run_and_nothing_else(tmp_path: Path) -> None:
    task = a_task(tmp_path, f"echo asked by {{model_id}}; {PASSES}")
    ended = run_sh(task, "harness")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "asked by m\n"
    assert (task.paths.dir / "by-hand" / "results" / "results.json").exists()
    left = {path.name for path in task.paths.dir.iterdir()}
    assert left == {"run.sh", "task.yaml", "by-hand"}


@pytest.mark.parametrize("gateway", [False, True])
def test_one_process_stays_while_the_harness_runs_and_it_is_run_sh(
    tmp_path: Path, gateway: bool
) -> None:
    task = a_task(tmp_path, "touch {results}/begun; sleep 300", gateway=gateway)
    with started(task) as script:

        def programs() -> list[str]:
            children = psutil.Process(script.pid).children(recursive=True)
            return sorted(child.name() for child in children)

        # the harness, and the watchdog that outlives us
        wait_until(lambda: programs() == ["sh", "sh", "sleep"], told=programs)
        assert lease.holder_of(task.paths.lease).pid == script.pid  # type: ignore[union-attr]
        script.terminate()
        assert script.wait(PATIENCE) == 143
    assert states(task) == ["cancelled"] and not task.paths.lease.exists()


def lives(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_no_background_child_of_a_harness_outlives_it_whatever_session_it_has(
    tmp_path: Path,
) -> None:
    stays = "setsid sh -c 'sleep 300 & sleep 300' & echo $! >{results}/child; sleep 0.2; "
    task = a_task(tmp_path, stays + PASSES)
    assert run_sh(task).returncode == 0
    child = int((task.paths.work(task.digest) / "child").read_text())
    wait_until(lambda: not lives(child))
    assert not [
        each for each in psutil.process_iter(["cmdline", "environ"])
        if f"SNAKEVAL_RESULTS={task.paths.work(task.digest)}" in str(each.info["environ"])
    ]  # fmt: skip


def test_a_second_start_adopts_and_the_harness_is_not_run_again(tmp_path: Path) -> None:
    task = a_task(tmp_path, f"echo once >>{{results}}/../../asked; {PASSES}")
    assert [run_sh(task).returncode, run_sh(task).returncode] == [0, 0]
    assert (task.paths.dir / "asked").read_text() == "once\n"
    assert states(task) == ["published"]


def test_a_script_for_another_spec_says_so_and_does_nothing(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    ended = run_sh(task, "0123456789ab")
    assert ended.returncode == 1 and "run snakemake again" in ended.stdout
    assert not task.paths.status.exists()


def test_a_caller_whose_output_is_closed_is_no_trouble(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    closed = ["bash", "-c", 'exec bash "$0" <&- >&- 2>&-', str(task.paths.script)]
    assert subprocess.run(closed, timeout=PATIENCE, check=False).returncode == 0
    assert states(task) == ["published"]


def test_python_that_is_too_old_is_told(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    old = tmp_path / "old"
    old.mkdir()
    (old / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 8, 1)\n")
    ended = run_sh(task, PYTHONPATH=str(old))
    assert ended.returncode == 1 and "Python 3.9 or newer is needed" in ended.stderr


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [("INT", 130), ("TERM", 143), ("HUP", 129)])
def test_each_signal_ends_the_harness_first_and_has_its_exit_code(
    tmp_path: Path, number: str, code: int
) -> None:
    writes = "trap 'touch {results}/told; exit' TERM; touch {results}/begun; "
    task = a_task(tmp_path, writes + "while :; do sleep 0.1; done")
    with started(task) as script:
        script.send_signal(signal.Signals[f"SIG{number}"])
        assert script.wait(PATIENCE) == code
    assert (task.paths.work(task.digest) / "told").exists()
    assert states(task) == ["cancelled"]


def test_what_the_caller_ignores_stays_ignored(tmp_path: Path) -> None:
    task = a_task(tmp_path, "touch {results}/begun; sleep 300")
    nohup = ["sh", "-c", 'trap "" HUP; exec bash "$0"', str(task.paths.script)]
    with subprocess.Popen(nohup, stdout=subprocess.DEVNULL) as script:
        wait_until(lambda: (task.paths.work(task.digest) / "begun").exists())
        script.send_signal(signal.SIGHUP)
        script.terminate()
        assert script.wait(PATIENCE) == 143


def test_killed_outright_it_leaves_no_harness(tmp_path: Path) -> None:
    task = a_task(tmp_path, "touch {results}/begun; sleep 300")
    with started(task) as script:
        group = task.paths.lease / "group"
        wait_until(lambda: group.exists() and group.read_text().endswith("\n"))
        harness = int(group.read_text().split()[0])
        script.kill()
        script.wait()
    wait_until(lambda: not lives(harness))


def test_only_the_first_reason_counts_and_who_waits_hears_it() -> None:
    stop = Stop()
    with pytest.raises(Stopped):
        stop.during(lambda: [stop.ask("TERM"), stop.ask(FULL), time.sleep(0.5)])
    assert stop.by == "TERM"
    with pytest.raises(Stopped):
        stop.sleep(PATIENCE)


def test_what_runs_beside_returns_or_raises() -> None:
    stop = Stop()
    assert stop.during(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        stop.during(lambda: 1 // 0)


# --- the lease, and what its heartbeat watches ----------------------------------------------------


def a_hold(job: Job) -> Hold:
    return Hold(job, Servers(job))


def nobody() -> bool:
    return False


def test_a_dead_owners_lease_is_taken_over_after_its_harness_was_swept(job: Job) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    job.paths.lease.mkdir()
    text = lease.this_process().replace(f"pid={os.getpid()}", f"pid={gone.pid}")
    (job.paths.lease / "owner").write_text(text)
    swept: list[str] = []
    held = a_hold(job)
    assert held.take(lambda: swept.append((job.paths.lease / "owner").read_text()), nobody)
    assert swept == [text] and held.is_mine()
    held.release()
    assert not job.paths.lease.exists()


def test_the_next_start_of_a_task_does_not_wait_for_one_that_was_killed_giving_it_back(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = dead_owner()
    monkeypatch.setattr(job.stop, "sleep", lambda seconds: pytest.fail("it waits"))
    for step in itertools.count():
        a_lease(job.paths.lease, dead)
        was_killed = kills(lambda: lease.remove(job.paths.lease, dead), monkeypatch, step)
        held = a_hold(job)
        assert held.take(lambda: None, nobody)
        held.release()
        assert not job.paths.lease.exists()
        if not was_killed:
            return


def test_who_was_killed_taking_a_dead_ones_lease_over_is_not_waited_for(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = dead_owner()
    a_lease(job.paths.lease, dead)
    a_lease(job.paths.lease.with_name("lease.taking"), dead)
    monkeypatch.setattr(job.stop, "sleep", lambda seconds: pytest.fail("it waits"))
    held = a_hold(job)
    assert held.take(lambda: None, nobody)
    held.release()


def test_an_owner_elsewhere_that_falls_silent_is_dead(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENCE", 0.5)
    job.paths.lease.mkdir()
    (job.paths.lease / "owner").write_text("host=node7 pid:[1]\npid=4711\n")
    held = a_hold(job)
    assert held.take(lambda: None, nobody)
    held.release()


def test_who_waits_for_a_living_owner_hears_a_signal_and_takes_nothing(job: Job) -> None:
    job.paths.lease.mkdir()
    (job.paths.lease / "owner").write_text(lease.this_process())
    job.stop.ask("TERM")
    with pytest.raises(Stopped):
        a_hold(job).take(lambda: None, nobody)
    assert (job.paths.lease / "owner").exists()


def test_what_somebody_else_has_finished_meanwhile_is_not_begun(job: Job) -> None:
    job.paths.lease.mkdir()
    assert not a_hold(job).take(lambda: None, lambda: True)


@pytest.mark.parametrize("reason", [FULL, SPENT, LOST])
def test_the_heartbeat_stops_an_attempt(
    job: Job, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    held = a_hold(job)
    if reason == FULL:
        monkeypatch.setattr(holding, "has_room", lambda job: False)
    elif reason == SPENT:
        held.until = time.monotonic()
    assert held.take(lambda: None, nobody)
    if reason == LOST:
        (job.paths.lease / "owner").write_text("host=node7\npid=4711\n")
    wait_until(lambda: job.stop.by == reason)
    held.release()


# --- the order of things at the end ---------------------------------------------------------------


def test_a_signal_that_comes_after_the_check_does_not_keep_it_from_being_published(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = verify.settle

    def told_meanwhile(*given: object) -> str | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return settle(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "settle", told_meanwhile)
    monkeypatch.setattr("snakeval.job.attempt.refused", lambda *asked: "")
    assert Keeper(job, []).run() == 0
    assert job.paths.published(job.settings.digest).exists()


def test_who_has_lost_the_lease_publishes_nothing_and_records_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakeval.job.attempt.refused", lambda *asked: "")
    settle = verify.settle
    other = "host=node7\npid=4711\n"

    def lost_meanwhile(*given: object) -> str | None:
        (job.paths.lease / "owner").write_text(other)
        return settle(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "settle", lost_meanwhile)
    assert Keeper(job, []).run() == 1
    assert not job.paths.published(job.settings.digest).exists()
    assert (job.paths.lease / "owner").read_text() == other
    assert json.loads(job.paths.status.read_text())["state"] == "running"


def test_what_nobody_has_foreseen_ends_the_attempt_with_a_cause_and_gives_the_lease_back(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakeval.job.attempt.refused", lambda *asked: [][0])
    assert Keeper(job, []).run() == 1
    record = json.loads(job.paths.status.read_text())
    assert (record["state"], record["cause"].startswith("the keeper failed: IndexError")) == (
        "failed",
        True,
    )
    assert not job.paths.lease.exists()


def test_wherever_the_disk_is_full_the_cause_says_so(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*asked: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("snakeval.job.attempt.refused", full)
    assert Keeper(job, []).run() == 1
    assert json.loads(job.paths.status.read_text())["cause"].startswith("the disk is full;")


def test_what_is_not_tried_again_has_not_failed_once_more(
    job: Job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SNAKEVAL_START", "s1")
    cancelled.mark(job.here, "s1")

    assert Keeper(job, []).run() == 1

    said = capfd.readouterr().out
    assert "cancelled in this start; the next start continues it" in said
    assert "failed" not in said
    assert attempt.read(job.here)["attempts"] == []
    assert not job.paths.lease.exists()


@pytest.mark.parametrize(
    ("name", "is_marked", "cause"),
    [
        ("INT", False, "stopped by SIGINT (Ctrl-C)"),
        ("HUP", False, "stopped by SIGHUP (the terminal was closed)"),
        ("TERM", False, "stopped by SIGTERM"),
        ("TERM", True, "stopped by `kill`"),
    ],
)
def test_who_has_cancelled_is_told(
    job: Job, monkeypatch: pytest.MonkeyPatch, name: str, is_marked: bool, cause: str
) -> None:
    monkeypatch.setenv("SNAKEVAL_START", "s1")
    job.number = attempt.begin(job.here, job.settings.digest)
    if is_marked:
        cancelled.mark(job.here, "s1")
    keeper = Keeper(job, [])
    assert keeper._hold.take(lambda: None, lambda: False)
    job.stop.ask(name)

    keeper._end(keeper._why_stopped())

    (last,) = attempt.read(job.here)["attempts"]
    assert (last["state"], last["cause"]) == ("cancelled", cause)


def test_lines_name_the_label_and_the_model_and_a_path_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(a_task(tmp_path), label="b4.1", of_model="qwen-7b")
    task.paths.script.write_text(render(task, "process", None), encoding="utf-8")
    monkeypatch.setenv("SNAKEVAL_START", "s1")
    ended = run_sh(task)

    assert "b4.1 of qwen-7b: attempt 1 started (process)\n" in ended.stdout
    log = next(line for line in ended.stdout.splitlines() if line.startswith("tail -f "))
    assert log.endswith("/logs/evaluate.1.log")
    assert "b4.1 of qwen-7b: published\n" in ended.stdout


def test_a_lease_that_cannot_be_made_says_why(job: Job) -> None:
    job.paths.lease.write_text("a file is in the way")
    with pytest.raises(Failed, match="the lease cannot be made"):
        a_hold(job).take(lambda: None, nobody)


# --- the gateway, a thread beside ----------------------------------------------------------------


@pytest.fixture
def gateway(job: Job) -> Iterator[Gateway]:
    """Before an endpoint that nobody has; this process's limits are put back."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = Gateway(job)
    found.begin({"model": job.settings.endpoint_url}, lambda: ["127.0.0.1"])
    yield found
    found.end()
    resource.setrlimit(resource.RLIMIT_NOFILE, files)


def is_heard(gateway: Gateway) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", gateway.ports["model"]), 60).close()
        return True
    return False


def test_it_listens_until_it_is_ended(gateway: Gateway) -> None:
    assert is_heard(gateway)
    gateway.end()
    assert not is_heard(gateway) and not gateway.trouble


def test_a_gateway_that_breaks_ends_the_attempt_with_that_cause(
    job: Job, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakeval.job.gateway.tally.Tallies.write", lambda *given: [][0])
    wait_until(lambda: job.stop.by == BROKEN)
    assert gateway.trouble == "IndexError: list index out of range"
    gateway.end()
    assert not is_heard(gateway), "nobody is to wait for its answers"


def test_an_attempt_whose_gateway_breaks_is_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = a_task(tmp_path, "touch {results}/begun; sleep 300", gateway=True)
    broken = task.paths.dir.parent / "lib" / "job" / "gateway" / "tally.py"
    text = broken.read_text()
    where = '"""Where something has changed. A disk that is full is told elsewhere."""\n'
    marked = task.paths.work(task.digest) / "begun"
    bad = f"        if Path({str(marked)!r}).exists(): raise IndexError('broken')\n"
    assert where in text
    broken.write_text(text.replace(where, where + bad))
    ended = run_sh(task)
    assert ended.returncode == 1
    assert "failed: the gateway has ended (IndexError: broken)" in ended.stdout


def test_where_it_cannot_run_the_task_goes_without_and_says_so(
    job: Job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "snakeval.job.gateway.service", raising=False)
    monkeypatch.delattr("snakeval.job.gateway.service", raising=False)
    gateway = Gateway(job)
    gateway.begin({"model": job.settings.endpoint_url}, lambda: ["127.0.0.1"])
    (line,) = capfd.readouterr().out.splitlines()
    assert f"no gateway: this Python ({sys.executable}) has no aiohttp: " in line
    assert gateway.address_for("model", "http://h/v1") == "http://h/v1"


def test_the_harness_keeps_the_limit_of_open_files(tmp_path: Path) -> None:
    task = a_task(tmp_path, f"ulimit -n >{{results}}/limit; {PASSES}", gateway=True)
    limit = "ulimit -Sn 512; "
    subprocess.run(["bash", "-c", f'{limit} bash "$1"', "sh", task.paths.script], check=True)
    assert (task.paths.work(task.digest) / "limit").read_text() == "512\n"


def test_no_secret_reaches_the_log(tmp_path: Path) -> None:
    output = LogFilter(tmp_path / "log", ["sk-secret-1", ""])
    os.write(output.writes, b"the key is sk-secret-1\nand so on")
    output.close()
    output.end(PATIENCE)
    assert (tmp_path / "log").read_text() == "the key is ***\nand so on"


@pytest.mark.parametrize(
    ("events", "who"),
    [
        ("echo 'die 137'; echo 'destroy '; sleep 0.3; echo 'oom '", killed.AT_ITS_LIMIT),
        ("echo 'kill '; echo 'die 137'; echo 'destroy '; exec sleep 600", killed.BY_SOMEBODY),
        ("echo 'die 1'; echo 'destroy '; exec sleep 600", killed.NOT_SAID),
    ],
)
def test_what_docker_says_late_is_waited_for_where_a_container_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: str, who: str
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{events}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with promised(killed.PATIENCE - 1):
        assert killed.seen_by_docker("some-container", 0.0) == who


def looks(folder: Path, bash: str, port: int) -> subprocess.CompletedProcess[str]:
    """What a container with this bash says of a port, and how it ends."""
    (folder / "bash").write_text(f"#!/bin/sh\n{bash}\n")
    (folder / "bash").chmod(0o755)
    text = bridge.look_at("127.0.0.1", port, seconds=1)
    variables = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "began": "mine"}
    return subprocess.run(
        ["/bin/sh", "-c", f"{text}echo begins with $began"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_a_container_on_a_busy_machine_is_not_taken_for_one_behind_a_firewall(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        slow = looks(tmp_path, 'sleep 2; exec /bin/bash "$@"', port)
        assert (slow.returncode, slow.stdout) == (0, "begins with mine\n")
        # who gets no answer, and is not slow at it, is behind one
        dropped = f'case "$2" in *{port}*) exec sleep 600; esac; exec /bin/bash "$@"'
        assert looks(tmp_path, dropped, port).returncode == bridge.UNREACHED
    # and who is refused, too
    assert looks(tmp_path, 'exec /bin/bash "$@"', port).returncode == bridge.UNREACHED


@pytest.mark.parametrize(
    "said",
    [
        [{"IPAM": {"Config": [{"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.3"}]}}],  # Docker
        [{"IPAM": {"Config": [{"Subnet": "127.0.0.2/31"}]}}],  # Docker, which has chosen it itself
        [{"subnets": [{"gateway": "fd00::1"}, {"gateway": "127.0.0.3"}]}],  # netavark
        [{"plugins": [{"ipam": {"ranges": [[{"gateway": "127.0.0.3"}]]}}]}],  # CNI
        # Docker 20.10, until it is started for the second time
        [{"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "127.0.0.2/31"}]}}],
    ],
)
def test_the_address_of_an_engines_bridge_is_read_as_each_engine_writes_it(
    monkeypatch: pytest.MonkeyPatch, said: object
) -> None:
    monkeypatch.setattr(bridge, "said_by", lambda *words: json.dumps(said))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert bridge.address_of("docker") == bridge.address_of("podman") == "127.0.0.3"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no such network",
        "[]",
        '[{"Gateway": "203.0.113.77"}]',
        '[{"Subnet": "203.0.113.0/24"}]',
        '[{"Subnet": "here"}]',
    ],
)
def test_an_engine_whose_bridge_is_not_on_this_machine_has_none(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(bridge, "said_by", lambda *words: said)
    assert bridge.address_of("docker") == ""


def test_a_rootless_podman_has_no_bridge_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "said_by", lambda *words: '[{"gateway": "127.0.0.3"}]')
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert bridge.address_of("podman") == ""


# --- without a gateway, after all ----------------------------------------------------------------


@pytest.mark.parametrize("earlier_behind", [True, False])
@pytest.mark.parametrize("is_behind", [True, False])
def test_an_image_keeps_its_answers_itself_where_the_gateway_does_not_or_did_not(
    tmp_path: Path, is_behind: bool, earlier_behind: bool
) -> None:
    endpoint = {"url": "http://nobody.invalid/v1/chat/completions", "model_id": "m"}
    content = {
        "execution": {"output_dir": str(tmp_path / "out")},
        "evaluation": {"tasks": ["lm-evaluation-harness.ifeval"]},
        "target": {"api_endpoint": endpoint},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content))
    (task,) = make_run(load([tmp_path / "my.yaml"], {}), CATALOGUE).tasks
    task.paths.dir.mkdir(parents=True)
    job = a_job(task.paths.dir, render(task, "docker", "image"))
    job.record.mkdir(parents=True)
    job.number = 2
    attempts = [{"number": number, "digest": task.digest} for number in (1, 2)]
    task.paths.status.write_text(json.dumps({"attempts": attempts}))
    for number in (1, 2) if earlier_behind else (2,):
        record.note_gateway(job.record, number)
    write_files(job)
    keep_answers(job, is_behind)
    config = yaml.safe_load((job.record / "run_config.yaml").read_text())
    keeps = config["target"]["api_endpoint"]["adapter_config"].get("use_caching", True)
    assert keeps == (not (is_behind and earlier_behind))
