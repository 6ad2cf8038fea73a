"""Files of ours that are empty, cut off, binary, or something else: a sentence with the file and
the way out, nothing lost, and everything else goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from snakeval.config.load import load, load_resolved
from snakeval.errors import InputError
from snakeval.executors.profile import Profile
from snakeval.executors.registry import executor
from snakeval.job import attempt, lease
from snakeval.plan.make import make_run, read_run
from snakeval.plan.pending import forced, pending_tasks
from snakeval.plan.run import Run
from snakeval.results import tables
from snakeval.run_folder import controller
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import run_states
from snakeval.runs import kill
from snakeval.runs.status_table import print_runs, print_status
from snakeval.start import begin as starting
from snakeval.start.this_start import ThisStart

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"

CONTENTS = {
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "half": b'{"attempts": [{"num',
    "binary": b"\xff\xfe\x00\x01\x80",
    "deep": b"[" * 5_000,
    "another object": b'{"attempts": [1, null], "lives": [1], "tasks": 5, "images": []}',
}
OF_A_TASK = [
    "quiz/status.json",
    "quiz/task.yaml",
    "quiz/job.json",
    "quiz/lease/owner",
    "quiz/run.sh",
]
OF_THE_RUN = ["run.json", "config.yaml", "controller.json"]
OF_A_SERVER = [
    f"deployments/model/{name}"
    for name in (
        "status.json",
        "endpoint.json",
        "job.json",
        "tasks.json",
        "executor",
        "lease/owner",
    )
]
TOLD = [
    *(f"quiz/{name}" for name in ("status.json", "task.yaml", "job.json", "lease/owner")),
    *(f"deployments/model/{name}" for name in ("status.json", "endpoint.json")),
    "run.json",
    "controller.json",
]
FILES = [*OF_A_TASK, *OF_THE_RUN, *OF_A_SERVER]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SILENCE", 0.1)
    monkeypatch.setattr(controller, "SILENCE", 0.1)
    monkeypatch.setattr(lease, "LOOK", 0.1)
    monkeypatch.setattr(lease, "PAUSE", 0.05)
    monkeypatch.setattr(kill, "SCRIPT_GRACE", 0.5)
    monkeypatch.setattr(starting.checks, "against", lambda *_: [])


def plan(folder: Path) -> Run:
    own = {
        "kind": "command",
        "command": "x",
        "samples": "s.jsonl",
        "tasks": dict.fromkeys(("quiz", "riddle")),
    }
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "harnesses": {"own": own},
        "evaluation": {"tasks": ["own.quiz", "own.riddle"]},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE)


def start(run: Run) -> None:
    """A real start, up to its first job."""
    this = ThisStart(
        "s1",
        (run,),
        dict.fromkeys(run.tasks, "process"),
        executor("local"),
        Profile(),
        logging.getLogger("start"),
    )
    for hold in starting.begin(this):
        hold.release()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was started, with an attempt that has failed and a server that was up."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(starting.checks, "against", lambda *_: [])
        patched.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("template")
        run = plan(folder)
        start(run)
    for task in run.tasks:
        begun(task.paths.dir, task.digest)
        said("end", str(task.paths.dir), "--number=1", "--state=failed", "--cause=because")
    model = run.paths.server("model")
    (model.dir / "users").mkdir(parents=True)
    model.status.write_text('{"state": "stopped", "cause": "c", "lives": [{"loads": 1}]}')
    for holder in (run.tasks[0].paths.lease, model.lease):
        holder.mkdir(parents=True)
    return folder


def said(*words: str) -> int:
    """What `run.sh` asks of attempt.py."""
    given = attempt.parser().parse_args(words)
    code: int = given.run(given)
    return code


def begun(folder: Path, digest: str) -> None:
    assert said("begin", str(folder), f"--digest={digest}", "--runtime=process") == 0
    number = attempt.read(folder)["attempts"][-1]["number"]
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / f"evaluate.{number}.log").write_text(f"the log of {number}")


@pytest.fixture
def run(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(template, tmp_path / "copy")
    return plan(tmp_path / "copy")


def damaged(run: Run, template: Path, file: str, content: str) -> None:
    """The run as it was, but for one file."""
    shutil.rmtree(run.paths.dir)
    shutil.copytree(template / "out" / run.paths.id, run.paths.dir)
    (run.paths.dir / file).write_bytes(CONTENTS[content])
    os.utime(run.paths.dir / file, (1e9, 1e9))  # nobody's heart beats
    lease._watch._seen.clear()  # else another file of that name would be a change of this one


def shown(run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    print_status(run.paths)
    return capsys.readouterr().out


def status(run: Run) -> None:
    assert [state.name for state in run_states(run.paths)] == ["quiz", "riddle"]
    print_status(run.paths)
    print_runs([run.paths])


def start_again(run: Run) -> None:
    """Refused in a sentence, or everything is there again."""
    try:
        start(run)
    except InputError as error:
        assert "run.json" in str(error) and "start again" in str(error)
        return
    for task in run.tasks:
        assert task.paths.script.read_text().startswith("#!")
        begun(task.paths.dir, task.digest)
        assert attempt.read(task.paths.dir)["attempts"][-1]["number"] == 2


def write_tables(run: Run) -> None:
    rows = tables.write_tables(run, "0")
    assert [row["task"] for row in rows] == ["quiz", "riddle"]
    assert rows[1]["cause"] == "because"


def read_by_a_job(run: Run) -> None:
    """As a job on a cluster reads the run: of the written config, in a sentence where it cannot."""
    try:
        read_run(run.paths.dir, load_resolved(run.paths.config), CATALOGUE)
    except InputError as error:
        assert "config.yaml" in str(error)


READERS: dict[str, Callable[[Run], object]] = {
    "status": status,
    "kill": lambda run: kill.kill_run(run.paths),
    "start": start_again,
    "tables": write_tables,
    "job": read_by_a_job,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_cannot_be_read_stops_nobody(
    run: Run, template: Path, file: str, reader: str
) -> None:
    for content in CONTENTS:
        damaged(run, template, file, content)
        logs = {log: log.read_text() for log in run.paths.dir.glob("*/logs/evaluate.?.log")}
        READERS[reader](run)
        assert {log: log.read_text() for log in logs} == logs


BROKEN = [name for name in CONTENTS if name != "another object"]


@pytest.mark.parametrize("file", TOLD)
def test_status_names_the_file_and_the_way_out(
    run: Run, template: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in BROKEN:
        damaged(run, template, file, content)
        told = shown(run, capsys)
        (line,) = [line for line in told.splitlines() if str(run.paths.dir / file) in line]
        assert "remove" in line or "next" in line or "start again" in line
        assert "riddle: because" in told


def test_what_stood_in_a_record_is_kept(run: Run, template: Path) -> None:
    quiz, riddle = (task.paths for task in run.tasks)
    for content in BROKEN:
        # given records that lost their end, or all of it
        damaged(run, template, "run.json", content)
        quiz.status.write_bytes(CONTENTS[content])
        # when the next start comes, and the next attempt
        with pytest.raises(InputError, match=r"run\.json"):
            start(run)
        begun(quiz.dir, run.tasks[0].digest)
        # then both are still there
        assert run.paths.record.read_bytes() == CONTENTS[content]
        kept = quiz.status.with_name("status.json.unreadable.1")
        assert kept.read_bytes() == CONTENTS[content]
        assert (quiz.logs / "evaluate.1.log").read_text() == "the log of 1"
        assert json.loads(quiz.status.read_text())["attempts"][0]["number"] == 2
        assert json.loads(riddle.status.read_text())["attempts"][0]["cause"] == "because"


def test_kill_finds_the_tasks_of_a_run_whose_record_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENCE", 30.0)
    run.paths.record.write_bytes(b"")
    lease_of = run.tasks[1].paths.lease
    lease_of.mkdir()
    (lease_of / "owner").write_text("host=node7 pid:[1]\npid=7\n")
    (lease_of / "beat").touch()
    assert kill.kill_run(RunPaths(run.paths.dir)).left == ["riddle: pid 7 on node7 (another host)"]


def test_a_task_whose_work_folder_was_removed_is_planned_again(run: Run) -> None:
    quiz = run.tasks[0]
    link = quiz.paths.published(quiz.digest)
    link.parent.mkdir()
    link.symlink_to(f"../work/{quiz.digest}")
    assert forced(run) == []
    assert quiz in pending_tasks(run)
    assert not link.is_symlink()  # Snakemake could make no plan beside it
