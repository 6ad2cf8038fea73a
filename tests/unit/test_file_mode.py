"""execution.file_mode: whoever shares a run folder can use it, whatever the caller's umask is."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snakeval.errors import InputError
from snakeval.executors.profile import Profile
from snakeval.executors.registry import executor
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.render.server import render as render_server
from snakeval.start.begin import begin
from snakeval.start.this_start import ThisStart

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
WRITTEN = {"group": (0o664, 0o775), "0640": (0o640, 0o750), "600": (0o600, 0o700)}
"""file_mode -> of files, of folders"""


@pytest.fixture(autouse=True)
def _umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is noted in the user's list of runs: not in that of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def planned(file_mode: Any, **sections: Any) -> Run:
    content = {
        "execution": {"output_dir": "out", "min_free_gb": 0, "file_mode": file_mode},
        "deployment": {"type": "process", "command": "x {port}", "served_model_name": "m"},
        "harnesses": {"own": {"kind": "command", "command": "true", "tasks": {"quiz": None}}},
        "evaluation": {"tasks": [{"name": "own.quiz"}]},
        **sections,
    }
    Path("my.yaml").write_text(json.dumps(content))
    (run,) = plan([Path("my.yaml")], {}, CATALOGUE)
    return run


def modes(folder: Path) -> tuple[set[int], set[int]]:
    """The modes of its files that are no programs, and those of it and its folders."""
    found = [each for each in (folder, *folder.rglob("*")) if not each.is_symlink()]
    files = {each.stat().st_mode & 0o777 for each in found if each.is_file()}
    folders = {each.stat().st_mode & 0o777 for each in found if each.is_dir()}
    return {mode for mode in files if not mode & 0o100}, folders


def started(run: Run) -> Path:
    """The run folder that a start has made."""
    asked = dict.fromkeys(run.tasks, "process")
    start = ThisStart("start", (run,), asked, executor("local"), Profile(), logging.getLogger())
    for hold in begin(start):
        hold.release()
    return run.paths.dir


@pytest.mark.parametrize("mode", WRITTEN)
def test_a_start_writes_files_of_that_mode(mode: str) -> None:
    assert modes(started(planned(mode))) == tuple({each} for each in WRITTEN[mode])


def test_without_it_files_are_those_of_the_umask() -> None:
    assert modes(started(planned(None))) == ({0o640}, {0o750})


def test_a_config_with_secrets_is_not_shared() -> None:
    assert modes(started(planned("group", allow_inline_secrets=True))) == ({0o600}, {0o700})


@pytest.mark.parametrize("mode", WRITTEN)
def test_scripts_by_hand_write_files_of_that_mode(mode: str, tmp_path: Path) -> None:
    run = planned(mode)
    # a server's: what it makes before it does anything
    head, found, _ = render_server(run.servers["model"], "process", None).partition("\nhere=")
    assert found
    made = tmp_path / "made"
    words = f"{head}\nmkdir {made} && : >{made}/file"
    subprocess.run(["bash", "-c", words], check=True, stdout=subprocess.DEVNULL)
    assert modes(made) == tuple({each} for each in WRITTEN[mode])
    # a task's: what it writes before it finds that no server is up
    task = started(run) / "quiz"
    subprocess.run(["bash", task / "run.sh", "harness"], check=False, stdout=subprocess.DEVNULL)
    assert modes(task / "by-hand") == tuple({each} for each in WRITTEN[mode])


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o664, "octal digits in quotes"),
        ("rw-rw----", "octal digits in quotes"),
        ("8", "octal digits in quotes"),
        (True, "octal digits in quotes"),
        ("0666", "would let everybody write"),
        ("0777", "would let everybody write"),
        ("0440", "yours to read and write"),
        ("0755", "are no programs"),
    ],
)
def test_what_is_no_mode_or_open_to_all_is_refused(mode: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(mode)
