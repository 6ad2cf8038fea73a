"""What models, harnesses and services say is text: on the terminal, in CSV files, in the page."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rig.browser import Browser
from rig.built_runs import built_run, records
from rig.docker_engine import RigUnavailable
from rig.unavailable import unavailable
from snakeval.compare.comparison import compare
from snakeval.compare.table import print_comparison
from snakeval.errors import Problem
from snakeval.export.destinations import export_run
from snakeval.export.items import items
from snakeval.job.files import tail
from snakeval.job.text import plain
from snakeval.report.page import write_report
from snakeval.results import published, samples, tables
from snakeval.results.cells import as_csv
from snakeval.results.samples import write_samples
from snakeval.results.tables import print_table, rows, write_tables
from snakeval.runs.status_table import print_status

COMMANDS = (
    "\x1b[31mred\x1b[0m\x1b]0;PWNED\x07\x1b[2J\x9b5m\x07\x08 a\rb \u202eevil\u2066 "
    "[bold]b[/bold] :bomb:"
)
HALF = "cut here \ud83d"


@pytest.mark.parametrize(
    "text",
    [
        COMMANDS,
        "\x1b]8;;file:///etc\x1b\\link",
        "\x1bP+q\x1b\\x",
        "\x1b",
        "\x1b]0;never ends",
        HALF,
        "\x00\x7f",
    ],
)
def test_no_control_sequence_is_left_in_text(text: str) -> None:
    said = plain(text)

    assert not [letter for letter in said if not (letter.isprintable() or letter in "\t\n")]
    said.encode()


def test_last_lines_of_a_servers_log_are_text(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(f"ready\n{COMMANDS}\n")

    assert tail(log) == "ready\nred a\nb evil [bold]b[/bold] :bomb:"


def test_what_a_person_reads_stays() -> None:
    text = "naïve 准确率 \U0001f600 עברית\n\tcol [red] \\x1b"

    assert plain(text) == text


def test_terminal_shows_names_and_causes_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = records([1, 0, 1], f"acc {COMMANDS}")
    tasks = {"quiz": found, "dead": None}
    base = built_run(tmp_path, "base", tasks, failed={"dead": COMMANDS})
    run = built_run(tmp_path, "candidate", tasks, model="[b]m[/b]", failed={"dead": COMMANDS})

    print_table(run, rows(run))
    print_status(run.paths)
    print_comparison(compare(base, run))
    print(Problem("endpoint", COMMANDS))

    said = capsys.readouterr().out
    assert "\x1b" not in said and "\u202e" not in said and "PWNED" not in said
    assert said.count("[bold]b[/bold]") >= 4
    assert ":bomb:" in said


def test_csv_cells_are_no_formulas_and_numbers_stay_numbers() -> None:
    columns = ["=head", "value"]
    texts = [
        '=HYPERLINK("http://evil","x")',
        "+cmd",
        "-cmd",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "plain",
        "-5",
    ]

    text = as_csv(columns, [{"=head": each, "value": -0.5} for each in texts])

    lines = list(csv.reader(text.splitlines()))
    assert lines[0] == ["'=head", "value"]
    assert [line[0][0] for line in lines[1:]] == ["'"] * 6 + ["p", "-"]
    assert {line[1] for line in lines[1:]} == {"-0.5"}


def test_every_csv_of_a_run_goes_through_the_same_door(tmp_path: Path) -> None:
    run = built_run(tmp_path, "r", {"quiz": records([1, 0], "=cmd|' /C calc'!A0")}, model="@evil")
    write_tables(run, run.members)
    export_run(run, run.config, ["local"])

    found = [run.paths.results_csv, *run.paths.exports("local").glob("*.csv")]

    assert len(found) == 3
    for path in found:
        cells = [cell for line in csv.reader(path.open(newline="")) for cell in line]
        assert "'@evil" in cells
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


def test_half_a_character_is_replaced_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = records([1, 0], "acc \ud83d")
    evil[0] |= {"answer": HALF, "prompt": HALF, "expected": HALF}
    run = built_run(tmp_path, "r", {"evil": evil, "good": records([1, 0])})

    member = write_samples(run)["evil"]
    write_tables(run, run.members)
    print_table(run, rows(run))

    assert member.rows == 2 and member.cause is None
    assert "half a character is replaced in 2 rows" in (member.note or "")
    assert "half a character is replaced in 2 rows" in capsys.readouterr().out
    shown = pq.read_table(run.paths.samples).to_pylist()
    assert [row["answer"] for row in shown][:2] == ["cut here \ufffd", "no idea"]
    assert [row["task"] for row in shown] == ["evil"] * 2 + ["good"] * 2
    assert [outcome.failed for outcome in export_run(run, run.config, ["local"])] == [None]
    assert "cut here" not in write_report(run).read_text()  # packed


@pytest.mark.parametrize("number", [10**30, 10**400, float("nan"), float("inf"), -1, "many"])
def test_numbers_that_are_none_keep_the_sample_and_the_others(tmp_path: Path, number: Any) -> None:
    evil = records([1, 0])
    evil[0] |= {"prompt_tokens": number, "latency_ms": number, "repeat": number}
    run = built_run(tmp_path, "r", {"evil": evil, "good": records([1, 0], prompt_tokens=3)})

    found = write_samples(run)

    assert [member.cause for member in found.values()] == [None, None]
    assert {name: member.rows for name, member in found.items()} == {"evil": 2, "good": 2}
    assert pq.read_table(run.paths.samples).to_pylist()[0]["prompt_tokens"] is None


@pytest.mark.parametrize("line", ["[" * 10_000 + "]" * 10_000, "{", "7"])
def test_line_that_is_no_sample_hides_no_other_task(tmp_path: Path, line: str) -> None:
    run = built_run(tmp_path, "r", {"evil": records([1, 0]), "good": records([1, 0])})
    evil = run.tasks[0]
    with (evil.paths.work(evil.digest) / "samples.jsonl").open("a") as file:
        file.write(line + "\n")

    found = write_samples(run)

    assert found["evil"].cause and found["good"].cause is None
    assert found["good"].rows == 2
    assert "evil: its samples cannot be read" in write_report(run).read_text()


RAISED = [
    RecursionError("deep"),
    MemoryError(),
    ValueError("\ud83d"),
    KeyError("x"),
    AssertionError(),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("reader", ["published", "state", "samples"])
def test_whatever_one_task_raises_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, error: Exception
) -> None:
    tasks = {"evil": records([1, 0]), "good": records([1, 0, 1])}
    base = built_run(tmp_path, "base", tasks)
    run = built_run(tmp_path, "candidate", tasks)

    def broken(read: Callable[..., Any]) -> Callable[..., Any]:
        def instead(first: Any, *others: Any) -> Any:
            if any("/evil" in str(getattr(each, "paths", each)) for each in (first, *others)):
                raise error
            return read(first, *others)

        return instead

    where: Any = {
        "published": (published, "_results"),
        "state": (tables, "task_state"),
        "samples": (samples, "read_samples"),
    }[reader]
    monkeypatch.setattr(*where, broken(getattr(*where)))

    write_tables(run, run.members)
    found = write_samples(run)
    page = write_report(run).read_text()
    outcomes = export_run(run, run.config, ["local"])
    comparison = compare(base, run)

    assert found["good"].rows == 3
    assert [row["state"] for row in rows(run) if row["task"] == "good"] == ["published"]
    assert "good" in [item.name for item in items(run)]
    assert "good" in page
    assert outcomes[0].failed is None
    assert "good" in {score.task for score in comparison.scores}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with Browser() as browser:
            yield browser
    except RigUnavailable as reason:
        unavailable(reason)


def test_page_runs_no_script_but_its_own(tmp_path: Path, browser: Browser) -> None:
    evil = [{**each, "answer": COMMANDS, "prompt": "<b onclick=x>"} for each in records([1, 0])]
    page = write_report(built_run(tmp_path, "r", {"evil": evil}, model="<script>x</script>"))
    text = page.read_text()
    assert text.count("http-equiv") == 1
    page.write_text(
        text.replace(
            "<main>",
            '<main><script>window.owned=1</script><img src=x onerror="window.owned=2">'
            '<p style="color:red" onclick="window.owned=3" id="clicked">x</p>',
        )
    )

    opened = browser.open(page, 1000)

    opened.wait_for("!document.getElementById('count').textContent.startsWith('Loading')")
    assert opened.value("document.getElementById('clicked').click()") is None
    assert opened.value("window.owned") is None
    assert "2 of 2 samples" in opened.value("document.getElementById('count').textContent")
    assert [each for each in opened.complaints() if "Content Security Policy" in each]
