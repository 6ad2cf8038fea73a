"""Models x benchmarks: one score each, nothing missing hidden, the best by test, not by digit."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.browser import Browser
from rig.built_runs import built_run, records
from rig.docker_engine import RigUnavailable
from rig.unavailable import unavailable
from snakeval.across.averages import averaged
from snakeval.across.board import Board, Row, made
from snakeval.across.boards import chosen_runs, show
from snakeval.across.chance import differ, marked
from snakeval.across.curves import panels
from snakeval.cli.entry import run_at
from snakeval.compare.suite import Suite, SuiteFile, read_suite
from snakeval.config.deployment import ServerDeployment
from snakeval.errors import InputError
from snakeval.plan.identity import run_identity
from snakeval.plan.run import Run
from snakeval.report.page import write_report
from snakeval.results.samples import write_samples
from snakeval.results.steps import step_of

LONG = "long" * 50
EVIL = '</script><img src=x onerror="window.owned=1">'


def answers(share: float, n: int = 200, seed: int = 1) -> list[dict[str, Any]]:
    """Right for a share of the same questions; more able models are right where others are."""
    difficulty = np.random.default_rng(0).random(n)
    luck = np.random.default_rng(seed).random(n)
    return records([float(each < share) for each in 0.9 * difficulty + 0.1 * luck])


def run(folder: Path, model: str, tasks: dict[str, Any], **options: Any) -> Run:
    name = f"of-{re.sub('[^a-z0-9-]', '_', model)}"
    found = built_run(folder, name, tasks, model=model, **options)
    write_samples(found)
    return found


def board(runs: list[Run], *columns: str, suite: Suite | None = None) -> Board:
    return averaged(marked(made(runs, columns, suite)))


def by_model(found: Board) -> dict[str, Row]:
    return {row.model: row for row in found.rows}


def scores_of(row: Row) -> dict[str, Any]:
    return {key.rpartition("-")[0].removeprefix("own."): cell for key, cell in row.cells.items()}


# ---------------------------------------------------------------- what is shown


def test_best_is_by_test_and_not_by_digit(tmp_path: Path) -> None:
    """Two answers more of 200, where 22 differ, are no better model; 60 are."""
    one = [1.0] * 150 + [0.0] * 50
    other = [0.0] * 10 + [1.0] * 152 + [0.0] * 38
    weak = [1.0] * 90 + [0.0] * 110
    runs = [
        run(tmp_path, name, {"quiz": records(scores)})
        for name, scores in (("one", one), ("other", other), ("weak", weak))
    ]

    found = by_model(board(runs))

    best = {name: scores_of(row)["quiz"].best for name, row in found.items()}
    assert best == {"one": True, "other": True, "weak": False}


def test_the_same_samples_tell_apart_what_two_standard_errors_do_not(tmp_path: Path) -> None:
    """8 of 200 lost and none won is no chance (p 0.008), though both intervals overlap widely."""
    base = [1.0] * 150 + [0.0] * 50
    worse = [0.0] * 8 + base[8:]
    runs = [
        run(tmp_path, "base", {"quiz": records(base)}),
        run(tmp_path, "worse", {"quiz": records(worse)}),
    ]

    found = by_model(board(runs))

    high, low = scores_of(found["base"])["quiz"], scores_of(found["worse"])["quiz"]
    assert low.interval[1] > high.value - 0.05, "the intervals overlap"
    assert (high.best, low.best) == (True, False)


def test_lower_is_better_where_it_is_and_no_best_where_nobody_knows(tmp_path: Path) -> None:
    def said(value: float, **more: Any) -> dict[str, Any]:
        wer = {"value": value, "stderr": 0.01, "n": 4, **more}
        return {"scores": {"quiz": {"wer": wer}}}

    tasks = {"quiz": records([0.5] * 4, metric="wer")}
    known = [
        run(tmp_path / "known", name, tasks, **said(value, higher_is_better=False))
        for name, value in (("good", 0.1), ("bad", 0.4))
    ]
    unknown = [
        run(tmp_path / "unknown", name, tasks, **said(value))
        for name, value in (("good", 0.1), ("bad", 0.4))
    ]

    assert [scores_of(by_model(board(known))[name])["quiz"].best for name in ("good", "bad")] == [
        True,
        False,
    ]
    found = board(unknown)
    assert not any(cell.best for row in found.rows for cell in row.cells.values())
    assert found.columns[0].untested == "it is not known whether a higher score is better"
    assert found.averaged == ()


def test_average_counts_only_what_all_models_have_and_says_so(tmp_path: Path) -> None:
    easy, hard = answers(0.9), answers(0.2)
    runs = [
        run(tmp_path, "whole", {"easy": easy, "simple": easy, "hard": hard}),
        run(
            tmp_path,
            "partly",
            {"easy": easy, "simple": easy, "hard": None},
            failed={"hard": "the endpoint answered 401"},
        ),
        run(tmp_path, "none", {"easy": None}),
    ]

    found = board(runs)

    rows = by_model(found)
    assert rows["whole"].average == pytest.approx(rows["partly"].average), "hard counts for nobody"
    assert rows["none"].average is None
    assert "over 2 of 3 benchmarks: those that all 2 models have" in found.average_note
    assert "Left out: hard" in found.average_note
    failed = scores_of(rows["partly"])["hard"]
    assert (failed.state, failed.cause) == ("failed", "the endpoint answered 401")
    assert scores_of(rows["none"])["hard"].state == "not evaluated"


def test_average_of_perfect_scores_is_not_sure(tmp_path: Path) -> None:
    [row] = board([run(tmp_path, "m", {"a": records([1.0] * 20), "b": records([1.0] * 20)})]).rows
    assert row.average == 1.0
    assert row.average_interval is not None and row.average_interval[0] < 0.97


def test_other_questions_are_another_column_named_by_what_differs(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "one", {"quiz": answers(0.8)}, params={"limit_samples": 200}),
        run(tmp_path, "other", {"quiz": answers(0.8, 50)}, params={"limit_samples": 50}),
        run(tmp_path, "warm", {"quiz": answers(0.7)}, params={"limit_samples": 200, "top_p": 0.9}),
    ]

    found = board(runs)

    assert sorted(column.name for column in found.columns) == [
        "quiz [limit_samples=200]",
        "quiz [limit_samples=50]",
    ]
    at_200 = next(column.key for column in found.columns if "200" in column.name)
    assert by_model(found)["warm"].cells[at_200].value == pytest.approx(0.7, abs=0.06)


def test_columns_are_chosen_by_pattern_and_metric_and_a_misspelt_one_is_told(
    tmp_path: Path,
) -> None:
    both = [{**each, "scores": {"strict": 0.0, "loose": 1.0}} for each in answers(0.5)]
    runs = [run(tmp_path, name, {"quiz": both, "test": answers(0.5)}) for name in ("a", "b")]

    assert [column.metric for column in board(runs, "quiz").columns] == ["strict"]
    assert [column.metric for column in board(runs, "qu*:loose").columns] == ["loose"]
    with pytest.raises(InputError) as error:
        board(runs, "quizz", "quiz:losse")
    assert "did you mean 'quiz'?" in str(error.value)
    assert "did you mean 'loose'?" in str(error.value)


def test_files_and_terminal_hold_every_model_and_every_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "one", {"quiz": answers(0.8)})
    run(tmp_path, "other", {"quiz": None}, failed={"quiz": "gated data: set HF_TOKEN"})
    runs, notes = chosen_runs([], [], [tmp_path / "out"], run_at)

    show(runs, tmp_path / "out", notes=notes)

    assert "other: quiz: failed: gated data: set HF_TOKEN" in capsys.readouterr().out
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        lines = {line["model"]: line for line in csv.DictReader(file)}
    assert float(lines["one"]["quiz"]) == pytest.approx(0.8, abs=0.06)
    assert (lines["other"]["quiz"], lines["other"]["quiz state"]) == ("", "failed")
    content = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    cells = {model["model"]: model["scores"]["quiz"] for model in content["models"]}
    assert cells["other"] == {"state": "failed", "cause": "gated data: set HF_TOKEN"}
    assert len(cells["one"]["interval"]) == 2


def test_a_folder_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    run(tmp_path, "one", {"quiz": answers(0.8)})
    broken = run(tmp_path, "broken", {"quiz": answers(0.8)})
    broken.paths.config.write_text("evaluation: [")

    runs, notes = chosen_runs([], [], [tmp_path / "out"], run_at)

    assert [each.identity["model_id"] for each in runs] == ["one"]
    assert len(notes) == 1 and broken.paths.id in notes[0]


# ---------------------------------------------------------------- suites


def suite(**content: Any) -> Suite:
    return Suite("mine", SuiteFile.model_validate({"version": 3, **content}))


def test_suite_weighs_groups_and_takes_guessing_away(tmp_path: Path) -> None:
    half = records([1.0, 0.0] * 100)
    runs = [run(tmp_path, "m", {"a": half, "b": half, "c": records([1.0, 1.0, 1.0, 0.0] * 50)})]
    mine = suite(
        groups={
            "g": {"weight": 2, "benchmarks": {"a": {"range": [0.25, 1]}, "b": {"weight": 3}}},
            "h": {"benchmarks": {"c": None}},
        }
    )

    [row] = board(runs, suite=mine).rows

    group = (1 * (0.5 - 0.25) / 0.75 + 3 * 0.5) / 4
    assert row.suite == pytest.approx((2 * group + 0.75) / 3)
    assert row.suite_interval is not None and row.suite_interval[0] < row.suite


def test_suite_has_no_number_without_one_of_its_benchmarks(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "m", {"a": answers(0.5), "b": None}, failed={"b": "x"}),
    ]
    [row] = board(runs, suite=suite(benchmarks={"a": {}, "b": {}})).rows
    assert (row.suite, row.suite_missing) == (None, ("b",))


def test_scores_of_another_scale_need_a_range(tmp_path: Path) -> None:
    tens = {"a": {"rating": {"value": 7.5, "stderr": 0.1, "n": 4, "higher_is_better": True}}}
    runs = [run(tmp_path, "m", {"a": records([7.5] * 4, metric="rating")}, scores=tens)]

    [row] = board(runs, suite=suite(benchmarks={"a": {}})).rows
    assert row.suite_missing == ("a (not between 0 and 1: give it a range)",)
    [row] = board(runs, suite=suite(benchmarks={"a": {"range": [0, 10]}})).rows
    assert row.suite == pytest.approx(0.75)


def test_wrong_suite_is_told_with_key_and_near_name(tmp_path: Path) -> None:
    (tmp_path / "core.yaml").write_text("version: 1\nbenchmark: {a: {weight: 0}}\n")
    with pytest.raises(InputError) as error:
        read_suite("core", tmp_path)
    assert "benchmarks" in str(error.value)
    with pytest.raises(InputError) as error:
        read_suite("cor", tmp_path)
    assert "did you mean 'core'?" in str(error.value)


# ---------------------------------------------------------------- checkpoints


def checkpoints(folder: Path, shares: list[float], n: int = 300) -> list[Run]:
    return [
        run(folder, f"llama-step-{1000 * at}", {"quiz": answers(share, n, seed=at)})
        for at, share in enumerate(shares, 1)
    ]


def test_first_drop_by_more_than_chance_is_found_and_a_wobble_is_none(tmp_path: Path) -> None:
    found = board(checkpoints(tmp_path, [0.4, 0.6, 0.59, 0.7, 0.5, 0.3]))

    [panel] = panels(found)
    [curve] = panel.curves
    assert [point.step for point in curve.points] == [1000, 2000, 3000, 4000, 5000, 6000]
    assert curve.drop is not None
    assert (curve.drop.at.step, curve.drop.best.step) == (5000, 4000)


def test_many_looks_at_the_same_model_find_no_drop(tmp_path: Path) -> None:
    """Twelve checkpoints that differ by chance alone, of which one look would have seen a drop."""
    rng = np.random.default_rng(8)
    runs = [
        run(tmp_path, f"m-step-{at}", {"quiz": records(list((rng.random(80) < 0.6) * 1.0))})
        for at in range(12)
    ]

    [panel] = panels(board(runs))

    [curve] = panel.curves
    cells = [point.cell for point in curve.points]
    looks = [
        differ(one, other).p
        for at, other in enumerate(cells)
        for one in cells[:at]
        if one.value > other.value
    ]
    assert min(looks) < 0.05
    assert curve.drop is None


@pytest.mark.parametrize(
    ("model", "step"),
    [
        ("llama-step-1000", 1000),
        ("checkpoint_500", 500),
        ("iter_0010k", 10_000),
        ("Llama-3.1-8B-Instruct", None),
        ("phi-2", None),
        ("stepfun-8b", None),
    ],
)
def test_step_is_read_from_names_that_say_step(
    tmp_path: Path, model: str, step: int | None
) -> None:
    assert step_of(built_run(tmp_path, "a", {"quiz": None}, model=model))[0] == step


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with Browser() as browser:
            yield browser
    except RigUnavailable as reason:
        unavailable(reason)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    tasks = {f"benchmark_with_a_long_name_{at}": answers(0.3 + at / 20, 40) for at in range(12)}
    labels = {"benchmark_with_a_long_name_0": LONG}
    runs = [
        run(folder, "zeta-step-1", tasks, labels=labels),
        run(folder, "zeta-step-2", {**tasks, "only_here": answers(0.5, 40)}, labels=labels),
        run(folder, f"evil{EVIL}", {"only_here": None}, failed={"only_here": EVIL}),
    ]
    show(runs, folder)
    return folder / "leaderboard.html"


ROWS = "[...document.querySelectorAll('#board tbody tr')].filter(row => !row.hidden)"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_opens_without_errors_and_fits_the_screen(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    opened = browser.open(page, width=width, dark=dark)

    assert opened.complaints() == []
    assert opened.value("document.documentElement.scrollWidth") <= width
    assert opened.value("window.owned") is None
    assert EVIL in opened.value("document.body.textContent")


def test_name_of_any_length_keeps_the_table_in_sight(browser: Browser, page: Path) -> None:
    """A label of 200 letters took twenty lines of the table's head, here and in the terminal."""
    opened = browser.open(page, width=1280)

    assert opened.value("document.querySelector('#board thead').offsetHeight") < 200
    button = opened.value("document.querySelector('#board thead [title^=long]').title")
    assert button.startswith(LONG), "the whole name is one look away"


