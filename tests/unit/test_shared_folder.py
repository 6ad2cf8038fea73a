"""Whether a folder that two machines share carries locks is tried, not assumed."""

import threading
from pathlib import Path

import pytest

from snakeval.job import shared_folder


def both(mine: Path, theirs: Path) -> list[str]:
    """What each side says about the folder that it sees."""
    said = ["", ""]

    def meet(index: int, folder: Path, me: str, other: str) -> None:
        said[index] = shared_folder.met(folder, me, other, patience=1)[0]

    sides = [
        threading.Thread(target=meet, args=(0, mine, "controller", "node")),
        threading.Thread(target=meet, args=(1, theirs, "node", "controller")),
    ]
    for side in sides:
        side.start()
    for side in sides:
        side.join()
    return said


def test_in_a_folder_that_is_shared_locks_hold(tmp_path: Path) -> None:
    assert both(tmp_path, tmp_path) == ["", ""]
    assert all((tmp_path / str(number)).is_dir() for number in range(shared_folder.ROUNDS))


def test_a_folder_that_is_not_the_same_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert both(tmp_path / "a", tmp_path / "b") == [
        "here-node was not seen within 1 s",
        "here-controller was not seen within 1 s",
    ]


def test_a_folder_that_two_can_make_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "makes", lambda folder: True)
    assert both(tmp_path, tmp_path) == ["50 of 50 folders were made on both machines"] * 2


def test_a_heartbeat_that_stays_old_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.utime", lambda *_: None)
    assert both(tmp_path, tmp_path) == ["a new heartbeat was not seen within 1 s"] * 2


def test_a_folder_that_nobody_could_make_is_told() -> None:
    assert shared_folder.verdict([0, 1], [2]) == "47 of 50 folders were made on neither machine"
