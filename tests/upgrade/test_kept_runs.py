"""Run folders made by earlier versions, kept as they were: this version finds them finished.

`kept/<version>` was made once by make_kept_run.py, and is never made again: a test that fails here
means that an upgrade would evaluate finished benchmarks anew, or could not read them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rig.pipeline import Finished, Project
from snakeval.plan.make import plan

KEPT = sorted((Path(__file__).parent / "kept").iterdir())
NOWHERE = "http://127.0.0.1:9/v1/chat/completions"
CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A copy of the folder of somebody who has upgraded. Nothing listens at the endpoint."""
    shutil.copytree(request.param, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", NOWHERE)


def target(project: Project, *words: str) -> Finished:
    snakemake, snakefile = project.command()[0], str(project.snakefile)
    return project.run(snakemake, "-s", snakefile, *words).check()


def test_digests_are_the_same(kept: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept.folder)

    (run,) = plan([Path("my.yaml")], {}, CATALOGUE)

    assert run.paths.id == kept.run_folder.name
    assert len(run.tasks) == 3
    for task in run.tasks:
        assert task.published, task.name
        assert task.paths.published(task.digest).is_symlink()


def test_nothing_is_planned_or_changed(kept: Project) -> None:
    before = {path: path.lstat().st_mtime_ns for path in kept.run_folder.rglob("*")}

    looked, started = kept.snakemake("-n").check(), kept.snakemake().check()

    assert looked.planned == 0
    for ended in (looked, started):
        assert "Nothing to be done" in ended.output
    assert {path: path.lstat().st_mtime_ns for path in kept.run_folder.rglob("*")} == before


def test_tables_can_be_made_anew(kept: Project) -> None:
    rows = kept.rows()
    assert {row["state"] for row in rows} == {"published"}
    shutil.rmtree(kept.run_folder / "results")

    ended = kept.snakemake().check()

    # columns may have come since
    anew = [{key: row[key] for key in old} for old, row in zip(rows, kept.rows(), strict=True)]
    assert anew == rows
    assert "3 of 3 benchmarks published" in ended.output


def test_run_that_was_handed_on_is_read_without_its_config(kept: Project, tmp_path: Path) -> None:
    # given the run folder alone: no config, no files that define the benchmarks
    away = Project(tmp_path / "away", NOWHERE)
    away.folder.mkdir()
    shutil.copytree(kept.run_folder.parent, away.folder / "results", symlinks=True)
    shutil.rmtree(kept.folder)
    prefix = ("--config", f"run={next((away.folder / 'results').iterdir()).name}")

    status = target(away, "status", *prefix)
    exported = target(away, "export_all", *prefix)

    assert "3 of 3 published" in status.output
    assert "local: 3 new or changed" in exported.output


def test_script_of_the_earlier_version_still_says_that_it_is_finished(kept: Project) -> None:
    for name in ("quiz", "snakeval_sums", "mmlu_instruct"):
        ended = kept.run("bash", str(kept.task(name) / "run.sh")).check()

        assert "finished before; nothing is asked again" in ended.output
