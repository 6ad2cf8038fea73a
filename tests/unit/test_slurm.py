"""What the pipeline says to Slurm, and what it makes of Slurm's answers; no Slurm is needed."""

import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import load
from snakeval.executors.slurm import checks, nodes, queue, resources, scripts
from snakeval.job import attempt, cancelled, slurm_calls, slurm_job
from snakeval.plan.make import continued, make_run
from snakeval.plan.run import Run
from snakeval.run_folder.layout import RunPaths
from snakeval.start.begin import resolved_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
OWN = {"kind": "command", "command": "true", "tasks": {"quiz": None, "other": None}}
PLUGIN = (
    "sbatch --parsable --job-name quiz.abc --output '/a run/%j.log' --export=ALL"
    " --comment 'paid by us' -A tests -p cpu -t 30 --mem 4000 --ntasks=1 --cpus-per-task=2"
    " --requeue -D /cwd"
)
"""As the executor plugin makes it."""


def plan(folder: Path, *entries: dict[str, Any], **execution: Any) -> Run:
    content = {
        "execution": {"output_dir": str(folder / "out"), **execution},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "harnesses": {"own": OWN},
        "evaluation": {"tasks": list(entries) or [{"name": "own.quiz"}]},
    }
    file = folder / "my.yaml"
    file.write_text(yaml.safe_dump(content))
    return make_run(load([file], {}), CATALOGUE)


def asked(folder: Path, entry: dict[str, Any] | None = None, **execution: Any) -> dict[str, Any]:
    run = plan(folder, {"name": "own.quiz", **(entry or {})}, **execution)
    return resources.resources_of(run, run.tasks[0])


# --- what a job asks for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("30:30", 1830),
        ("01:30:00", 5400),
        ("2-12", 216000),
        ("2-12:30", 217800),
        ("1-02:03:04", 93784),
    ],
)
def test_walltimes_are_read_as_slurm_reads_them(text: str, seconds: int) -> None:
    assert resources.seconds(text) == seconds
    assert resources.seconds(resources.notation(seconds)) == seconds


def test_the_fields_of_the_launcher_become_resources(tmp_path: Path) -> None:
    execution = {
        "type": "slurm",
        "account": "us",
        "partition": "gpu",
        "walltime": "00:30:01",
        "sbatch_extra_flags": {"exclusive": True, "nice": 10, "hold": False, "reason": "a b"},
    }
    found = asked(tmp_path, **execution)
    assert found == {
        "slurm_account": "us",
        "slurm_partition": "gpu",
        "runtime": 31,  # whole minutes, never fewer than asked for
        "slurm_extra": "--exclusive --nice=10 '--reason=a b'",
    }
    assert asked(tmp_path, cpu_partition="cpu", **execution)["slurm_partition"] == "cpu"


def test_no_gpu_is_asked_for_unless_a_benchmark_itself_names_one(tmp_path: Path) -> None:
    execution = {"type": "slurm", "account": "us", "gres": "gpu:8", "gpus_per_node": 8}
    assert "gres" not in asked(tmp_path, **execution)
    own = {"resources": {"gres": "gpu:1"}}
    assert asked(tmp_path, own, **execution)["gres"] == "gpu:1"


def test_a_benchmarks_own_resources_win(tmp_path: Path) -> None:
    execution = {"type": "slurm", "account": "us", "partition": "gpu", "walltime": "1:00:00"}
    own = {"walltime": "2:00:00", "partition": "long", "cpus": 4, "mem_mb": 16000, "account": "b"}
    assert asked(tmp_path, {"resources": own}, **execution) == {
        "slurm_account": "b",
        "slurm_partition": "long",
        "runtime": 120,
        "mem_mb": 16000,
        "cpus_per_task": 4,
    }


def test_what_a_config_does_not_say_is_the_profiles(tmp_path: Path) -> None:
    assert asked(tmp_path) == {}
    assert asked(tmp_path, type="slurm") == {}


