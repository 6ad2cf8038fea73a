"""job.sh: what a Lepton job runs around the command of a rule."""

import signal
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from rig.waiting import PATIENCE, wait_until

SCRIPT = (files("snakemake_executor_plugin_lepton") / "job.sh").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job.sh").write_text(SCRIPT)
    return tmp_path


def start(folder: Path, command: str, limit: int = 0) -> "subprocess.Popen[str]":
    (folder / "command.sh").write_text(f"set -euo pipefail; {command}\n")
    words = ["bash", str(folder / "job.sh"), str(folder), str(limit)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, command: str, limit: int = 0) -> tuple[int, str]:
    job = start(folder, command, limit)
    output, _ = job.communicate(timeout=PATIENCE)
    return job.returncode, output


def wait_for(path: Path) -> None:
    wait_until(path.exists, told=lambda: path)


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 7", 7), ("false | cat", 1)])
def test_the_exit_code_is_written_as_the_last_thing(folder: Path, command: str, code: int) -> None:
    assert run(folder, f"echo said; {command}") == (code, "said\n")
    assert (folder / "exit").read_text() == f"{code}\n"


def test_quotes_and_dollars_reach_the_command_as_they_are(folder: Path) -> None:
    assert run(folder, """echo "it's" '$HOME' "$((1 + 1))" """)[1] == "it's $HOME 2\n"


def test_the_time_limit_ends_the_command_and_says_so(folder: Path) -> None:
    code, _ = run(folder, "touch began; sleep 60", limit=1)
    assert code == 124
    assert (folder / "exit").read_text() == "124 timeout\n"


def test_a_command_that_ends_with_the_number_of_a_time_out_has_met_none(folder: Path) -> None:
    run(folder, "exit 124", limit=600)
    assert (folder / "exit").read_text() == "124\n"


@pytest.mark.parametrize("limit", [0, 600])
def test_a_job_that_is_stopped_passes_it_on_and_writes_no_end(folder: Path, limit: int) -> None:
    # given a command that closes its work when it is told to
    job = start(folder, "trap 'touch closed; exit 9' TERM; touch began; sleep 60 & wait", limit)
    wait_for(folder / "began")

    job.send_signal(signal.SIGTERM)

    # then it could, and the job may be started anew
    assert job.wait(PATIENCE) == 143
    assert (folder / "closed").exists()
    assert not (folder / "exit").exists()
    assert run(folder, "true")[0] == 0


def test_a_second_start_of_an_ended_job_repeats_nothing(folder: Path) -> None:
    run(folder, "exit 4")
    assert run(folder, "touch again") == (4, "")
    assert not (folder / "again").exists()


def test_nothing_of_the_command_outlives_it(folder: Path) -> None:
    run(folder, "(sleep 300 & echo $! >pid); true")
    pid = (folder / "pid").read_text().strip()

    def is_over() -> bool:
        try:
            return "sleep" not in Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return True

    wait_until(is_over)


def test_a_folder_that_is_not_in_the_job_is_named(folder: Path) -> None:
    (folder / "command.sh").write_text("true\n")
    done = subprocess.run(
        ["bash", str(folder / "job.sh"), "/not/there", "0"], capture_output=True, text=True
    )
    assert done.returncode == 125 and "/not/there" in done.stderr


INNER = "trap 'sleep 1; touch closed; exit 9' TERM; touch began; while :; do sleep 0.1; done"


@pytest.mark.parametrize("how", ["stopped", "its time limit"])
def test_a_program_of_the_command_can_close_its_work_too(folder: Path, how: str) -> None:
    # given a program that the command waits for, as a rule's `bash run.sh`
    (folder / "inner.sh").write_text(INNER)

    job = start(folder, "bash inner.sh", limit=600 if how == "stopped" else 2)
    wait_for(folder / "began")
    if how == "stopped":
        job.send_signal(signal.SIGTERM)

    assert job.wait(PATIENCE) == (143 if how == "stopped" else 124)
    assert (folder / "closed").exists()
