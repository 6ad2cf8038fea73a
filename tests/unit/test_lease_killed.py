"""A lease has its owner, or is not there, whenever who takes it or gives it back is killed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rig.killed import a_lease, dead_owner, kills
from snakeval.job import lease
from snakeval.job.supervisor_lease import SupervisorLease
from snakeval.run_folder.layout import RunPaths


@pytest.fixture
def dead() -> str:
    return dead_owner()


def test_one_that_is_killed_while_it_takes_a_lease_leaves_none_without_an_owner(
    tmp_path: Path, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lease"
    for step in itertools.count():
        if not kills(lambda: lease.make(folder, dead), monkeypatch, step):
            assert step > 1 and lease.text_of(folder) == dead
            break
        assert not folder.exists()
    assert lease.remove(folder, dead) and list(tmp_path.iterdir()) == []


def test_one_that_is_killed_while_it_gives_a_lease_back_leaves_none_without_an_owner(
    tmp_path: Path, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lease"
    for step in itertools.count():
        a_lease(folder, dead)
        was_killed = kills(lambda: lease.remove(folder, dead), monkeypatch, step)
        assert not folder.exists() or lease.text_of(folder) == dead
        # The next one begins at once, and clears away what is left.
        if folder.exists():
            assert lease.remove(folder, dead)
        assert lease.make(folder, dead) and lease.remove(folder, dead)
        assert list(tmp_path.iterdir()) == []
        if not was_killed:
            assert step > 3
            return


def test_the_next_supervisor_of_a_server_does_not_wait_for_one_that_was_killed_at_its_end(
    tmp_path: Path, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abcd").server("model")
    for step in itertools.count():
        a_lease(paths.lease, dead)
        ended = SupervisorLease(paths, dead)
        was_killed = kills(ended.release, monkeypatch, step)
        after = SupervisorLease(paths, lease.this_process())
        assert after.take()
        after.release()
        assert not paths.lease.exists()
        if not was_killed:
            return