def test_attempts_have_an_end_unless_the_config_wants_none(tmp_path: Path) -> None:
    assert resources.max_walltime(plan(tmp_path)) == 120 * 3600
    assert resources.max_walltime(plan(tmp_path, type="slurm", max_walltime="2:00:00")) == 7200
    assert resources.max_walltime(plan(tmp_path, type="slurm", max_walltime=None)) is None


def test_a_benchmark_is_not_called_as_the_runs_own_job_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not checks.names([plan(tmp_path)])
    monkeypatch.setitem(OWN, "tasks", {"controller": None})
    (told,) = checks.names([plan(tmp_path, {"name": "own.controller"})])
    assert "sbatch_controller.sh is the run's own job" in str(told) and not told.warning


def test_flags_that_the_pipeline_sets_are_not_the_users(tmp_path: Path) -> None:
    given = {"output": "x", "--time": 3, "job_name": "n", "nice": 1, "qos": "high"}
    assert resources.owned_flags(given) == {
        "output": None,
        "--time": "execution.walltime",
        "job_name": None,
    }


@pytest.mark.parametrize(
    ("limit", "lead"), [(None, 120), (14400, 120), (600, 60), (60, 10), (30, 10)]
)
def test_a_job_is_told_two_minutes_before_its_limit(limit: int | None, lead: int) -> None:
    assert resources.lead(limit) == lead


def test_a_time_limit_is_known_in_each_notation_of_snakemake() -> None:
    found = [resources.limit_of({"runtime": value}) for value in (90, "90m", "2h", "1d", None, "x")]
    assert found == [5400, 5400, 7200, 86400, None, None]


# --- batch scripts -------------------------------------------------------------------------------


def test_a_batch_script_says_what_it_is_and_what_it_asks_for(tmp_path: Path) -> None:
    run = plan(tmp_path)
    (task,) = run.tasks
    described = scripts.flags(PLUGIN, {"runtime": 30})
    text = scripts.batch_script(run, task, described, "sha256:1234")

    lines = text.splitlines()
    assert "#SBATCH --comment 'paid by us'" in lines
    assert "#SBATCH --signal=B:TERM@120" in lines
    assert "#SBATCH --open-mode=append" in lines
    for fact in (run.paths.id, task.name, task.digest, "sha256:1234", "# created:   2"):
        assert any(fact in line for line in lines if line.startswith("# ")), fact
    # and nothing of one submission, nor the place of the run folder, is in it
    assert not [line for line in lines if "--output" in line or "--export" in line or "-D" in line]
    assert str(tmp_path) not in text


def test_a_signal_that_the_user_asks_for_is_not_asked_for_twice() -> None:
    described = scripts.flags(f"{PLUGIN} --signal=B:TERM@300", {"runtime": 30})
    assert [words for words in described if "--signal" in words[0]] == [["--signal=B:TERM@300"]]