def test_page_sorts_by_number_with_missing_scores_last(browser: Browser, page: Path) -> None:
    opened = browser.open(page, width=1280)
    names = f"{ROWS}.map(row => row.cells[0].textContent.slice(0, 11))"
    click = "[...document.querySelectorAll('#board thead th')].find(th => th.textContent.startsWith"

    opened.value(f"{click}('only_here')).firstChild.click()")
    assert opened.value(names)[0] == "zeta-step-2"
    opened.value(f"{click}('only_here')).firstChild.click()")
    assert opened.value(names)[0] == "zeta-step-2", "no score is last either way"
    opened.value(f"{click}('model')).firstChild.click()")
    assert opened.value(names)[0].startswith("evil")


def test_page_filters_models_and_benchmarks(browser: Browser, page: Path) -> None:
    opened = browser.open(page, width=1280)
    opened.value(
        """for (const [id, text] of [['models', 'zeta'], ['benchmarks', 'only, name_11']]) {
            const input = document.getElementById(id);
            input.value = text;
            input.dispatchEvent(new Event('input'));
        }"""
    )
    assert opened.value("document.getElementById('count').textContent") == (
        "2 of 3 models, 2 of 13 benchmarks"
    )
    assert opened.value(f"{ROWS}.length") == 2
    shown = "[...document.querySelectorAll('#board thead th')].filter(th => !th.hidden).length"
    assert opened.value(shown) == 3 + 2


