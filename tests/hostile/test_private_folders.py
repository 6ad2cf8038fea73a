"""Locks and claims lie where only their user writes, and none is left by who was killed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from snakeval.errors import InputError
from snakeval.job.keeper import images
from snakeval.job.keeper.job import Job
from snakeval.job.keeper.settings import Settings
from snakeval.run_folder.controller import Hold
from snakeval.start import gpus

ENGINE = """#!/bin/sh
case $1 in
    image) [ -e {here}/loaded ] && [ "$3" = sha256:abc ] ;;
    load) ls {parent}/snakeval-*/ >{here}/locks 2>&1; : >{here}/loaded ;;
esac
"""


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """In the place of /tmp."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def load(
    parent: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """What a job says that loads an image from an archive, and the image."""
    here = parent.parent
    (engine := here / "engine").write_text(ENGINE.format(here=here, parent=parent))
    engine.chmod(0o755)
    monkeypatch.setattr(images, "PARENT", str(parent))
    settings = Settings("quiz", "d", "docker", image="r.io/i:1", archive_id="sha256:abc")

    def said() -> str:
        job = Job(here / "run.sh", settings, {}, os.environ)
        image = images.loaded(job, str(engine), str(here / "a.tar"))
        return f"{capfd.readouterr().out}image={image}"

    return said


def mine(parent: Path) -> Path:
    return parent / f"snakeval-{os.getuid()}"


def test_a_lock_lies_in_a_folder_of_the_user_and_is_gone_afterwards(
    parent: Path, load: Callable[[], str]
) -> None:
    assert "image=sha256:abc" in load()
    assert (parent.parent / "locks").read_text() == "load-abc\n"
    assert mine(parent).stat().st_mode & 0o777 == 0o700
    assert list(mine(parent).iterdir()) == []


def test_a_lock_of_a_job_that_was_killed_is_removed(parent: Path, load: Callable[[], str]) -> None:
    mine(parent).mkdir(mode=0o700)
    (mine(parent) / "load-abc").symlink_to("99999999")
    (parent.parent / "loaded").touch()
    assert "image=sha256:abc" in load()
    assert list(mine(parent).iterdir()) == []


def others(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 54321, 54321)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("made", [others, open_to_all, a_link])
def test_a_folder_that_somebody_else_could_write_is_not_used(
    parent: Path, load: Callable[[], str], made: object
) -> None:
    if made is others and os.getuid() != 0:
        pytest.skip("only root gives folders away")
    made(mine(parent))  # type: ignore[operator]
    (parent / f"snakeval-{os.getuid()}/load-abc").symlink_to(str(os.getpid()))  # held for ever
    said = load()
    assert "is not this user's alone and is not used" in said and "image=sha256:abc" in said
    assert (mine(parent) / "load-abc").is_symlink()


@pytest.fixture
def run(parent: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that nobody drives."""
    monkeypatch.setattr(tempfile, "tempdir", str(parent))
    folder = parent.parent / "run"
    folder.mkdir()
    return folder


def claimed(start: str, run: Path, pid: int) -> Path:
    file = gpus.claims_file(start)
    file.write_text(json.dumps({str(run): {"devices": {"model": [0]}, "pids": [pid]}}))
    return file


def test_claims_of_a_killed_start_are_swept_by_the_next(run: Path) -> None:
    killed = claimed("killed", run, 99999999)
    deploying = claimed("deploying", run, os.getpid())  # its job still claims
    gpus.claims_file("begun").touch()
    gpus.found_up(own := gpus.claims_file("own"), [])
    assert not killed.exists() and deploying.exists() and own.exists()
    assert gpus.claims_file("begun").exists()
    os.utime(gpus.claims_file("begun"), (1, 1))
    gpus.sweep(own)
    assert not gpus.claims_file("begun").exists()


def test_claims_of_a_start_that_lives_stay(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKEVAL_START", "living")
    hold = Hold(run / "controller.json")
    living, other = claimed("living", run, 99999999), claimed("before", run, 99999999)
    gpus.sweep(gpus.claims_file("own"))
    assert living.exists() and not other.exists()
    hold.release()


@pytest.mark.parametrize("made", [others, open_to_all, a_link])
def test_claims_beside_which_somebody_else_writes_are_refused(run: Path, made: object) -> None:
    if made is others and os.getuid() != 0:
        pytest.skip("only root gives folders away")
    made(Path(tempfile.gettempdir()) / f"snakeval-{os.getuid()}-gpus")  # type: ignore[operator]
    with pytest.raises(InputError, match="not this user's alone"):
        gpus.claims_file("own")