def test_a_batch_script_runs_its_task_wherever_the_run_folder_is(tmp_path: Path) -> None:
    # given a script whose run folder has moved, on a machine without Slurm's commands
    run = plan(tmp_path)
    (task,) = run.tasks
    script = tmp_path / "sbatch_quiz.sh"
    script.write_text(scripts.batch_script(run, task, scripts.flags(PLUGIN, {}), ""))
    moved = tmp_path / "moved here"
    (moved / task.name).mkdir(parents=True)
    (moved / task.name / "run.sh").write_text(
        'echo "$0 $1 $2 $SNAKEVAL_LEAD $SNAKEVAL_MAX_WALLTIME ${SNAKEVAL_SCRIPT_DIR:-}"'
    )
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "sed", "uname"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "bin" / "sleep").symlink_to("/bin/true")

    def submitted(**variables: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": str(tmp_path / "bin"), "SLURM_JOB_ID": "7", "SNAKEVAL_ATTEMPT": "2"}
        return subprocess.run(
            ["bash", script], env=given | variables, capture_output=True, text=True
        )

    # then it runs there: told by whom the pipeline has submitted, or submitted there by a person
    for variable in ("SNAKEVAL_SCRIPT_DIR", "SLURM_SUBMIT_DIR"):
        told = submitted(**{variable: str(moved)})
        assert told.stdout.split("/")[-1] == f"run.sh {task.digest} 2 120 432000 \n", told.stderr
    # and says so where the run folder is not seen
    lost = submitted(SNAKEVAL_SCRIPT_DIR=str(tmp_path))
    assert lost.returncode == 1
    assert f"the run folder is not on this node ({platform.node()}): {tmp_path}" in lost.stderr
    assert "a folder that all nodes see" in lost.stderr
    # which is another thing than a controller that does not say where a person's script was
    silent = submitted()
    assert silent.returncode == 1
    assert "Slurm's controller does not answer" in silent.stderr
    assert "is not on this node" not in silent.stderr


def test_the_controllers_job_repeats_the_command_without_its_config() -> None:
    def repeated(*words: str) -> list[str]:
        return scripts.command_line(["snakemake", "--profile", "p", *words])[5:]

    assert repeated("--config", "controller=job") == []
    assert repeated("--config", "controller=job", "--jobs", "5") == ["--jobs", "5"]
    assert repeated("--config=controller=job") == []
    # what decides what is evaluated lies in the run folder; the choice of tasks is this start's
    files = ("--configfile", "my.yaml", "more.yaml")
    given = ("--config", "tasks=a", "fresh=a", "limit_samples=3", "controller=job")
    assert repeated(*files, *given, "--retries", "0") == ["--retries", "0", "--config", "tasks=a"]
    assert repeated("--config=tasks=a", "-n") == ["-n", "--config", "tasks=a"]


def test_the_controllers_job_has_a_limit_and_resources_of_its_own(tmp_path: Path) -> None:
    short = scripts.flags(PLUGIN.replace("-t 30", "-t 2"), {"runtime": 2})
    described = [short, scripts.flags(PLUGIN, {"runtime": 30})]

    def script(**execution: Any) -> str:
        return scripts.controller_script([plan(tmp_path, **execution)], described, tmp_path / "a b")

    text = script()
    assert f"cd '{tmp_path}/a b'" in text
    assert "#SBATCH -p cpu" in text and "#SBATCH -t 00:30:00" in text  # the longest benchmark's
    assert "#SBATCH --signal=B:USR1@120 --requeue" in text
    assert "--ntasks=1 --cpus-per-task=1 --mem=2000" in text  # not what a benchmark asks for
    own = {"walltime": "1-00:00:00", "partition": "long", "cpus": 2, "mem_mb": 3000}
    text = script(type="slurm", account="us", controller=own)
    assert "#SBATCH -p long" in text and "#SBATCH -t 1-00:00:00" in text
    assert "--cpus-per-task=2 --mem=3000" in text


def test_a_controllers_job_drives_the_runs_of_its_start(tmp_path: Path) -> None:
    # given a run folder that a start has written
    run = plan(tmp_path, {"name": "own.quiz"}, {"name": "own.other"})
    run.paths.dir.mkdir(parents=True)
    run.paths.config.write_text(resolved_text(run))
    # when the user's file is another one by now, and a newer run of the same config is there
    (tmp_path / "my.yaml").unlink()
    newer = run.paths.dir.with_name("2099-01-01-00-00-00-" + run.paths.id[-8:])
    newer.mkdir()
    again = continued([run.paths.dir], {"tasks": "quiz", "limit_samples": 3}, CATALOGUE)
    # then it is the same run, with the same specs; of the command line the choice of tasks counts
    assert [each.paths.dir for each in again] == [run.paths.dir]
    assert [task.digest for task in again[0].tasks] == [task.digest for task in run.tasks]
    assert [task.name for task in again[0].selected] == ["quiz"]


class Handed:
    """`hand_over` of job 7, to a Slurm that answers as is said: by command, answer after answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[str | Exception]] = {}
        self.asked: list[list[str]] = []
        monkeypatch.setattr(slurm_calls, "ask", self.ask)
        monkeypatch.setattr(slurm_job, "ASKED_AGAIN", 0)
        for name, value in {"ID": "7", "NAME": "controller.r"}.items():
            monkeypatch.setenv(f"SLURM_JOB_{name}", value)
        monkeypatch.setenv("SLURM_RESTART_COUNT", "0")

    def ask(self, command: list[str], **_: Any) -> str:
        self.asked.append(command)
        answer = self.answers[" ".join(command[:2]).split(" --")[0]].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def over(self, **answers: list[str | Exception]) -> list[str]:
        """The programs that were called, in their order."""
        self.answers = {name.replace("_", " "): list(said) for name, said in answers.items()}
        self.asked = []
        given = slurm_job.parser().parse_args(["hand_over", "/r/sbatch_controller.sh"])
        assert given.run(given) == 0
        return [command[0] for command in self.asked]


def test_a_controller_hands_over_to_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    handed, silent = Handed(monkeypatch), slurm_calls.NoAnswer("scontrol: Socket timed out")
    refused = slurm_calls.Refused("scontrol: Requested operation is presently disabled")
    # it comes back under its number
    assert handed.over(scontrol_requeue=[""]) == ["scontrol"]
    # nobody knows whether it will: it is asked until that is known, and nothing is submitted
    said = {"scontrol_requeue": [silent], "scontrol": ["JobId=7 Restarts=1 JobState=PENDING"]}
    assert handed.over(**said) == ["scontrol", "scontrol"]
    # it does not: one successor, also where the first submission was not answered
    said = {"scontrol_requeue": [refused], "squeue": ["7\n", "7\n8\n"], "sbatch": [silent]}
    assert handed.over(**said) == ["scontrol", "squeue", "sbatch", "squeue"]
    said = {"scontrol_requeue": [refused], "squeue": ["7\n"], "sbatch": ["8\n"]}
    assert handed.over(**said) == ["scontrol", "squeue", "sbatch"]


# --- what Slurm answers --------------------------------------------------------------------------


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Programs of Slurm that say a text; `None`: that fail."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def program(name: str, text: str | None) -> None:
        file = folder / name
        file.write_text(
            f"#!/bin/sh\necho '{name}: error: no answer' >&2; exit 1\n"
            if text is None
            else f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n"
        )
        file.chmod(0o755)

    return program


def test_jobs_belong_to_the_run_in_which_their_script_lies(
    tmp_path: Path, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    says(
        "squeue",
        f"12|RUNNING|None|m1|1:00|a.0123456789ab|{here}/sbatch_a.sh\n"
        f"9|PENDING|Priority||0:00|a.0123456789ab|{here}/sbatch_a.sh\n"
        f"10|PENDING|Priority||0:00|b.0123456789ab|{there}/sbatch_b.sh\n"
        f"11|RUNNING|None|m1|1:00|controller.x|{here}/sbatch_controller.sh\n"
        "13_4|RUNNING|None|m1|1:00|array|/x/array.sh\n"
        "14+1|RUNNING|None|m1|1:00|heterogeneous|/x/het.sh\n"
        "15|RUNNING|None|m1|1:00|a | name|(null)",
    )
    found = queue.jobs_of(RunPaths(here), queue.jobs())
    assert {task: [job.id for job in jobs] for task, jobs in found.items()} == {
        "a": ["9", "12"],
        "": ["11"],
    }
    monkeypatch.chdir(tmp_path)
    assert queue.jobs_of(RunPaths(Path("here")), queue.jobs()) == found
    assert found["a"][0].digest == "0123456789ab"
    assert found["a"][1].live


def test_what_squeue_has_forgotten_the_accounting_may_know(says: Any) -> None:
    says("squeue", "1|RUNNING|None|m1|1:00|a.b|/x/sbatch_a.sh")
    says("sacct", "2|CANCELLED by 1000|a\n3|TIMEOUT|b\n4|COMPLETED+|c")
    assert queue.states(["1", "2", "3", "4", "5"]) == {
        "1": "RUNNING",
        "2": "CANCELLED",
        "3": "TIMEOUT",
        "4": "COMPLETED",
    }


def test_a_question_is_about_the_cluster_that_a_script_names(
    tmp_path: Path, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "slurm"
    says("squeue", "")
    (folder / "squeue").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
    monkeypatch.setenv("SLURM_CLUSTERS", "elsewhere")
    monkeypatch.setenv(slurm_calls.CLUSTER, "of-the-start")
    script = tmp_path / "sbatch_a.sh"
    script.write_text("#!/bin/bash\n#SBATCH --clusters serial\n")
    here = tmp_path / "sbatch_b.sh"
    here.write_text("#!/bin/bash\n")
    for each in (None, script, here):
        with queue.about(each):
            queue.jobs()
    asked = [line.split()[0] for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked == ["--clusters=of-the-start", "--clusters=serial", "--all"]


@pytest.mark.parametrize(
    ("said", "flags", "nodes", "waits"),
    [
        ("Requested node configuration is not available", "", "idle\ndrained", True),
        ("Requested node configuration is not available", "", "idle\nallocated", False),
        ("Invalid time specified", "--reservation=r", "", True),
        ("Invalid time specified", "", "", False),
        ("Required node not available (down, drained or reserved)", "", "", True),
        ("Invalid qos specification", "", "drained", False),
    ],
)
def test_what_only_has_to_wait_keeps_no_start_from_beginning(
    tmp_path: Path, says: Any, said: str, flags: str, nodes: str, waits: bool
) -> None:
    says("squeue", "")
    says("sinfo", nodes)
    file = tmp_path / "slurm" / "sbatch"
    file.write_text(f"#!/bin/sh\necho 'sbatch: error: {said}' >&2; exit 1\n")
    file.chmod(0o755)
    problem = checks.refusal(["-p", "gpu", *flags.split()], "a")
    assert problem and problem.warning is waits and said in problem.what


def test_what_slurm_has_lost_with_its_state_was_cancelled_by_nobody(says: Any) -> None:
    says("squeue", "")
    says("sacct", "1|RUNNING|a\n2|CANCELLED|b\n3|CANCELLED by 0|c")
    assert queue.states(["1", "2", "3"]) == {"3": "CANCELLED"}


def test_after_a_loss_of_slurms_state_another_job_of_the_same_id_is_not_taken_for_ours(
    says: Any,
) -> None:
    # given ids that were given anew: in the queue to a job of mine, in the accounting to whomever
    says("squeue", "1|FAILED|None|m1|1:00|other|/x/other.sh")
    says("sacct", "2|COMPLETED|somebody\n3|TIMEOUT|c.d")
    ids = ["1", "2", "3"]
    assert queue.states_among(queue.jobs(), ids, {"1": "a.b", "2": "b.c", "3": "c.d"}) == {
        "3": "TIMEOUT"
    }


def test_without_accounting_a_forgotten_job_is_unknown(says: Any) -> None:
    says("squeue", "1|RUNNING|None|m1|1:00|a.b|/x/sbatch_a.sh")
    says("sacct", None)
    assert queue.states(["1", "2"]) == {"1": "RUNNING"}


def test_a_query_that_fails_is_no_answer(
    tmp_path: Path, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without, pytest.raises(queue.QueryFailed, match="squeue"):
        without.setenv("PATH", str(tmp_path))  # a cluster of other tests may be up
        queue.states(["1"])
    says("squeue", None)
    with pytest.raises(queue.QueryFailed, match="no answer"):
        queue.states(["1"])


def test_a_job_that_has_ended_meanwhile_needs_no_cancelling(tmp_path: Path, says: Any) -> None:
    file = tmp_path / "slurm" / "scancel"
    for message, answer in {
        "scancel: error: Kill job error on job id 1: Invalid job id specified": None,
        "scancel: error: Access/permission denied": "scancel: Access/permission denied",
    }.items():
        file.write_text(f"#!/bin/sh\necho '{message}' >&2; exit 1\n")
        file.chmod(0o755)
        assert queue.cancel(["1"]) == answer


REFUSED, FULL, NO_ANSWER = slurm_calls.Refused, slurm_calls.Full, slurm_calls.NoAnswer
POLICY = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Batch job submission failed: Invalid account or account/partition", REFUSED),
        ("invalid partition specified: nowhere\nsbatch: error: Batch job submission", REFUSED),
        (f"QOSMaxWallDurationPerJobLimit\nsbatch: error: {POLICY}", REFUSED),
        (f"QOSMaxCpuPerJobLimit\nsbatch: error: {POLICY}", REFUSED),
        (f"AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}", FULL),
        (f"QOSMaxSubmitJobPerUserLimit\nsbatch: error: {POLICY}", FULL),
        (f"AssocGrpSubmitJobsLimit\nsbatch: error: {POLICY}", FULL),
        (f"QOSMaxJobsPerUserLimit\nsbatch: error: {POLICY}", FULL),
        (POLICY, FULL),  # an older Slurm names no limit
        ("Batch job submission failed: Slurm temporarily unable to accept job", FULL),
        ("Batch job submission failed: Socket timed out on send/recv operation", NO_ANSWER),
        ("Unable to contact slurm controller (connect failure)", NO_ANSWER),
        ("Batch job submission failed: Zero Bytes were transmitted or received", NO_ANSWER),
        ("Protocol authentication error", NO_ANSWER),  # munge is away
    ],
)
def test_refused_full_and_no_answer_are_three_things(
    said: str, kind: type[Exception], tmp_path: Path, says: Any
) -> None:
    says("sbatch", None)
    (tmp_path / "slurm" / "sbatch").write_text(
        f'#!/bin/sh\necho "sbatch: error: {said}" >&2; exit 1'
    )
    with pytest.raises(slurm_calls.Failed) as raised:
        slurm_calls.ask(["sbatch"])
    assert type(raised.value) is kind
    # in Slurm's words, each of its lines without the program's name
    assert str(raised.value).startswith(f"sbatch: {said.partition(chr(10))[0]}")
    assert "error:" not in str(raised.value)


def test_a_command_that_hangs_is_no_answer(tmp_path: Path, says: Any) -> None:
    says("squeue", None)
    (tmp_path / "slurm" / "squeue").write_text("#!/bin/sh\nexec sleep 600\n")
    with pytest.raises(slurm_calls.NoAnswer, match=r"no answer within 0.1 s"):
        slurm_calls.ask(["squeue"], patience=0.1)


def test_what_the_users_variables_say_to_slurm_reaches_no_command(
    says: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("squeue", "")
    (tmp_path / "slurm" / "squeue").write_text("#!/bin/sh\nenv\n")
    for name in (
        *("SLURM_TIME_FORMAT", "SQUEUE_STATES", "SBATCH_ACCOUNT", "SLURM_CLUSTERS"),
        *("SALLOC_PARTITION", "SACCT_FORMAT", "SLURM_CONF", "HF_TOKEN"),
    ):
        monkeypatch.setenv(name, "theirs")
    seen = slurm_calls.ask(["squeue"], variables={"SNAKEVAL_ATTEMPT": "2"}).splitlines()
    assert [line for line in seen if line.endswith("=theirs")] == [
        *sorted(("HF_TOKEN=theirs", "SLURM_CONF=theirs"), key=seen.index)
    ]
    assert "SNAKEVAL_ATTEMPT=2" in seen


def test_an_accounting_that_is_away_does_not_make_a_job_forgotten(
    says: Any, tmp_path: Path
) -> None:
    says("squeue", "1|RUNNING|None|m1|1:00|a.b|/x/sbatch_a.sh")
    says("sacct", None)
    said = (
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection"
    )
    (tmp_path / "slurm" / "sacct").write_text(f"#!/bin/sh\necho '{said}' >&2; exit 1\n")
    assert queue.states(["1", "2"]) == {"1": "RUNNING", "2": queue.UNKNOWN}


# --- a look at a node ----------------------------------------------------------------------------


def test_a_look_goes_where_the_jobs_go_and_asks_for_no_more_than_that() -> None:
    asked = f"{PLUGIN} --qos=high -C 'big disk' --exclusive --hold --nodelist=m1"
    words = ("-A", "tests", "-p", "cpu", "--qos=high", "-C", "big disk", "--nodelist=m1")
    assert nodes.placing(scripts.flags(asked, {})) == words


@pytest.mark.parametrize(
    ("has_folder", "python", "runtime", "missing"),
    [
        (True, "/bin/sh", "process", []),
        (True, "/bin/sh", "", []),
        (False, "/bin/sh", "process", ["is not seen by the nodes"]),
        (True, "/nowhere/python", "process", ["/nowhere/python is not seen by the nodes"]),
        (True, "/bin/sh", "podman", ["podman is missing on the nodes"]),
        (True, "/bin/sh", "docker", ["docker is missing on the nodes"]),
        (False, "/nowhere/python", "podman", ["output_dir", "Python", "podman is missing"]),
    ],
)
def test_a_look_finds_all_that_is_missing_at_once(
    has_folder: bool,
    python: str,
    runtime: str,
    missing: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = RunPaths(tmp_path / "a run")
    if has_folder:
        (run.dir / "lib").mkdir(parents=True)
    monkeypatch.setattr("sys.executable", python)
    need = nodes.Need((), runtime)
    ended = subprocess.run(
        ["/bin/bash"], input=nodes.script(run, need, None), text=True, env={"PATH": str(tmp_path)}
    )
    found = list(nodes.Looked("m1", ended.returncode, {}).problems(run, need))
    assert len(found) == len(missing)
    assert all(words in str(problem) for words, problem in zip(missing, found, strict=True))


def test_an_engine_that_does_not_answer_is_told(tmp_path: Path, says: Any) -> None:
    run = RunPaths(tmp_path)
    (run.dir / "lib").mkdir()
    says("docker", None)
    need = nodes.Need((), "docker")
    ended = subprocess.run(["bash"], input=nodes.script(run, need, None), text=True)
    (problem,) = nodes.Looked("m1", ended.returncode, {}).problems(run, need)
    assert "docker does not answer on the nodes (looked at on m1)" in str(problem)


def test_a_node_that_was_looked_at_is_not_looked_at_again(tmp_path: Path, says: Any) -> None:
    run, need = RunPaths(tmp_path), nodes.Need(("-p", "cpu"), "docker")
    run.nodes.write_text(json.dumps({"seen": {need.key: "m1"}, "locks": {"wrong": ""}}))
    nodes.look(run, [need, need], None)  # no sbatch is there to be called


# --- how a job ends, as it sees it itself --------------------------------------------------------


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + seconds))


FAR, NEAR = 3600.0, 30.0


@pytest.mark.parametrize(
    ("fields", "noted", "state"),
    [
        # Slurm says what it is doing
        ({"JobState": "PREEMPTED", "EndTime": at(FAR)}, FAR, "interrupted"),
        ({"JobState": "RUNNING", "EndTime": at(FAR), "PreemptTime": at(0)}, FAR, "interrupted"),
        ({"JobState": "PENDING", "Restarts": "1"}, FAR, "interrupted"),
        ({"JobState": "RUNNING", "Restarts": "1", "EndTime": at(FAR)}, FAR, "interrupted"),
        ({"JobState": "NODE_FAIL"}, FAR, "interrupted"),
        ({"JobState": "TIMEOUT"}, None, "interrupted"),
        # the limit is near, by Slurm or by what was noted when Slurm cannot be asked
        ({"JobState": "RUNNING", "EndTime": at(NEAR)}, FAR, "interrupted"),
        ({}, NEAR, "interrupted"),
        # a person's wish: well before the deadline
        ({"JobState": "CANCELLED", "EndTime": at(NEAR)}, FAR, "cancelled"),
        ({"JobState": "RUNNING", "EndTime": at(FAR), "PreemptTime": "None"}, FAR, "cancelled"),
        ({"JobState": "COMPLETING", "EndTime": at(0)}, FAR, "cancelled"),
        ({"JobState": "RUNNING", "EndTime": at(FAR)}, NEAR, "cancelled"),  # it was prolonged
        ({}, FAR, "cancelled"),
        ({}, None, "cancelled"),
    ],
)
def test_a_cancel_is_told_from_what_slurm_does(
    fields: dict[str, str], noted: float | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    deadline = None if noted is None else time.time() + noted
    assert slurm_job.ending(fields, deadline, 120)[0] == state


def record(folder: Path, *attempts: dict[str, Any]) -> None:
    (folder / "status.json").write_text(json.dumps({"attempts": list(attempts)}))


def begin(folder: Path, **variables: str) -> int:
    for name in ("SNAKEVAL_START", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        words = ["begin", str(folder), "--digest", "d"]
        arguments = attempt.parser().parse_args(words)
        return int(arguments.run(arguments))
    finally:
        for name in variables:
            del os.environ[name]


CANCELLED = {"number": 1, "digest": "d", "state": "cancelled", "start": "s1", "job": "7"}


def test_a_cancelled_task_ends_at_once_in_a_further_attempt_of_the_same_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, CANCELLED)
    assert begin(tmp_path, SNAKEVAL_START="s1", SLURM_JOB_ID="8") == 1
    assert "cancelled in this start" in capsys.readouterr().out
    # and with the mark of `kill`, before it has run at all
    record(tmp_path)
    cancelled.mark(tmp_path, "s1")
    assert begin(tmp_path, SNAKEVAL_START="s1", SLURM_JOB_ID="8") == 1


def test_a_cancelled_task_continues_in_the_next_start_and_by_hand(tmp_path: Path) -> None:
    for variables in ({"SNAKEVAL_START": "s2", "SLURM_JOB_ID": "8"}, {}):
        record(tmp_path, CANCELLED)
        cancelled.mark(tmp_path, "s1")
        assert begin(tmp_path, **variables) == 0
        assert not cancelled.marked(tmp_path, "s1")


def test_a_job_that_slurm_starts_again_was_not_cancelled(tmp_path: Path) -> None:
    record(tmp_path, CANCELLED)
    variables = {"SNAKEVAL_START": "s1", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}
    assert begin(tmp_path, **variables) == 0
    assert attempt.read(tmp_path)["attempts"][0]["state"] == "interrupted"


def test_max_walltime_counts_the_jobs_attempts_at_this_spec_alone(tmp_path: Path) -> None:
    def lasted(minutes: int, **other: Any) -> dict[str, Any]:
        return {
            "digest": "d",
            "job": "1",
            "started": "2026-01-01T10:00:00Z",
            "ended": f"2026-01-01T10:{minutes:02}:00Z",
            **other,
        }

    others = [lasted(40, digest="other"), lasted(40, job=None)]
    made = {"attempts": [lasted(10), lasted(20), *others, lasted(0, ended=None)]}
    assert slurm_job.spent(made, "d") == 1800
    assert slurm_job.used_up(made, "d", None) == ""
    assert slurm_job.used_up(made, "d", 1801) == ""
    sentence = slurm_job.used_up(made, "d", 1800)
    assert "max_walltime (1800 s) is used up after 3 attempts" in sentence
    assert "raise execution.max_walltime" in sentence


def test_what_slurm_says_of_an_ended_job_corrects_the_record(tmp_path: Path) -> None:
    record(tmp_path, CANCELLED | {"cause": "cancelled"})
    slurm_job.correct(tmp_path, "7", "interrupted")
    assert attempt.read(tmp_path)["attempts"][0]["state"] == "interrupted"
    # but what the attempt itself is sure of stands
    record(tmp_path, CANCELLED | {"state": "failed"})
    slurm_job.correct(tmp_path, "7", "interrupted")
    assert attempt.read(tmp_path)["attempts"][0]["state"] == "failed"