def test_page_on_paper_holds_all_benchmarks_side_by_side_a_few_at_a_time(
    browser: Browser, page: Path
) -> None:
    opened = browser.open(page, width=1280)
    opened.value("window.dispatchEvent(new Event('beforeprint'))")
    tables = "[...document.querySelectorAll('#print table')]"
    assert opened.value(f"{tables}.length") == 2
    assert (
        opened.value(f"{tables}.flatMap(t => [...t.tHead.rows[0].cells]).length") == 1 + 1 + 13 + 1
    )
    # Chromium repeats a head on every page, but not the buttons in it: these were without names.
    assert opened.value("document.querySelectorAll('#print button').length") == 0
    heads = opened.value(f"{tables}.map(t => t.tHead.textContent).join()")
    assert "only_here" in heads and "benchmark_with_a_long_name_7" in heads


# ---------------------------------------------------------------- names


def test_runs_of_one_model_are_called_by_what_differs_and_never_alike(tmp_path: Path) -> None:
    """Both were `m (2026-11-22 03:00:00)`, and the report's place among the models was of one."""
    tasks = {"quiz": answers(0.8), "test": answers(0.5)}
    lower = {"quiz": answers(0.6), "test": answers(0.5)}
    runs = [
        built_run(tmp_path / "a", "one", tasks, "m", params={"temperature": 0.0}),
        built_run(tmp_path / "a", "two", lower, "m", params={"temperature": 1.0}),
        built_run(tmp_path / "b", "two", tasks, "m", params={"temperature": 1.0, "top_p": 0.5}),
        built_run(tmp_path / "b", "other", tasks, "other"),
    ]

    labels = [row.label for row in board(runs).rows]

    assert sorted(labels) == ["m", "m (one)", "m [top_p=0.5]", "other"]


