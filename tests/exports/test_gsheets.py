"""Google Sheets: the real gspread against a loopback server that checks what it is asked."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from published import make, publish, publish_all

from rig.sheets import GoogleSheets
from snakeval.config.export import GsheetsExport
from snakeval.export.destinations import Outcome, export_run
from snakeval.plan.run import Run


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleSheets]:
    with GoogleSheets() as google, google.instead_of_google():
        yield google


@pytest.fixture
def key(google: GoogleSheets, tmp_path: Path) -> str:
    return str(google.key_file(tmp_path))


def export(run: Run, **options: Any) -> Outcome:
    gsheets = GsheetsExport(**options)
    config = run.config.model_copy(
        update={"export": run.config.export.model_copy(update={"gsheets": gsheets})}
    )
    [outcome] = export_run(run, config, ["gsheets"])
    return outcome


def test_row_per_task_below_the_launchers_headings(
    run: Run, google: GoogleSheets, key: str
) -> None:
    sheet = google.add("Mine")

    outcome = export(run, service_account_file=key, spreadsheet_id=sheet)

    assert (outcome.sent, outcome.failed) == (3, None)
    assert google.sheets[sheet].records[1] == {
        "Model Name": "org/model-1",
        "Task Name": "quiz1",
        "Invocation ID": run.paths.id,
        "Job ID": f"{run.paths.id}.quiz1",
        "Executor": "local",
        "Timestamp": "2026-11-22T01:02:03Z",
        "accuracy": 0.1,
        "pass@1": 0.5,
    }


def test_rows_are_appended_once_and_a_changed_result_is_a_further_row(
    run: Run, google: GoogleSheets, key: str
) -> None:
    sheet = google.add("Mine")
    options = {"service_account_file": key, "spreadsheet_id": sheet}
    export(run, **options)
    asked = len(google.requests)
    assert export(run, **options).sent == 0
    assert len(google.requests) == asked, "nothing to send, nothing asked"

    # when the receipts are lost, the rows are found
    for receipt in run.paths.exports("gsheets").glob("*.json"):
        receipt.unlink()
    assert export(run, **options).sent == 3
    assert len(google.sheets[sheet].records) == 3

    # when a result changes, and has a new score
    publish(run.tasks[1], when="2026-11-22T03:00:00Z", accuracy=0.9, f1=0.8)
    assert export(run, **options).sent == 1
    records = google.sheets[sheet].records
    assert [record["Task Name"] for record in records] == ["quiz0", "quiz1", "quiz2", "quiz1"]
    assert records[1]["accuracy"] == 0.1
    assert (records[3]["accuracy"], records[3]["pass@1"], records[3]["f1"]) == (0.9, "", 0.8)


def test_columns_and_rows_of_others_stay(run: Run, google: GoogleSheets, key: str) -> None:
    sheet = google.add("Mine")
    google.sheets[sheet].cells = [["Job ID", "my note"], ["theirs", "keep"]]

    export(run, service_account_file=key, spreadsheet_id=sheet, log_metrics=["accuracy"])

    records = google.sheets[sheet].records
    assert records[0] == {"Job ID": "theirs", "my note": "keep"}
    assert [record["accuracy"] for record in records[1:]] == [0.0, 0.1, 0.2]
    assert "pass@1" not in google.sheets[sheet].lines[0]


@pytest.mark.parametrize("empty", [True, False])
def test_two_exports_at_once_lose_no_row(
    google: GoogleSheets, key: str, tmp_path: Path, empty: bool
) -> None:
    # given two runs with different scores, and requests that wait for each other at every step
    runs = []
    for name, score in (("a", "bleu"), ("b", "f1")):
        (tmp_path / name).mkdir()
        run = make(tmp_path / name, model=name)
        for number, task in enumerate(run.tasks):
            publish(task, **{score: number / 10, "accuracy": number / 10})
        runs.append(run)
    sheet = google.add("Mine")
    if not empty:
        google.sheets[sheet].cells = [["Job ID"], ["theirs"]]
    both = threading.Barrier(2)

    def meet(method: str, path: str) -> None:
        if path != "/token":
            try:
                both.wait(timeout=0.3)
            except threading.BrokenBarrierError:
                both.reset()

    google.before = meet
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(
            target=lambda run=run: outcomes.append(
                export(run, service_account_file=key, spreadsheet_id=sheet)
            )
        )
        for run in runs
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        google.before = lambda method, path: None

    assert [(outcome.sent, outcome.failed) for outcome in outcomes] == [(3, None)] * 2
    records = [record for record in google.sheets[sheet].records if record["Job ID"] != "theirs"]
    assert len(records) == 6
    for record in records:
        score, other = ("bleu", "f1") if record["Model Name"] == "a" else ("f1", "bleu")
        expected = int(record["Task Name"][-1]) / 10
        assert record[score] == record["accuracy"] == expected
        assert record.get(other, "") == ""


def test_column_that_comes_in_between_moves_the_new_rows_too(
    run: Run, google: GoogleSheets, key: str
) -> None:
    # given somebody who inserts a column between reading the headings and appending
    sheet = google.add("Mine")

    def intrude(method: str, path: str) -> None:
        if path.endswith(":append"):
            google.before = lambda method, path: None
            for number, row in enumerate(google.sheets[sheet].cells):
                row.insert(2, "theirs" if number == 0 else "")

    google.before = intrude
    export(run, service_account_file=key, spreadsheet_id=sheet)

    records = google.sheets[sheet].records
    assert [record["Job ID"] for record in records] == [
        f"{run.paths.id}.quiz{number}" for number in range(3)
    ]
    assert [record["accuracy"] for record in records] == [0.0, 0.1, 0.2]
    assert {record["theirs"] for record in records} == {""}


def test_spreadsheet_by_name_is_made_where_there_is_none(
    run: Run, google: GoogleSheets, key: str
) -> None:
    options = {"service_account_file": key, "spreadsheet_name": "Nightly"}
    first = export(run, **options)
    publish_all(run)
    publish(run.tasks[0], when="2026-11-22T03:00:00Z", accuracy=0.9)
    export(run, **options)

    [sheet] = [sheet for sheet in google.sheets.values() if sheet.title == "Nightly"]
    assert len(sheet.records) == 4
    assert any("until you share it" in note for note in first.notes)


@pytest.mark.parametrize(
    "case", ["no file", "no key", "other key", "not shared", "unknown", "down"]
)
def test_failures_are_one_sentence(
    run: Run, google: GoogleSheets, key: str, tmp_path: Path, case: str
) -> None:
    options: dict[str, Any] = {"service_account_file": key, "spreadsheet_id": google.add("Mine")}
    expected = {
        "no file": "there is no key file",
        "no key": "is no service account's key file",
        "other key": "Google refuses the service account; check its key file",
        "not shared": "is not shared with the service account",
        "unknown": "there is no spreadsheet 0000",
        "down": "Google does not answer",
    }[case]
    match case:
        case "no file":
            options["service_account_file"] = str(tmp_path / "missing.json")
        case "no key":
            Path(key).write_text("{}")
        case "other key":
            google.other_key(Path(key))
        case "not shared":
            google.allowed = False
        case "unknown":
            options["spreadsheet_id"] = "0000"
        case "down":
            content = Path(key).read_text().replace(google.url, "http://127.0.0.1:9")
            Path(key).write_text(content)
    try:
        outcome = export(run, **options)
    finally:
        google.allowed = True

    assert outcome.sent == 0
    assert outcome.failed is not None
    assert expected in outcome.failed
    assert "\n" not in outcome.failed
