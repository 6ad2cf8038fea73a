"""After an edit of a benchmark's own files a finished run still shows its result, and says so."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.built_runs import CATALOGUE, publish, records
from snakeval.cli.entry import definitions_changed, run_at
from snakeval.config.load import load
from snakeval.export.items import items
from snakeval.plan.make import make_run
from snakeval.plan.run import Run
from snakeval.results.tables import print_table, rows, write_tables
from snakeval.runs.status_table import print_status
from snakeval.start.begin import resolved_text
from snakeval.start.checks import edited


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """A finished run of a benchmark with files of its own."""
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "questions.json").write_text("[1]")
    own: dict[str, Any] = {"kind": "command", "command": "x", "files": "q", "tasks": {"quiz": None}}
    content = {
        "execution": {"output_dir": str(tmp_path / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "harnesses": {"own": own},
        "evaluation": {"tasks": ["own.quiz"]},
    }
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(content))
    run = make_run(load([file], {}), CATALOGUE)
    [task] = run.tasks
    task.paths.dir.mkdir(parents=True)
    run.paths.config.write_text(resolved_text(run))
    run.paths.record.write_text('{"tasks": ["quiz"]}')
    written = {"name": "quiz", "digest": task.digest, "identity": task.identity}
    task.paths.spec.write_text(yaml.safe_dump(written))
    publish(task, records([1, 0]))
    return run


def test_finished_run_shows_its_result_after_an_edit_and_says_so(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished.base / "q" / "questions.json").write_text("[1, 2]")

    run = run_at(finished.paths)
    write_tables(run, run.members)
    print_table(run, rows(run))
    print_status(run.paths, definitions_changed(run.paths))

    assert [(row["state"], row["value"]) for row in rows(run)] == [("published", 0.5)]
    assert [item.name for item in items(run)] == ["quiz"]
    assert capsys.readouterr().out.count("quiz: the benchmark's definition has changed since") == 2


def test_unchanged_definition_is_not_said_to_have_changed(finished: Run) -> None:
    assert definitions_changed(finished.paths) == []


def test_next_start_plans_the_new_definition(finished: Run) -> None:
    (finished.base / "q" / "questions.json").write_text("[1, 2]")

    run = make_run(load([finished.base / "my.yaml"], {}), CATALOGUE)

    assert run.paths.dir == finished.paths.dir
    assert not run.tasks[0].published
    [told] = edited(run.tasks)
    assert told.warning and "is evaluated again: its files are others" in told.what
    (finished.base / "q" / "questions.json").write_text("[1]")
    assert not list(edited(make_run(load([finished.base / "my.yaml"], {}), CATALOGUE).tasks))