def test_variants_of_one_model_are_called_by_their_parameters(tmp_path: Path) -> None:
    runs = [
        built_run(tmp_path / str(heat), "same", {"quiz": answers(0.8)}, "m", {"temperature": heat})
        for heat in (0.0, 0.7)
    ]

    labels = [row.label for row in board(runs).rows]

    assert sorted(labels) == ["m [temperature=0.0]", "m [temperature=0.7]"]


def test_one_name_served_from_two_folders_is_two_rows_by_their_folders(tmp_path: Path) -> None:
    """A sweep over a/step-1 and b/step-1, begun in one second: two rows were called alike."""
    runs = [run_of_checkpoint(tmp_path, f"{place}/step-1", 0.5) for place in ("a", "b")]
    runs = [replace(each, identity=run_identity(each.config)) for each in runs]

    labels = [row.label for row in made(runs).rows]

    assert len(set(labels)) == 2
    assert all(re.fullmatch(r"step-1 \[checkpoint_path=.*/[ab]/step-1\]", each) for each in labels)


def test_trainings_of_one_name_in_two_folders_are_two_lines(tmp_path: Path) -> None:
    """Both are called `hf`: they were one line, which had dropped."""
    runs = [
        run_of_checkpoint(tmp_path, f"{place}/exp/step-{step}", share)
        for place, share in (("x", 0.9), ("y", 0.4))
        for step in (1000, 2000)
    ]

    [panel] = panels(board(runs))

    assert [len(curve.points) for curve in panel.curves] == [2, 2]
    assert [curve.drop for curve in panel.curves] == [None, None]
    assert [curve.series.rpartition("/")[0][-2:] for curve in panel.curves] == ["/x", "/y"]


