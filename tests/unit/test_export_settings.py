"""Settings of exports that are the launcher's: their variables, and files that stay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from snakeval.config.export import Export, LocalExport
from snakeval.config.source import host, written
from snakeval.errors import InputError
from snakeval.export.destinations import environment
from snakeval.export.files import artifacts
from snakeval.export.items import Item
from snakeval.export.stamps import stamp
from snakeval.plan.run import Run


def exporting(run: Run, **sections: object) -> Run:
    config = run.config.model_copy(update={"export": Export(**sections)})  # type: ignore[arg-type]
    return replace(run, config=config)


def test_variables_of_exports_are_named_not_written(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "value")
    given = {"MLFLOW_TRACKING_TOKEN": host("MY_TOKEN"), "A": written("text")}
    config = exporting(run).config
    config = config.model_copy(update={"export": Export().model_copy(update={"env_vars": given})})
    assert environment(config) == {"MLFLOW_TRACKING_TOKEN": "value", "A": "text"}

    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(InputError, match=r"export\.env_vars\.MLFLOW_TRACKING_TOKEN"):
        environment(config)


def test_patterns_keep_files_and_folders_here(run: Run) -> None:
    task = run.tasks[0]
    work = task.paths.work(task.digest)
    for name in ("results.json", "samples.jsonl", "big/part.txt", "kept/part.txt"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(json.dumps({}))
    item = Item.__new__(Item)
    object.__setattr__(item, "run", run)
    object.__setattr__(item, "task", task)
    options = LocalExport(
        copy_artifacts=True, only_required=False, exclude_patterns=["*.jsonl", "big"]
    )

    assert sorted(name for _, name in artifacts(item, options, True)) == [
        "kept/part.txt",
        "results.json",
    ]


def test_a_stamp_of_version_0_1_stays_one(run: Run) -> None:
    auto = run.config.execution.auto_export.model_copy(update={"destinations": ["local"]})
    execution = run.config.execution.model_copy(update={"auto_export": auto})
    run = replace(run, config=run.config.model_copy(update={"execution": execution}))
    without = stamp(run)
    named = stamp(exporting(run, local={"exclude_patterns": ["x"]}))
    assert without != named
