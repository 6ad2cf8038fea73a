"""What follows from the state in which Slurm says a job is; no Slurm is needed."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from rig.checked import publish_checked
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.executors.slurm import queue, start
from snakeval.executors.slurm import submission as module
from snakeval.executors.slurm.contact import Contact
from snakeval.executors.slurm.start import Start
from snakeval.executors.slurm.submission import (
    FORGOTTEN_AFTER,
    IN_VAIN,
    OVER_AFTER,
    Followed,
    Submission,
)
from snakeval.executors.slurm.submit import Full, NoAnswer, Refused
from snakeval.job import cancelled
from snakeval.plan.make import make_run
from snakeval.run_folder.records import task_state

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
START = "0123456789ab"


class Following:
    """An executor that follows job 7 of one task; what it submits, and what it reports."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **execution: Any) -> None:
        content = {
            "execution": {"output_dir": str(folder / "out"), **execution},
            "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
            "harnesses": {"own": {"kind": "command", "command": "true", "tasks": {"quiz": None}}},
            "evaluation": {"tasks": [{"name": "own.quiz"}]},
        }
        (folder / "my.yaml").write_text(yaml.safe_dump(content))
        run = make_run(load([folder / "my.yaml"], {}), CATALOGUE)
        (self.task,) = run.tasks
        self.task.paths.dir.mkdir(parents=True)
        self.submitted: list[str] = []
        self.succeeded = False
        self.failed = ""
        output = str(self.task.paths.published(self.task.digest))
        self.executor: Submission = Submission.__new__(Submission)
        self.followed = Followed(run, self.task)
        self.executor.followed = {output: self.followed}
        self.executor.start, self.executor.stopping = START, False
        self.executor.logger = logging.getLogger("test")
        self.executor.contact = Contact(self.executor.logger)
        self.executor.recent, self.executor.servers_seen = queue.Recent(), {}
        self.job = SimpleNamespace(output=[output])
        monkeypatch.setattr(self.executor, "_submit", self._submit)
        monkeypatch.setattr(self.executor, "_publish", lambda followed: None)
        monkeypatch.setattr(self.executor, "report_job_success", self._succeed)
        monkeypatch.setattr(self.executor, "report_job_error", self._fail)

    def _submit(self, *_: Any) -> str:
        self.submitted.append(str(8 + len(self.submitted)))
        return self.submitted[-1]

    def _succeed(self, _: Any) -> None:
        self.succeeded = True

    def _fail(self, _: Any, msg: str) -> None:
        self.failed = msg

    def attempt(self, state: str, **more: Any) -> None:
        """What the job's attempt has recorded."""
        made = {"number": 1, "digest": self.task.digest, "job": "7", "state": state, **more}
        (self.task.paths.dir / "status.json").write_text(json.dumps({"attempts": [made]}))

    def sees(self, state: str | None) -> str | None:
        """The job that is followed after Slurm has said this; None: no more."""
        info = module.SubmittedJobInfo(self.job, external_jobid="7", aux={})
        onward = self.executor._onward(info, {} if state is None else {"7": state})
        return onward and str(onward.external_jobid)


@pytest.fixture
def following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Following:
    return Following(tmp_path, monkeypatch)


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"])
def test_a_live_job_is_followed(following: Following, state: str) -> None:
    assert following.sees(state) == "7"
    assert not following.submitted and not following.failed


def test_a_job_that_slurm_has_lost_is_submitted_again_after_a_while(following: Following) -> None:
    assert following.sees(None) == "7"
    following.followed.seen -= FORGOTTEN_AFTER + 1
    assert following.sees(None) == "8"
    # nor is it a failure where it had begun
    following.attempt("running")
    following.followed.seen -= FORGOTTEN_AFTER + 1
    assert following.sees(None) == "9"
    assert not following.failed