def run_of_checkpoint(folder: Path, path: str, share: float) -> Run:
    """A run as of a server of the checkpoint in a folder."""
    found = run(folder / path, Path(path).name, {"quiz": answers(share, 300)})
    server = {"type": "vllm", "image": "vllm:1", "checkpoint_path": str(folder / path)}
    deployment = ServerDeployment.model_validate({**server, "served_model_name": Path(path).name})
    config = found.config.model_copy(update={"deployment": deployment})
    return replace(found, config=config)


def test_label_is_what_report_and_leaderboard_call_a_benchmark(tmp_path: Path) -> None:
    tasks = {"quiz": answers(0.6), "words": answers(0.5)}
    found = run(tmp_path, "m", tasks, labels={"quiz": "mental arithmetic"})

    made_of = board([found])
    page = write_report(found).read_text()

    assert [column.name for column in made_of.columns] == ["mental arithmetic", "words"]
    assert "<b>mental arithmetic</b>" in page
    assert 'data-task="mental arithmetic"' in page
    assert "<b>quiz</b>" not in page
    assert made_of.title == "Leaderboard: of-m"


def test_label_that_not_all_runs_have_names_no_column(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "one", {"quiz": answers(0.6)}, labels={"quiz": "sums"}),
        run(tmp_path, "other", {"quiz": answers(0.6)}),
    ]

    [column] = board(runs).columns

    assert column.name == "quiz"
