"""clean: shows what nobody needs any more, removes it only with yes=true, and never a result."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest
from quiz_project import contents, edit, params_of, target

from rig.pipeline import Project
from snakeval.run_folder import controller
from snakeval.run_folder.layout import RunPaths, TaskPaths
from snakeval.runs import clean

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


@pytest.fixture(scope="module")
def littered_once(finished_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run with a task put aside by `fresh=`, and an attempt of a spec that was left."""
    folder = tmp_path_factory.mktemp("littered") / "project"
    shutil.copytree(finished_once.folder, folder, symlinks=True)
    project = Project(folder, finished_once.url)
    project.snakemake("--config", "fresh=quiz").check()
    task = project.task("quiz")
    (digest,) = (path.name for path in (task / "published").iterdir())
    left = task / "work" / "0123456789ab"
    shutil.copytree(task / "work" / digest, left)
    return project


@pytest.fixture
def littered(littered_once: Project, tmp_path: Path) -> Project:
    """A copy of it, to be cleaned."""
    shutil.copytree(littered_once.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", littered_once.url)


def look(project: Project) -> clean.Found:
    return clean.look(RunPaths(project.run_folder), [], CATALOGUE)


def going(found: clean.Found) -> set[str]:
    return {item.where for item in found.leftovers}


def test_clean_shows_first_and_removes_only_what_nobody_needs(littered: Project) -> None:
    before, rows = contents(littered.run_folder), littered.rows()
    published = {str(path.resolve()) for path in littered.run_folder.glob("*/published/*")}

    shown = target(littered, "clean").check()

    # given nothing but a look, nothing has changed
    assert contents(littered.run_folder) == before
    assert "can go; nothing was removed. The same command with yes=true removes it" in shown.output
    caches = [name for name in before if "lm_cache_rank0.db" in name]
    assert len(caches) == 1
    for name in (*caches, "quiz/work/0123456789ab  (unfinished, of an earlier spec)"):
        assert name in shown.output
    assert ".1  (put aside by fresh=)" in shown.output

    # when it is told to, then only that goes, and every result and table stays
    removed = target(littered, "clean", "--config", "yes=true").check()

    assert " removed\n" in removed.output
    gone = set(before) - set(contents(littered.run_folder))
    assert all(
        name in caches or name.startswith(("quiz/work/0123456789ab/", "quiz/work/"))
        for name in gone
    )
    assert {str(path.resolve()) for path in littered.run_folder.glob("*/published/*")} == published
    assert all(Path(path).is_dir() for path in published)
    for name in before:
        if "/work/" not in name:
            assert (littered.run_folder / name).is_symlink() or (
                littered.run_folder / name
            ).exists()
    again = littered.snakemake().check()
    assert "Nothing to be done" in again.output
    shutil.rmtree(littered.run_folder / "results")
    littered.snakemake().check()
    assert littered.rows() == rows
    assert "nothing can go" in target(littered, "clean").check().output


def test_published_result_of_an_earlier_spec_stays_and_is_named(finished: Project) -> None:
    # given a spec that was changed, and evaluated
    (earlier,) = (path.name for path in (finished.task("quiz.1") / "published").iterdir())
    edit(
        finished, lambda config: params_of(config["evaluation"]["tasks"][1])["extra"].update(seed=9)
    )
    finished.snakemake().check()

    found = look(finished)

    assert not any(earlier in where for where in going(found))
    assert any(f"work/{earlier}" in line and "published result" in line for line in found.kept)


def test_what_earlier_attempts_left_goes_where_a_later_one_has_published(littered: Project) -> None:
    paths = TaskPaths(littered.task("quiz"))
    paths.left_before(2).mkdir()
    (paths.left_before(2) / "predictions.json").write_text("[]")
    (digest,) = (path.name for path in (paths.dir / "published").iterdir())

    assert "quiz/logs/left-before-2" in going(look(littered))
    target(littered, "clean", "--config", "yes=true").check()
    assert not paths.left_before(2).exists() and paths.logs.is_dir()

    paths.left_before(3).mkdir()
    paths.complete(digest).unlink()
    assert "quiz/logs/left-before-3" not in going(look(littered))


def test_nothing_of_a_task_that_runs_is_touched(littered: Project) -> None:
    # given a lease with a live owner and a fresh heartbeat
    lease = littered.task("quiz") / "lease"
    lease.mkdir()
    namespace = Path("/proc/self/ns/pid").readlink()
    (lease / "owner").write_text(f"host={platform.node()} {namespace}\npid={os.getpid()}\n")
    (lease / "beat").touch()

    found = look(littered)

    assert not any(where.startswith("quiz/") for where in going(found))
    assert any(line.startswith(f"quiz: pid {os.getpid()} on ") for line in found.kept)

    # and a dead one's does not keep it
    (lease / "owner").write_text(f"host={platform.node()} {namespace}\npid=999999999\n")
    assert "quiz/work/0123456789ab" in going(look(littered))


def test_nothing_of_a_run_that_is_driven_is_touched(littered: Project) -> None:
    before = contents(littered.run_folder)
    hold = controller.Hold(RunPaths(littered.run_folder).controller)

    shown = target(littered, "clean").check()
    refused = target(littered, "clean", "--config", "yes=true").refused()

    hold.release()
    assert f"everything: pid {os.getpid()} on {platform.node()} drives the run" in shown.output
    assert "is driven by another start" in refused.output
    assert contents(littered.run_folder) == before


def test_all_runs_and_json(littered: Project) -> None:
    shutil.rmtree(littered.folder / "home")  # it knows the run that this is a copy of
    other = littered.run_folder.with_name("2026-01-02-03-04-05-0123abcd")
    shutil.copytree(littered.run_folder, other, symlinks=True)

    both = target(littered, "clean", "--config", "run=all")
    one = target(littered, "clean", "--config", "run=2026-01-02", "as=json")

    assert both.check().output.count("quiz/work/0123456789ab") == 2
    assert '"where": "quiz/work/0123456789ab"' in one.check().output