def test_a_lost_job_that_has_told_of_a_failure_has_failed(following: Following) -> None:
    following.attempt("failed", cause="3 of 10 samples got no answer")
    following.followed.seen -= FORGOTTEN_AFTER + 1
    assert following.sees(None) is None
    assert following.failed == "3 of 10 samples got no answer"


@pytest.mark.parametrize(
    ("recorded", "onward", "failed"),
    [("failed", None, "3 of 10 samples got no answer"), ("interrupted", "8", "")],
)
def test_a_job_whose_end_slurm_has_forgotten_is_over_after_a_while(
    following: Following,
    monkeypatch: pytest.MonkeyPatch,
    recorded: str,
    onward: str | None,
    failed: str,
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(queue, "cancel", lambda ids: gone.extend(ids))
    following.attempt(recorded, cause="3 of 10 samples got no answer")
    assert following.sees("RUNNING") == "7"
    assert following.followed.over is not None
    following.followed.over -= OVER_AFTER
    # it waits again: Slurm has put it back into the queue, and its next attempt is to come
    assert following.sees("PENDING") == "7"
    assert following.sees("RUNNING") == "7" and not gone
    following.followed.over -= OVER_AFTER
    assert following.sees("RUNNING") == onward
    assert following.failed == failed and gone == ["7"]


def test_a_job_that_says_nothing_of_an_end_is_at_work_as_long_as_slurm_says_so(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OVER_AFTER", 0.0)
    assert following.sees("RUNNING") == "7"
    following.attempt("running")
    assert following.sees("RUNNING") == "7"
    # and what somebody still holds is not over
    following.attempt("interrupted")
    monkeypatch.setattr(module, "holder_of", lambda lease: object())
    assert following.sees("RUNNING") == "7"


@pytest.mark.parametrize("state", ["TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED"])
@pytest.mark.parametrize("recorded", ["interrupted", "cancelled", "running"])
def test_what_slurm_has_ended_is_submitted_again(
    following: Following, state: str, recorded: str
) -> None:
    following.attempt(recorded)
    assert following.sees(state) == "8"
    assert not following.failed


def test_a_job_that_says_it_was_interrupted_is_submitted_again(following: Following) -> None:
    following.attempt("interrupted")
    assert following.sees("FAILED") == "8"


def test_a_cancelled_job_is_not_submitted_again_in_this_start(following: Following) -> None:
    following.attempt("interrupted")
    assert following.sees("CANCELLED") is None
    assert not following.submitted
    assert "cancelled; the next start continues" in following.failed
    assert cancelled.marked(following.task.paths.dir, START)
    # nor is it when Snakemake retries
    assert "was cancelled" in following.executor._refused(following.followed)


def test_a_finished_result_is_a_result_however_its_job_has_ended(following: Following) -> None:
    publish_checked(following.task)
    assert following.sees("TIMEOUT") is None
    assert following.succeeded and not following.submitted


def test_a_benchmark_that_has_failed_says_why(following: Following) -> None:
    following.attempt("failed", cause="3 of 10 samples got no answer")
    assert following.sees("FAILED") is None
    assert following.failed == "3 of 10 samples got no answer"
    assert not following.submitted


def test_attempts_end_when_max_walltime_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Following(tmp_path, monkeypatch, type="slurm", max_walltime="00:10:00")
    times = {"started": "2026-01-01T10:00:00Z", "ended": "2026-01-01T10:10:00Z"}
    following.attempt("interrupted", **times)
    assert following.sees("TIMEOUT") is None
    assert "max_walltime (600 s) is used up after 1 attempts" in following.failed


def test_jobs_that_never_begin_are_not_submitted_for_ever(following: Following) -> None:
    for number in range(IN_VAIN - 1):
        assert following.sees("BOOT_FAIL") == str(8 + number)
    assert following.sees("BOOT_FAIL") is None
    assert f"{IN_VAIN} jobs in a row" in following.failed


def test_what_slurm_refuses_the_second_time_is_told(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> str:
        raise Refused("sbatch: the account has no hours left")

    monkeypatch.setattr(following.executor, "_submit", refuse)
    assert following.sees("PREEMPTED") is None
    assert following.failed == "sbatch: the account has no hours left"


# --- what is not submitted yet -------------------------------------------------------------------


class Waiting:
    """The task of `Following`, which has no job yet; what a look at the queue shows next."""

    def __init__(self, following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
        self.following, self.executor = following, following.executor
        self.answers: list[Any] = []
        self.queue: list[queue.Job] = []
        monkeypatch.setenv(queue.CONTROLLER_PATIENCE, "60")
        monkeypatch.setattr(self.executor, "_submit", self._submit)
        monkeypatch.setattr(queue, "jobs", lambda **_: self._jobs())
        monkeypatch.setattr(queue, "states_among", lambda known, ids, names: {})
        self.is_silent = False
        self.followed = self.executor._place(following.job, following.followed)

    def _submit(self, *_: Any) -> str:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.following.submitted.append(answer)
        return str(answer)

    def _jobs(self) -> list[queue.Job]:
        if self.is_silent:
            raise queue.QueryFailed("squeue: Socket timed out")
        return self.queue

    def look(self) -> str | None:
        """The job that is followed after another look; empty: it still waits; None: no more."""
        info = module.SubmittedJobInfo(self.following.job, external_jobid="", aux={})
        onward = self.executor._after_a_look([info])
        return str(onward[0].external_jobid) if onward else None

    @property
    def note(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.following.task.paths.job.read_text())
        return content


@pytest.fixture
def waiting(following: Following, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    following.executor.contact.hold(Full("sbatch: AssocMaxSubmitJobLimit"))
    return Waiting(following, monkeypatch)


def test_where_slurm_has_no_room_a_task_waits_and_is_submitted_later(waiting: Waiting) -> None:
    assert waiting.followed == ""
    assert "AssocMaxSubmitJobLimit" in waiting.note["waits"]
    assert task_state(waiting.following.task.paths).state == "pending"
    waiting.answers = [Full("sbatch: AssocMaxSubmitJobLimit"), "9"]
    assert waiting.look() == ""
    assert waiting.look() == "9"
    assert not waiting.following.failed


def test_where_only_its_own_controller_fills_the_queue_it_is_told(
    waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    def job(number: str, script: str) -> queue.Job:
        return queue.Job(number, "RUNNING", "None", "m1", "0:01", "x", Path(script))

    waiting.answers = [Full("sbatch: AssocMaxSubmitJobLimit") for _ in range(3)]
    waiting.queue = [job("5", "/r/sbatch_controller.sh"), job("6", "/elsewhere/train.sh")]
    assert waiting.look() == ""
    assert "your only jobs" not in caplog.text
    waiting.queue = [job("5", "/r/sbatch_controller.sh"), job("6", "/r/d/m/sbatch_server.sh")]
    assert waiting.look() == waiting.look() == ""
    assert caplog.text.count("the run's own controller and servers (5, 6)") == 1


def test_a_servers_job_that_slurm_has_lost_is_known_as_such_after_a_while(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, executor = following.followed.run.paths.server("model"), following.executor
    shown: list[queue.Job] = []
    monkeypatch.setattr(queue, "jobs", lambda **_: shown)
    monkeypatch.setattr(queue, "FRESH", -1)
    monkeypatch.setenv("PATH", "/nowhere")  # no accounting
    name = f"server.model.{following.followed.run.paths.id}"
    shown = [queue.Job("7", "RUNNING", "None", "m1", "0:01", name, paths.batch_script)]
    assert executor._end_of(paths, "7") == ""
    shown[0] = replace(shown[0], state="PREEMPTED")
    assert executor._end_of(paths, "7") == "was ended by a preemption"
    # a job of another one, of the same id
    shown[0] = replace(shown[0], state="RUNNING", name="train")
    assert executor._end_of(paths, "7") == ""
    executor.servers_seen[paths.dir] -= FORGOTTEN_AFTER + 1
    assert executor._end_of(paths, "7") == "is not known to Slurm any more"
    # its supervisor lives on
    monkeypatch.setattr(module, "supervisor_of", lambda _: object())
    assert executor._end_of(paths, "7") == ""


def test_a_run_is_given_to_one_job_though_slurm_is_full_and_then_does_not_answer(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a Slurm that has no room, and then makes a job without an answer
    run = following.followed.run
    part: Start = Start.__new__(Start)
    part._followed, part._executor = following.executor.followed, following.executor
    part._controllers = {"3"}
    answers: list[Any] = [Full("full"), NoAnswer("sbatch: Socket timed out")]
    folders, paused = [], []

    def sbatch(command: list[str], folder: Path) -> str:
        folders.append(folder)
        raise answers.pop(0)

    jobs = [
        queue.Job(number, "PENDING", "None", "", "0:00", "controller.x", run.paths.controller_job)
        for number in ("3", "8")
    ]
    monkeypatch.setattr(start, "sbatch", sbatch)
    monkeypatch.setattr(queue, "jobs", lambda **_: jobs if not answers else [jobs[0]])
    monkeypatch.setattr("time.sleep", paused.append)
    monkeypatch.setenv(queue.CONTROLLER_PATIENCE, "60")
    # when the run is given to a job
    assert part.hand_over() == "8"
    # then it was waited for both, and the job knows where it lies
    assert len(folders) == 2 and len(paused) == 2 and set(folders) == {run.paths.dir}
    # and a refusal ends it, in Slurm's words
    answers.append(Refused("sbatch: Invalid qos"))
    with pytest.raises(InputError, match="Invalid qos"):
        part.hand_over()


def test_what_slurm_refuses_is_the_tasks_cause_and_not_tried_again(waiting: Waiting) -> None:
    waiting.answers = [Refused("sbatch: Invalid qos specification")]
    assert waiting.look() is None
    assert waiting.following.failed == "sbatch: Invalid qos specification"
    assert waiting.note["cause"] == "sbatch: Invalid qos specification"
    # nor is it when Snakemake retries
    assert "Invalid qos" in waiting.executor._refused(waiting.following.followed)


def test_after_no_answer_the_queue_is_looked_at_before_anything_is_submitted_again(
    waiting: Waiting,
) -> None:
    waiting.answers = [NoAnswer("sbatch: Socket timed out"), "9"]
    assert waiting.look() == ""
    # a controller that does not answer is asked again, and nothing is submitted
    waiting.is_silent = True
    assert waiting.look() == ""
    waiting.is_silent = False
    # nor after the first look: it may be making the job meanwhile
    assert waiting.look() == ""
    task = waiting.following.task
    script = waiting.following.followed.run.paths.batch_script(task.name)
    name = f"{task.name}.{task.digest}"
    waiting.queue = [queue.Job("8", "PENDING", "None", "", "0:00", name, script)]
    assert waiting.look() == "8"
    assert not waiting.following.submitted and not waiting.following.failed


def test_without_a_job_of_its_name_it_is_submitted_again(waiting: Waiting) -> None:
    waiting.answers = [NoAnswer("sbatch: Socket timed out"), "9"]
    assert [waiting.look() for _ in range(3)] == ["", "", "9"]


def test_a_controller_that_is_silent_for_too_long_fails_no_benchmark(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(queue.CONTROLLER_PATIENCE, "0")
    waiting.is_silent = True
    assert waiting.look() is None
    assert "has not answered for 0 s (execution.controller_patience)" in waiting.following.failed
    assert task_state(waiting.following.task.paths).state == "pending"
    # and Snakemake's retry ends at once
    assert waiting.executor._refused(waiting.following.followed)
