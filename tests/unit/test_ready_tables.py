"""A run's tables are written by a process that is ready for it; without it, as before."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.waiting import wait_until
from snakeval.results import ready

SCRIPT = """
import sys
from snakeval.errors import InputError, Problem
from snakeval.results.ready import serve

def imports():
    def write(run, members):
        if members == "refused":
            raise InputError([Problem(run, "is no run", "name another")])
        if members == "broken":
            raise ValueError("of some kind")
        if members == "gone":
            import os
            os._exit(9)
        print(f"about {run}", file=sys.stderr)
        return 3
    return write

sys.exit(serve(sys.argv[2], imports))
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ready.Ready]:
    monkeypatch.setenv(ready.ADDRESS, "")  # put back afterwards
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    begun = ready.Ready(script)
    wait_until(lambda: Path(os.environ[ready.ADDRESS]).exists())
    yield begun
    begun.end()


def asked(members: str) -> int | None:
    return ready.handed_over("some/run", members)


def test_what_it_says_and_its_exit_code_are_those_of_the_job(
    process: ready.Ready, capfd: pytest.CaptureFixture[str]
) -> None:
    assert asked("members") == 3
    assert capfd.readouterr().err == "about some/run\n"


def test_a_mistake_is_told_in_its_sentence_and_it_goes_on(
    process: ready.Ready, capfd: pytest.CaptureFixture[str]
) -> None:
    assert asked("refused") == 1
    assert "some/run: is no run" in capfd.readouterr().err
    assert asked("broken") == 1
    assert "ValueError: of some kind" in capfd.readouterr().err
    assert asked("members") == 3


def test_one_that_ends_over_it_leaves_the_work_to_who_asks(process: ready.Ready) -> None:
    assert asked("gone") is None
    assert asked("members") == 3


def test_from_another_folder_nobody_answers(
    process: ready.Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ready.handed_over("some/run", "members") is None


def test_without_it_who_asks_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ready.ADDRESS, raising=False)
    assert ready.handed_over("some/run", "members") is None
    monkeypatch.setenv(ready.ADDRESS, str(tmp_path / "nobody"))
    assert ready.handed_over("some/run", "members") is None
    with socket.socket(socket.AF_UNIX) as nobody_accepts:
        nobody_accepts.bind(str(tmp_path / "nobody"))
        assert ready.handed_over("some/run", "members") is None


def test_it_ends_with_its_start(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    start = (
        "import os, signal, sys; from pathlib import Path\n"
        "from snakeval.results.ready import Ready\n"
        "begun = Ready(Path(sys.argv[1])); print(begun._process.pid, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", start, str(script)], capture_output=True, text=True, check=False
    )
    pid = int(json.loads(ended.stdout))
    wait_until(lambda: not _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_a_start_has_left_that_was_shot_goes_with_the_next(process: ready.Ready) -> None:
    # given a start whose whole process group was shot, beside one that lives
    folder = Path(os.environ[ready.ADDRESS]).parent
    with subprocess.Popen(["true"]) as over:
        pass
    left, theirs = folder / f"{over.pid}.0.new", folder / f"{os.getppid()}.0"
    for name in (left, theirs):
        name.touch()
    try:
        assert ready._place().parent == folder
        assert not left.exists() and theirs.exists()
        assert asked("members") == 3
    finally:
        theirs.unlink()
