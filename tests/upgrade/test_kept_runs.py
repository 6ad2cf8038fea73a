"""Run folders made by earlier versions, kept as they were: this version finds them finished.

`kept/<version>` was made once by make_kept_run.py, and is never made again: a test that fails here
means that an upgrade would evaluate finished benchmarks anew, or could not read them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rig.pipeline import Finished, Project
from snakeval.plan.make import plan
from snakeval.runs.version_1 import take_over

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
    assert take_over(run) == []

    assert run.paths.id == kept.run_folder.name
    assert len(run.tasks) == 3
    for task in run.tasks:
        assert task.published, task.name
        assert task.paths.published(task.digest).is_symlink()


def test_nothing_is_planned_or_changed(kept: Project) -> None:
    before = contents(kept)

    looked, started = kept.snakemake("-n").check(), kept.snakemake().check()

    assert looked.planned == 0
    for ended in (looked, started):
        assert "Nothing to be done" in ended.output
    assert contents(kept) == before


def contents(project: Project) -> dict[Path, tuple[int, int]]:
    """Every file with size and time, but for what is made where a folder of version 1 is met."""
    run = project.run_folder
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in run.rglob("*")
        if (path.is_symlink() or path.is_file())
        and path != run / "run.json"
        and path.relative_to(run).parts[1:2] != ("record",)
    }


def test_what_is_taken_over_was_checked_and_is_bound_to_its_files(kept: Project) -> None:
    kept.snakemake("-n").check()

    assert json.loads((kept.run_folder / "run.json").read_text())["layout"] == 2
    for name in ("quiz", "snakeval_sums", "mmlu_instruct"):
        (ours,) = (kept.task(name) / "record").iterdir()
        assert json.loads((ours / "check.json").read_text())["passed"] is True
        assert json.loads((ours / "complete").read_text())["files"]
        assert not (ours / "version_1").exists()


def forge(project: Project) -> Path:
    """A harness that has failed, and has left a mark of version 1 and a fine score."""
    task = project.task("quiz")
    told = json.loads((task / "status.json").read_text())
    told["attempts"][-1].update(state="failed", exit_code=1)
    (task / "status.json").write_text(json.dumps(told))
    (work,) = (task / "work").iterdir()
    scores = json.loads((work / "scores.json").read_text())
    (work / "scores.json").write_text(json.dumps({**scores, "scores": {"accuracy": 1.0}}))
    return work


def test_a_forged_mark_of_version_1_is_not_believed(kept: Project) -> None:
    forge(kept)

    looked = kept.snakemake("-n").check()

    assert looked.planned == 1
    assert "its result was published by an earlier version, and does not hold" in looked.output
    status = target(kept, "status", "--config", f"run={kept.run_folder}")
    assert "2 of 3 published" in status.output


def test_a_result_of_version_1_that_does_not_hold_is_not_believed(kept: Project) -> None:
    (work,) = (kept.task("quiz") / "work").iterdir()
    (work / "scores.json").write_text('{"scores": {"accuracy": "fine"}}')

    looked = kept.snakemake("-n").check()

    assert looked.planned == 1


def test_a_mark_that_appears_in_a_work_folder_afterwards_counts_for_nothing(kept: Project) -> None:
    kept.snakemake("-n").check()
    (ours,) = (kept.task("quiz") / "record").iterdir()
    shutil.rmtree(ours)  # the work folder still has the mark of version 1

    assert kept.snakemake("-n").check().planned == 1


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
