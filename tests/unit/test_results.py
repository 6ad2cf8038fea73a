"""Tables as people and programs read them: names of scores, coverage, states, exports."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rig.checked import publish_checked, write_spec
from snakeval.export.items import score_name
from snakeval.job import attempt, verify
from snakeval.plan.run import Run, Task
from snakeval.results import tables
from snakeval.results.tables import COLUMNS, coverage, metric_name, print_table, rows, write_tables
from snakeval.run_folder.layout import TaskPaths
from snakeval.run_folder.records import TaskState
from snakeval.runs import status_table
from snakeval.runs.status_table import duration, print_runs, print_status


def publish(task: Task, scores: dict[str, Any], **samples: int) -> None:
    """What a finished attempt leaves."""
    task.paths.work(task.digest).mkdir(parents=True, exist_ok=True)
    write_spec(task, {"format": "scores", "results": "results.json", "benchmark": task.name})
    content = {"scores": scores, "samples": samples}
    (task.paths.work(task.digest) / "results.json").write_text(json.dumps(content))
    publish_checked(task, ["results.json"])


def check(task: Task) -> None:
    """The check of a result, as run.sh calls it."""
    words = ["--record", str(task.paths.record(task.digest)), "--exit-code", "0"]
    assert verify.main([str(task.paths.work(task.digest)), *words]) == 0


def fail(task: Task, digest: str, cause: str) -> None:
    task.paths.dir.mkdir(parents=True, exist_ok=True)
    for words in (
        ["begin", str(task.paths.dir), "--digest", digest, "--runtime", "process"],
        ["end", str(task.paths.dir), "--number", "1", "--state", "failed", "--cause", cause],
    ):
        given = attempt.parser().parse_args(words)
        assert given.run(given) == 0


def test_row_per_score_and_a_row_with_its_cause_for_a_task_without_one(run: Run) -> None:
    quiz, riddle = run.tasks
    publish(quiz, {"accuracy": {"value": 0.5, "stderr": 0.1, "n": 4}, "length": 7.25},
            expected=4, scored=4)  # fmt: skip
    fail(riddle, riddle.digest, "the model was silent")

    found = rows(run)

    assert [list(row) for row in found] == [list(COLUMNS)] * 3
    assert [(row["task"], row["metric"], row["value"]) for row in found] == [
        ("quiz", "accuracy", 0.5),
        ("quiz", "length", 7.25),
        ("riddle", None, None),
    ]
    assert (found[2]["state"], found[2]["cause"]) == ("failed", "the model was silent")
    assert found[2]["artifacts"] is None


def test_checked_scores_are_what_everybody_reads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quiz = run.tasks[0]
    publish(quiz, {"accuracy": {"value": 0.5, "stderr": 0.1, "n": 4}}, expected=4, scored=4)
    before = rows(run)
    check(quiz)

    monkeypatch.delattr("snakeval.job.verify.read_results")

    assert rows(run) == [{**before[0], "unanswered": None}, before[1]]


@pytest.mark.parametrize(
    "content", ['{"scores": [1]}', '{"scores": [{"value": "high"}]}', "[", "[" * 10_000]
)
def test_broken_record_of_one_task_hides_no_other(run: Run, content: str) -> None:
    quiz, riddle = run.tasks
    publish(quiz, {"accuracy": 0.5})
    publish(riddle, {"accuracy": 0.7})
    quiz.paths.check_spec(quiz.digest).write_text("{")
    quiz.paths.check(quiz.digest).write_text(content)

    found = rows(run)

    assert [(row["task"], row["state"], row["value"]) for row in found] == [
        ("quiz", "unreadable", None), ("riddle", "published", 0.7),
    ]  # fmt: skip


def test_task_whose_reader_raises_anything_hides_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiz, riddle = run.tasks
    publish(riddle, {"accuracy": 0.7})
    read = tables.task_state

    def state(paths: TaskPaths, digest: str) -> TaskState:
        if paths == quiz.paths:
            raise RecursionError("too deep")
        return read(paths, digest)

    monkeypatch.setattr(tables, "task_state", state)

    assert [(row["state"], row["value"]) for row in rows(run)] == [
        ("unreadable", None), ("published", 0.7),
    ]  # fmt: skip


def test_parts_of_a_group_are_told_apart_in_rows_and_names(run: Run) -> None:
    # given what lm-eval has left of a group of two tasks
    quiz = run.tasks[0]
    left = Path(__file__).parent / "data" / "verify" / "lm_eval_group" / "work"
    shutil.copytree(left, quiz.paths.work(quiz.digest))
    publish(quiz, {})
    write_spec(quiz, {"format": "lm_eval", "benchmark": "sums_group"})

    found = rows(run)[:-1]

    assert [(row["group"], row["subtask"], row["value"]) for row in found] == [
        ("sums_group", None, 0.9),
        ("sums_group", "sums", 0.9),
        ("sums_group", "sums_dup", 0.9),
    ]
    assert [score_name(row) for row in found] == [
        "quiz_sums_group_exact_match", "quiz_sums_exact_match", "quiz_sums_dup_exact_match",
    ]  # fmt: skip
    assert metric_name(found[2]) == "sums_dup: exact_match"


def test_failure_of_another_spec_is_not_told_of_this_one(run: Run) -> None:
    fail(run.tasks[1], "0" * 12, "that was another spec")

    assert [(row["state"], row["cause"]) for row in rows(run)] == [("pending", None)] * 2


def test_csv_has_whole_numbers_and_empty_cells(run: Run, tmp_path: Path) -> None:
    publish(run.tasks[0], {"accuracy": 0.5}, expected=4, scored=4)

    write_tables(run, run.members)

    with run.paths.results_csv.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(COLUMNS)
    assert (lines[0]["value"], lines[0]["scored"], lines[0]["n"]) == ("0.5", "4", "4")
    assert (lines[1]["state"], lines[1]["value"], lines[1]["n"]) == ("pending", "", "")
    content = json.loads(run.paths.results_json.read_text())
    assert content["tasks"] == {"published": 1, "all": 2}


def test_tables_of_other_results_lose_their_stamp(run: Run) -> None:
    run.paths.results.mkdir()
    for name in ("old", run.members):
        run.paths.tables_stamp(name).touch()

    write_tables(run, run.members)

    assert not run.paths.tables_stamp("old").exists()
    assert run.paths.tables_stamp(run.members).exists()


def test_result_that_was_changed_after_it_was_published_is_told_and_never_used(run: Run) -> None:
    publish(run.tasks[0], {"accuracy": 0.5})
    (run.tasks[0].paths.work(run.tasks[0].digest) / "results.json").write_text(
        '{"scores": {"accuracy": 0.9}, "samples": {}}'
    )

    found = rows(run)[0]

    assert (found["state"], found["value"]) == ("changed", None)
    assert "was changed after it was published ('results.json')" in found["cause"]


def test_result_that_can_no_longer_be_read_is_a_row_and_no_crash(run: Run) -> None:
    publish(run.tasks[0], {"accuracy": 0.5})
    run.tasks[0].paths.check_spec(run.tasks[0].digest).write_text("{")

    found = rows(run)[0]

    assert (found["state"], found["value"]) == ("unreadable", None)
    assert found["cause"]


def test_printed_table_says_n_of_m(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    publish(run.tasks[0], {"accuracy": {"value": 0.123456, "stderr": 0.05}}, scored=4)
    fail(run.tasks[1], run.tasks[1].digest, "the [red]model[/red] was silent")

    print_table(run, rows(run))

    said = capsys.readouterr().out
    assert "0.1235" in said
    assert "4 of unknown" in said
    assert "failed: the [red]model[/red] was silent" in said
    assert "1 of 2 benchmarks published, 1 failed." in said


def test_result_that_was_taken_away_is_pending(run: Run) -> None:
    quiz = run.tasks[0]
    publish(quiz, {"accuracy": 0.5})
    attempt.write(
        quiz.paths.dir, {"attempts": [{"digest": quiz.digest, "state": "published", "number": 1}]}
    )
    quiz.paths.work(quiz.digest).rename(quiz.paths.work(quiz.paths.next_superseded(quiz.digest)))
    quiz.paths.published(quiz.digest).unlink()

    assert rows(run)[0]["state"] == "pending"


def score(**given: Any) -> dict[str, Any]:
    row = {"task": "mmlu", "label": "mmlu", "group": None, "subtask": None}
    return {**row, "metric": "acc", "score": "acc", **given}


@pytest.mark.parametrize(
    ("row", "shown", "exported"),
    [
        (score(), "acc", "mmlu_acc"),
        (score(score="none"), "acc (none)", "mmlu_acc_none"),
        (score(group="stem"), "stem: acc", "mmlu_stem_acc"),
        (score(group="mmlu", score=None), "acc", "mmlu_acc"),
        (score(group="stem", subtask="mmlu_astronomy"), "mmlu_astronomy: acc",
         "mmlu_mmlu_astronomy_acc"),
        (score(label="mmlu [num_fewshot=5]"), "acc", "mmlu [num_fewshot=5]_acc"),
    ],
)  # fmt: skip
def test_names_of_scores(row: dict[str, Any], shown: str, exported: str) -> None:
    assert metric_name(row) == shown
    assert score_name(row) == exported


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((40, 40, 0), "40 of 40"),
        ((40, 40, 2), "40 of 40, 2 unanswered"),
        ((10, None, None), "10 of unknown"),
        ((None, None, None), "? of unknown"),
    ],
)
def test_coverage(counts: tuple[int | None, ...], text: str) -> None:
    assert coverage(dict(zip(("scored", "expected", "unanswered"), counts, strict=True))) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (5.0, "0:05"), (125.0, "2:05"), (3723.0, "1:02:03")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_tables_show_what_was_published_by_hand(run: Run) -> None:
    quiz, riddle = run.tasks
    publish(quiz, {"accuracy": 0.5})
    write_tables(run, run.members)
    publish(riddle, {"accuracy": 0.7})

    tables.bring_up_to_date(run)

    assert "0.7" in run.paths.results_csv.read_text()
    assert json.loads(run.paths.results_json.read_text())["tasks"]["published"] == 2


def test_bringing_tables_up_to_date_keeps_the_stamp_of_what_they_show(run: Run) -> None:
    # given a start of one of two tasks, whose tables somebody has taken away
    quiz = run.tasks[0]
    publish(quiz, {"accuracy": 0.5})
    start = replace(run, selected=(quiz,))
    write_tables(start, start.members)
    tables.write_stamp(start, start.members)
    run.paths.results_json.unlink()

    tables.bring_up_to_date(run)

    assert run.paths.results_json.exists()
    assert run.paths.tables_stamp(start.members).exists()


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_terminal_no_table_is_too_wide_and_no_path_is_broken(
    run: Run, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    log = run.paths.dir / "quiz" / "logs" / "evaluate.1.log"
    cause = f"the harness ended with exit code 1: no such column 'question'; its log is {log}"
    scores = {"exact_match__flexible-extract": {"value": 0.5, "stderr": 0.1, "n": 4}}
    publish(run.tasks[0], scores, expected=4, scored=4)
    fail(run.tasks[1], run.tasks[1].digest, cause)
    run.paths.record.write_text(json.dumps({"tasks": [task.name for task in run.tasks]}))
    for task in run.tasks:
        task.paths.spec.parent.mkdir(parents=True, exist_ok=True)
        task.paths.spec.write_text(f"digest: {task.digest}\n")

    print_table(run, rows(run))
    print_status(run.paths)
    print_runs([run.paths])

    said = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(str(run.paths.results)) > 80 / 2
    assert f"Tables: {run.paths.results}" in said
    assert f"Artifacts: {run.paths.dir}/<task>/artifacts" in said
    assert [line for line in said if line.endswith(f"failed: {cause}")]
    assert [line for line in said if line.endswith(f"Folder: {run.paths.dir}")]
    assert f"{run.paths.dir.parent}:" in said
    drawn = [line for line in said if line.startswith(("│", "┃", "┏", "└", "┡"))]
    assert drawn and max(map(len, drawn)) <= width


def test_status_of_many_benchmarks_lists_all_that_are_not_published(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status_table, "LISTED", 1)
    publish(run.tasks[0], {"accuracy": 0.5})
    fail(run.tasks[1], run.tasks[1].digest, "of some kind")
    run.paths.record.write_text(json.dumps({"tasks": [task.name for task in run.tasks[:2]]}))
    for task in run.tasks:
        task.paths.spec.parent.mkdir(parents=True, exist_ok=True)
        task.paths.spec.write_text(f"digest: {task.digest}\n")

    print_status(run.paths)

    said = capsys.readouterr().out
    assert f"{run.tasks[1].name}: of some kind" in said
    assert run.tasks[0].name not in said
    assert "and 1 published: results/results.csv has all of them" in said
    assert "1 of 2 published, 1 failed" in said
