"""A failed benchmark hides no other, and no score stands for another spec; tables and exports."""

import csv
import json
from pathlib import Path

import pandas as pd
from quiz_project import attempts, contents, edit, params_of, quiz, row, target, write

from rig.endpoint import Fault, ScriptedEndpoint
from rig.pipeline import SUMS, Project

COLUMNS = [
    "run",
    "model",
    "harness",
    "task",
    "label",
    "group",
    "subtask",
    "metric",
    "score",
    "value",
    "stderr",
    "n",
    "better",
    "lowest",
    "highest",
    "unit",
    "headline",
    "scored",
    "expected",
    "unanswered",
    "state",
    "cause",
    "image",
    "artifacts",
    "requests",
    "answers",
    "replayed",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "median_latency_ms",
    "p99_latency_ms",
    "answers_per_second",
    "tokens_per_second",
]


def test_failed_benchmark_hides_no_other_and_is_the_only_one_continued(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given one benchmark whose command fails for now, between two that do not
    broken = project.folder / "broken"
    write(project, [quiz(seed=1), quiz("own.riddle", fails_while=str(broken)), SUMS])
    broken.touch()

    ended = project.snakemake().refused()

    # then the others are published and shown, and the failed one is a row with its cause
    assert {row["task"]: row["state"] for row in project.rows()} == {
        "quiz": "published",
        "riddle": "failed",
        "snakeval_sums": "published",
    }
    failed = row(project, "riddle")
    assert failed["value"] is None
    assert failed["metric"] is None
    assert failed["artifacts"] is None
    assert "exit code 1" in failed["cause"]
    assert "2 of 3 benchmarks published" in ended.output
    assert failed["cause"] in " ".join(ended.output.replace("│", " ").split())
    tables = json.loads((project.run_folder / "results" / "results.json").read_text())
    assert tables["tasks"] == {"published": 2, "all": 3}
    # and the samples of those that keep them are in one table
    samples = pd.read_parquet(project.run_folder / "results" / "samples.parquet")
    assert list(samples["task"]) == ["snakeval_sums"] * 8
    assert samples["score"].mean() == row(project, "snakeval_sums")["value"]
    # and the local profile has tried it once more
    assert attempts(project) == {"quiz": 1, "riddle": 2, "snakeval_sums": 1}

    # when what was broken is repaired, the next start asks only what is missing
    broken.unlink()
    asked = endpoint.requests.total()
    assert project.snakemake("-n").check().planned == 1
    ended = project.snakemake().check()
    assert endpoint.requests.total() - asked == 8
    assert attempts(project) == {"quiz": 1, "riddle": 3, "snakeval_sums": 1}
    assert "3 of 3 benchmarks published" in ended.output
    assert row(project, "riddle")["value"] is not None


def test_endpoint_that_fails_for_one_benchmark_fails_that_one_only(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given an endpoint that answers the first benchmark and then no more
    write(project, [quiz(seed=1)])
    project.snakemake().check()
    endpoint.fault = Fault("status", status=400)
    edit(project, lambda config: config["evaluation"]["tasks"].append(SUMS))

    project.snakemake("--retries", "0").refused()

    assert row(project, "quiz")["value"] is not None
    failed = row(project, "snakeval_sums")
    assert (failed["state"], failed["value"]) == ("failed", None)
    assert failed["cause"]


def test_old_score_never_stands_under_a_new_spec(finished: Project) -> None:
    # given a finished benchmark whose changed spec fails
    old = row(finished, "quiz.1")
    assert old["value"] is not None

    def fail(config: dict[str, object]) -> None:
        params_of(config["evaluation"]["tasks"][1])["extra"]["exit_code"] = 3  # type: ignore[index]

    edit(finished, fail)
    ended = finished.snakemake("--retries", "0").refused()

    # then its row has a cause and no value, in both tables and on the screen
    new = row(finished, "quiz.1")
    assert (new["state"], new["value"], new["artifacts"]) == ("failed", None, None)
    with (finished.run_folder / "results" / "results.csv").open(newline="") as file:
        (line,) = [line for line in csv.DictReader(file) if line["task"] == "quiz.1"]
    assert (line["state"], line["value"]) == ("failed", "")
    assert "2 of 3 benchmarks published" in ended.output

    # and the export takes the ones that are published under their current spec
    assert "2 benchmarks at" in target(finished, "export_all").check().output
    exported = json.loads((finished.run_folder / "exports/local/results.json").read_text())
    assert set(exported["benchmarks"]) == {"quiz", "snakeval_sums"}


def test_tables_are_tidy_with_coverage_beside_every_score(finished: Project) -> None:
    folder = finished.run_folder / "results"
    table = pd.read_csv(folder / "results.csv")

    assert list(table.columns) == COLUMNS
    assert [list(row) for row in finished.rows()] == [COLUMNS] * len(table)
    assert list(table["task"]) == ["quiz", "quiz.1", "snakeval_sums"]
    assert list(table["label"]) == ["quiz [seed=1]", "quiz [seed=2]", "snakeval_sums"]
    assert list(table["harness"]) == ["own", "own", "rig"]
    assert list(table["metric"]) == ["accuracy", "accuracy", "exact_match"]
    assert set(table["model"]) == {"test-model"}
    assert set(table["state"]) == {"published"}
    assert set(table["run"]) == {finished.run_folder.name}
    for column in ("n", "scored", "expected"):
        assert table[column].dtype == "int64"
        assert set(table[column]) == {8}
    assert table["value"].between(0, 1).all()
    assert table["stderr"].gt(0).all()
    for path in table["artifacts"]:
        assert (finished.run_folder / path).is_dir()
    for item, line in zip(finished.rows(), table.to_dict("records"), strict=True):
        assert item["value"] == line["value"]
        assert isinstance(item["value"], float)
        assert isinstance(item["scored"], int)


def test_export_writes_files_and_receipts_and_sends_nothing_twice(finished: Project) -> None:
    folder = finished.run_folder / "exports" / "local"

    first = target(finished, "export_all").check()
    written = contents(folder)
    second = target(finished, "export_all").check()

    assert "3 new or changed, 3 benchmarks at exports/local" in first.output
    assert "0 new or changed, 3 benchmarks at exports/local" in second.output
    assert contents(folder) == written
    assert {name for name in written if not name.startswith("every_eval_ever/")} == {
        "results.json", "results.csv", "results_tidy.csv", "results_tidy.parquet",
        "quiz.json", "quiz.1.json", "snakeval_sums.json", ".lock",
    }  # fmt: skip
    scores = {row["task"]: row["value"] for row in finished.rows()}
    exported = json.loads((folder / "results.json").read_text())["benchmarks"]
    for task, value in scores.items():
        (entry,) = exported[task]["models"]["test-model"]
        assert list(entry["scores"].values()) == [value]
    wide = pd.read_csv(folder / "results.csv")
    assert list(wide["Task Name"]) == [row["label"] for row in finished.rows()]
    assert list(pd.read_csv(folder / "results_tidy.csv").columns) == COLUMNS


def test_export_before_any_run_is_a_clear_error(project: Project, tmp_path: Path) -> None:
    write(project, [quiz()])

    ended = target(project, "export_all").refused()

    assert "nothing has been evaluated with this config yet" in ended.output
    assert "evaluate first" in ended.output
    assert not (project.folder / "out").exists()
