"""Files for others: the launcher's shapes, tidy tables, artifacts, Every Eval Ever."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from published import make, publish, publish_all, unpublish

from rig.every_eval_ever import validate
from snakeval.config.export import LocalExport
from snakeval.export.destinations import Outcome, export_run
from snakeval.export.items import items
from snakeval.export.mlflow_record import metric_name
from snakeval.plan.run import Run
from snakeval.results.tables import COLUMNS


def export(run: Run, **options: Any) -> Outcome:
    config = run.config.model_copy(
        update={"export": run.config.export.model_copy(update={"local": LocalExport(**options)})}
    )
    [outcome] = export_run(run, config, ["local"])
    assert outcome.failed is None, outcome
    return outcome


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_launchers_json_and_csv(run: Run) -> None:
    export(run)

    folder = run.paths.exports("local")
    content = json.loads((folder / "results.json").read_text())
    assert set(content) == {"export_timestamp", "benchmarks"}
    [entry] = content["benchmarks"]["quiz1"]["models"]["org/model-1"]
    assert entry == {
        "invocation_id": run.paths.id,
        "job_id": f"{run.paths.id}.quiz1",
        "harness": "own",
        "container": None,
        "scores": {"quiz1_accuracy": 0.1, "quiz1_pass@1": 0.5},
        "timestamp": "2026-11-22T01:02:03Z",
        "executor": "local",
    }
    wide = list(csv.DictReader((folder / "results.csv").open()))
    assert wide[1]["Model Name"] == "org/model-1"
    assert wide[1]["quiz1_accuracy"] == "0.1"
    assert wide[1]["quiz2_accuracy"] == ""


def test_tidy_csv_and_parquet_hold_the_same_rows(run: Run) -> None:
    export(run)

    folder = run.paths.exports("local")
    parquet = pd.read_parquet(folder / "results_tidy.parquet")
    text = pd.read_csv(folder / "results_tidy.csv")
    assert list(parquet.columns) == list(text.columns) == list(COLUMNS)
    assert list(parquet["value"]) == list(text["value"]) == [0.0, 0.5, 0.1, 0.5, 0.2, 0.5]
    assert parquet["n"].dropna().tolist() == [8] * 6


def test_log_metrics_filters_every_file(run: Run) -> None:
    export(run, log_metrics=["PASS"])

    folder = run.paths.exports("local")
    content = json.loads((folder / "results.json").read_text())["benchmarks"]
    assert content["quiz0"]["models"]["org/model-1"][0]["scores"] == {"quiz0_pass@1": 0.5}
    assert set(pd.read_csv(folder / "results_tidy.csv")["metric"]) == {"pass@1"}
    assert "accuracy" not in (folder / "results.csv").read_text()


def test_artifacts_are_copied_only_when_asked(run: Run) -> None:
    folder = run.paths.exports("local")
    export(run)
    assert not (folder / "quiz0").exists()

    export(run, copy_artifacts=True)
    assert files(folder / "quiz0") == {"artifacts/results.json"}

    export(run, copy_artifacts=True, only_required=False, copy_logs=True)
    copied = files(folder / "quiz0")
    assert {"artifacts/details/answers.jsonl", "logs/evaluate.1.log"} <= copied


def test_caches_databases_locks_and_secrets_are_never_copied(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # given a file that holds the value of a variable, and a link out of the folder
    run = make(tmp_path / "..", env_vars={"HF_TOKEN": "host:MY_TOKEN"})
    publish_all(run)
    monkeypatch.setenv("MY_TOKEN", "a-value-of-a-token")
    work = run.tasks[0].paths.work(run.tasks[0].digest)
    (work / "request.json").write_text('{"Authorization": "Bearer a-value-of-a-token"}')
    (tmp_path / "outside").write_text("outside")
    (work / "link.json").symlink_to(tmp_path / "outside")

    outcome = export(run, copy_artifacts=True, only_required=False, copy_logs=True)

    assert files(run.paths.exports("local") / "quiz0" / "artifacts") == {
        "results.json",
        "details/answers.jsonl",
    }
    assert any("artifacts/request.json" in note for note in outcome.notes)
    assert not any("a-value" in note for note in outcome.notes)


def test_output_dir_and_format_of_the_launcher(run: Run, tmp_path: Path) -> None:
    export(run, output_dir=str(tmp_path / "shared"), format="json", output_filename="all.json")

    folder = tmp_path / "shared" / run.paths.id
    assert (folder / "all.json").read_text() == (folder / "results.json").read_text()
    assert (run.paths.exports("local") / "quiz0.json").exists()
    assert not (run.paths.exports("local") / "results.json").exists()
    export(run, output_dir=str(tmp_path / "shared"), format="csv")
    assert (folder / "processed_results.csv").read_text() == (folder / "results.csv").read_text()


def test_nothing_is_written_twice_and_what_is_gone_goes(run: Run) -> None:
    folder = run.paths.exports("local")
    assert export(run, copy_artifacts=True).sent == 3
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}

    assert export(run, copy_artifacts=True).sent == 0
    assert {name: (folder / name).stat().st_mtime_ns for name in files(folder)} == before

    publish(run.tasks[0], when="2026-11-22T02:00:00Z", accuracy=0.9)
    unpublish(run.tasks[2])
    assert export(run, copy_artifacts=True).sent == 1
    content = json.loads((folder / "results.json").read_text())["benchmarks"]
    assert set(content) == {"quiz0", "quiz1"}
    assert not (folder / "quiz2.json").exists()
    assert not (folder / "quiz2" / "artifacts").exists()


def test_two_exports_of_a_run_at_once_send_everything_once(run: Run) -> None:
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: export(run), range(2)))

    assert sorted(outcome.sent for outcome in outcomes) == [0, 3]


def test_one_changed_result_of_many_is_one(tmp_path: Path) -> None:
    run = make(tmp_path, tasks=500)
    publish_all(run)
    assert export(run).sent == 500

    publish(run.tasks[31], when="2026-11-22T02:00:00Z", accuracy=0.9)

    assert export(run).sent == 1


@pytest.mark.parametrize("model", ["org/model-1", "flat-model", "a/b/c:latest"])
def test_every_eval_ever_records_are_accepted_by_its_own_validator(
    tmp_path: Path, model: str
) -> None:
    run = make(tmp_path, model=model)
    publish_all(run)
    export(run)

    folder = run.paths.exports("local") / "every_eval_ever"
    records = sorted(folder.rglob("*.json"))
    assert len(records) == 3
    reports = validate(records)
    assert [(report["valid"], report["errors"], report["warnings"]) for report in reports] == [
        (True, [], [])
    ] * 3
    [result, _] = json.loads(records[0].read_text())["evaluation_results"]
    assert result["score_details"]["uncertainty"] == {
        "standard_error": {"value": 0.05},
        "num_samples": 8,
    }
    # nobody says which way these scores are better, and the schema knows no other word
    assert "guessed" in result["score_details"]["details"]["lower_is_better"]


def test_folder_that_cannot_be_written_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = run.config.model_copy(
        update={
            "export": run.config.export.model_copy(
                update={"local": LocalExport(output_dir=str(tmp_path / "file"))}
            )
        }
    )
    [outcome] = export_run(run, config, ["local"])

    assert outcome.sent == 0
    assert outcome.failed is not None and "cannot be written: Not a directory" in outcome.failed


def test_variants_have_their_parameters_in_every_name_that_people_read(tmp_path: Path) -> None:
    def entry(**params: Any) -> dict[str, Any]:
        return {
            "name": "own.quiz0",
            "nemo_evaluator_config": {"config": {"params": {"extra": params}}},
        }

    tasks = [entry(shots=0), entry(shots=5), {"name": "own.quiz1", "label": "sums"}]
    run = make(tmp_path, evaluation={"tasks": tasks})
    publish_all(run)

    export(run)

    folder = run.paths.exports("local")
    tidy = pd.read_csv(folder / "results_tidy.csv").drop_duplicates("label")
    assert dict(zip(tidy["label"], tidy["task"], strict=True)) == {
        "quiz0 [shots=0]": "quiz0",
        "quiz0 [shots=5]": "quiz0.1",
        "sums": "quiz1",
    }
    wide = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["Task Name"] for row in wide] == ["quiz0 [shots=0]", "quiz0 [shots=5]", "sums"]
    assert wide[1]["quiz0 [shots=5]_accuracy"] == "0.1"
    [entry_of_sums] = json.loads((folder / "results.json").read_text())["benchmarks"]["quiz1"][
        "models"
    ]["org/model-1"]
    assert entry_of_sums["label"] == "sums"
    assert set(entry_of_sums["scores"]) == {"sums_accuracy", "sums_pass@1"}
    assert metric_name("quiz0 [shots=5]_accuracy") == "quiz0 shots:5_accuracy"


def test_label_that_is_given_later_sends_nothing_again(tmp_path: Path) -> None:
    plain = make(tmp_path, tasks=1)
    publish_all(plain)
    [before] = items(plain)
    entry = {"name": "own.quiz0", "label": "sums"}
    [after] = items(make(tmp_path, tasks=1, evaluation={"tasks": [entry]}))

    assert after.label == "sums"
    assert after.digest(LocalExport(), "x") == before.digest(LocalExport(), "x")
