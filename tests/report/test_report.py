"""The page about a run: in a real browser, without a network, and nothing a model says is code."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.browser import Browser, Page
from rig.built_runs import built_run, records
from rig.docker_engine import RigUnavailable
from rig.promised import Pace
from rig.unavailable import unavailable
from snakeval.across.boards import show
from snakeval.cli.entry import run_at
from snakeval.compare.comparison import compare, write
from snakeval.plan.run import Run
from snakeval.report.figures import figures
from snakeval.report.page import write_report
from snakeval.results.tables import print_table, write_tables

EVIL = '</script><script>window.owned=1</script><img src=x onerror="window.owned=1">'
CAUSE = "the endpoint answered 401 to 198 of 198 requests: <b>key</b>"
LOADED = "!document.getElementById('count').textContent.startsWith('Loading')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with Browser() as browser:
            yield browser
    except RigUnavailable as reason:
        unavailable(reason)


def many(n: int, **extra: Any) -> list[dict[str, Any]]:
    scores = np.random.default_rng(n).random(n) < 0.7
    found = records([float(score) for score in scores], prompt_tokens=10, **extra)
    for record in found:
        record["prompt"] = f"Solve this step by step.\nHow many sheep are {record['id']} sheep?"
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Right and wrong, graded, failed and pending benchmarks; 20,000 samples; evil answers."""
    evil = [{**record, "answer": EVIL, "prompt": EVIL} for record in many(30)]
    graded = [{**record, "scores": {"f1": record["id"] / 40}} for record in many(40)]
    tasks = {
        "arithmetic_with_a_rather_long_name": many(20_000),
        "evil": evil,
        "graded": graded,
        "dead": None,
        "waiting": None,
    }
    folder = tmp_path_factory.mktemp("report")
    base = built_run(folder, "base", {"evil": many(30), "graded": graded}, model="before")
    run = built_run(folder, "run", tasks, model=f"a-model{EVIL}", failed={"dead": CAUSE})
    write(compare(base, run), run)
    write_report(run)
    return run


def opened(browser: Browser, run: Run, width: int = 1280, dark: bool = False) -> Page:
    page = browser.open(run.paths.report, width=width, dark=dark)
    page.wait_for(LOADED)
    return page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_opens_without_errors_and_fits_the_screen(
    browser: Browser, run: Run, width: int, dark: bool
) -> None:
    page = opened(browser, run, width, dark)

    assert page.complaints() == []
    assert page.value("document.documentElement.scrollWidth") <= width
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    # every figure stands in one line with its neighbours, none is cut off
    assert page.value(
        "[...document.querySelectorAll('.scores .num, .tiles strong')]"
        ".every(cell => cell.scrollWidth <= cell.clientWidth + 1)"
    )


def test_large_figures_of_a_benchmark_stand_apart_on_a_phone(
    browser: Browser, tmp_path: Path
) -> None:
    """`prompt tokens 33,433,309answer tokens 6,383,309`."""
    run = built_run(tmp_path, "run", {"quiz": many(3)})
    check = run.tasks[0].paths.check(run.tasks[0].digest)
    totals = {"requests": 1_234_567, "prompt_tokens": 3_334_333_090, "completion_tokens": 638e6}
    check.write_text(json.dumps({**json.loads(check.read_text()), "totals": totals}))
    write_report(run)

    page = opened(browser, run, 390)

    assert "3,334,333,090" in page.value("document.querySelector('.costs').textContent")
    assert page.value(
        "[...document.querySelectorAll('.costs td, .tiles strong')]"
        ".every(cell => cell.scrollWidth <= cell.clientWidth)"
    )


def test_report_on_paper_has_tables_in_black_on_white(browser: Browser, run: Run) -> None:
    """A sheet is as narrow as a small screen: 40 benchmarks took 32 pages, a card each."""
    page = opened(browser, run, 700, dark=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    page.send("Emulation.setEmulatedMedia", media="print", features=[scheme])

    def display(selector: str) -> str:
        found: str = page.value(f"getComputedStyle(document.querySelector('{selector}')).display")
        return found

    assert display(".scores thead") == "table-header-group"
    assert display(".scores tr") == display(".costs tr") == "table-row"
    assert display("#samples") == "none", "what nobody can open"
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.value("document.documentElement.scrollWidth") <= 700


def test_page_with_a_name_of_any_length_is_as_wide_as_the_screen(
    browser: Browser, tmp_path: Path
) -> None:
    """The choice of a benchmark was as wide as its longest name."""
    run = built_run(tmp_path, "run", {"quiz": many(3)}, labels={"quiz": "long" * 50})
    write_report(run)

    page = opened(browser, run)

    assert page.value("document.documentElement.scrollWidth") <= 1280


def test_failed_and_missing_are_at_the_top_with_their_causes(browser: Browser, run: Run) -> None:
    page = opened(browser, run, 390)

    assert page.value("document.querySelector('.tiles strong').textContent") == "3 of 5"
    box = "document.querySelector('.failures')"
    assert page.value(f"{box}.getBoundingClientRect().top") < 700
    text = page.value(f"{box}.textContent")
    assert CAUSE in text and "failed" in text
    assert "waiting" in text and "not run yet" in text


def test_intervals_are_drawn_where_the_numbers_say(browser: Browser, run: Run) -> None:
    page = opened(browser, run)

    drawn = page.value(
        """[...document.querySelectorAll('.scores tr')].filter(row => row.querySelector('.dot'))
        .map(row => {
          const plot = row.querySelector('svg').getBoundingClientRect();
          const at = x => (x - plot.left) / plot.width;
          const bar = row.querySelector('.bar').getBoundingClientRect();
          const dot = row.querySelector('.dot').getBoundingClientRect();
          const said = name => row.querySelector(name).textContent;
          return [said('.interval'), said('.score'),
                  at(bar.left), at(bar.right), at((dot.left + dot.right) / 2)];
        })"""
    )

    assert len(drawn) == 3
    for interval, score, left, right, middle in drawn:
        low, high = map(float, interval.split(" to "))
        assert (left, right, middle) == pytest.approx((low, high, float(score)), abs=0.005)


def test_what_a_model_says_is_text_and_never_code(browser: Browser, run: Run) -> None:
    page = opened(browser, run)
    page.value(
        "(e => {e.selectedIndex = 1; e.dispatchEvent(new Event('change'))})"
        "(document.getElementById('task'))"
    )
    page.wait_for("document.getElementById('count').textContent.includes('of 30 samples')")

    assert page.value("window.owned") is None
    assert EVIL in page.value("document.getElementById('detail').textContent")
    assert page.value("document.querySelector('h1').textContent") == f"a-model{EVIL}"
    assert page.value("document.querySelectorAll('img').length") == 0
    assert page.complaints() == []


def test_answer_cannot_turn_its_letters_round(browser: Browser, tmp_path: Path) -> None:
    run = built_run(tmp_path, "run", {"quiz": [{**each, "answer": "\u202e24"} for each in many(3)]})
    write_report(run)

    page = opened(browser, run)

    assert "[U+202E]24" in page.value("document.getElementById('detail').textContent")
    assert "[U+202E]24" in page.value("document.getElementById('list').textContent")
    assert "\u202e" not in page.value("document.querySelector('main').textContent")


def test_sample_browser_filters_20000_samples_quickly(browser: Browser, run: Run) -> None:
    page = opened(browser, run)
    wrong = sum(record["scores"]["accuracy"] == 0 for record in many(20_000))

    with Pace() as pace:
        seconds = page.value(
            """(() => {
          const began = performance.now();
          document.querySelector('[data-show=wrong]').click();
          return (performance.now() - began) / 1000;
        })()"""
        )

    assert page.value("document.getElementById('count').textContent").startswith(
        f"{wrong:,} of 20,000 samples"
    )
    assert page.value("document.querySelectorAll('.item').length") < 40, "only what is seen"
    assert page.value(
        "[...document.querySelectorAll('.item')].every(i => i.classList.contains('wrong'))"
    )
    assert seconds < 2 * pace.slowness
    # search, and go down with the keyboard
    page.value(
        "(e => {e.value = 'are 19999 sheep'; e.dispatchEvent(new Event('input'))})"
        "(document.getElementById('search'))"
    )
    page.value("document.querySelector('[data-show=all]').click()")
    page.wait_for("document.querySelectorAll('.item').length === 1")
    assert "19999 sheep" in page.value("document.getElementById('detail').textContent")


def test_digests_are_not_broken_into_lines(browser: Browser, run: Run) -> None:
    page = opened(browser, run, 390)
    heights = page.value(
        "[...document.querySelectorAll('#provenance .facts code')]"
        ".map(code => code.getClientRects().length)"
    )
    assert len(heights) >= 2, "the run's id and the revision"
    assert set(heights) == {1}


def test_keyboard_goes_through_the_list(browser: Browser, run: Run) -> None:
    page = opened(browser, run)

    page.value(
        "for (let i = 0; i < 30; i++) document.getElementById('list').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'ArrowDown', cancelable: true}))"
    )

    assert "Sample 30" in page.value("document.getElementById('detail').textContent")
    assert page.value("document.getElementById('list').scrollTop") > 0
    chosen = "document.getElementById(list.getAttribute('aria-activedescendant')).textContent"
    assert "sheep are 30 sheep" in page.value(chosen), "a reader of the screen is told which"
    for key, number in (("End", 19_999), ("PageUp", 19_990), ("Home", 0)):
        page.value(
            "document.getElementById('list').dispatchEvent("
            f"new KeyboardEvent('keydown', {{key: '{key}', cancelable: true}}))"
        )
        assert f"Sample {number}" in page.value("document.getElementById('detail').textContent")


def test_page_is_one_file_that_asks_for_nothing(run: Run) -> None:
    text = run.paths.report.read_text()

    assert not re.search(r"""(src|href)=["'](?!#|data:)""", text.split("<script type")[0])
    assert "refresh" not in text and "@import" not in text
    blocks = re.findall(r'class="samples" data-task="(\w+)"[^>]*>([^<]*)</script>', text)
    assert [name for name, _ in blocks] == ["arithmetic_with_a_rather_long_name", "evil", "graded"]
    content = json.loads(gzip.decompress(base64.b64decode(blocks[1][1])))
    assert (content["metrics"], len(content["rows"])) == (["accuracy"], 30)


def test_provenance_and_comparison_are_on_the_page(run: Run) -> None:
    text = run.paths.report.read_text()

    assert "0123456789abcdef0123456789abcdef01234567" in text
    assert "by ada on node1" in text
    assert run.tasks[0].digest in text
    assert "Against before" in text and "not compared" in text.lower()


def test_time_of_a_server_in_use_and_idle_is_on_the_page(tmp_path: Path) -> None:
    run = built_run(tmp_path, "served", {"quiz": records([1.0, 0.0])})
    life = {"started": "2026-11-22T03:00:00Z", "loads": 1, "restarts": 0}
    life |= {"seconds_to_healthy": [42.0], "seconds_in_use": 600.0, "seconds_idle": 30.5}
    status = run.paths.dir / "deployments" / "vllm" / "status.json"
    status.parent.mkdir(parents=True)
    status.write_text(json.dumps({"state": "stopped", "cause": "all are done", "lives": [life]}))

    text = write_report(run).read_text()

    assert "healthy after 42 s, in use 600 s, idle 30.5 s" in text


def test_costs_are_told_where_the_config_has_prices_and_only_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = {"prompt_tokens": 500_000, "completion_tokens": 250_000}
    run = built_run(tmp_path, "paid", {"quiz": records([1.0, 0.0], **used), "riddle": None})
    assert "Cost" not in write_report(run).read_text()
    assert "costs" not in json.loads(run.paths.results_json.read_text())

    # when prices are written into the config of the finished run
    config = run.paths.config
    config.write_text(f"{config.read_text()}prices: {{prompt_tokens: 3, completion_tokens: 10}}\n")
    run = run_at(run.paths)
    print_table(run, write_tables(run, run.members))

    assert "cost: 8.00 USD, without riddle (not known)" in capsys.readouterr().out
    content = json.loads(run.paths.results_json.read_text())
    assert content["costs"] == {
        "currency": "USD", "total": 8.0, "tasks": {"quiz": 8.0, "riddle": None}
    }  # fmt: skip
    text = write_report(run).read_text()
    assert "<strong>8.00</strong><span>USD, cost (known ones)" in text
    assert '<td class="num" data-label="cost">8.00</td>' in text


def test_figures_take_intervals_from_samples_where_the_harness_gives_no_error(run: Run) -> None:
    shown = {task.name: task for task in figures(run).tasks}

    (score,) = shown["arithmetic_with_a_rather_long_name"].scores
    assert score.interval is not None
    assert score.interval[1] - score.interval[0] == pytest.approx(2 * 1.96 * 0.00324, rel=0.02)
    assert shown["evil"].totals["prompt_tokens"] == 300
    assert not shown["waiting"].published


# ---------------------------------------------------------------- many benchmarks

SHOWN = """[...document.querySelectorAll('table.scores tbody[data-name]')]
    .filter(body => !body.classList.contains('out')).map(body => body.dataset.name)"""


def choose(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.value(
            f"""(e => {{ e.value = {json.dumps(value)};
                for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind)); }})
            (document.getElementById('{name}'))"""
        )


def test_benchmarks_are_filtered_sorted_and_grouped(browser: Browser, run: Run) -> None:
    page = opened(browser, run)
    order = ["arithmetic_with_a_rather_long_name", "evil", "graded", "dead", "waiting"]
    assert page.value(SHOWN) == order

    choose(page, sort="score")
    assert page.value(SHOWN)[0] == "graded", "the lowest"
    assert set(page.value(SHOWN)[3:]) == {"dead", "waiting"}, "those without a score are last"
    choose(page, sort="name", group="state")
    assert page.value(SHOWN)[0] == "dead"
    headings = "[...document.querySelectorAll('.group')].map(body => body.textContent)"
    assert page.value(headings) == ["failed", "pending", "published"]
    choose(page, group="", state="missing")
    assert page.value(SHOWN) == ["dead", "waiting"]
    choose(page, state="", filter="long NAME")
    assert page.value(SHOWN) == order[:1]
    choose(page, filter="long f1")
    assert page.value(SHOWN) == []
    choose(page, filter="graded f1")
    assert page.value(SHOWN) == ["graded"]
    assert page.complaints() == []


def test_contents_stand_at_the_side_of_a_wide_screen(browser: Browser, run: Run) -> None:
    wide, narrow = opened(browser, run, 1280), opened(browser, run, 1000)
    links = "[...document.querySelectorAll('.contents ol a')]"
    assert wide.value(f"{links}.every(a => document.querySelector(a.getAttribute('href')))")
    assert wide.value(f"{links}.length") == 5
    assert wide.value("document.documentElement.scrollWidth") <= 1280
    display = "getComputedStyle(document.querySelector('.contents')).display"
    assert (wide.value(display), narrow.value(display)) == ("flex", "none")


def test_long_answer_is_shown_in_full_with_one_click(browser: Browser, tmp_path: Path) -> None:
    answer = "".join(f"Step {number}. " for number in range(2000))
    found = [{**record, "answer": answer} for record in many(3)]
    run = built_run(tmp_path, "long", {"quiz": found})
    write_report(run)
    page = opened(browser, run)
    texts = "[...document.querySelectorAll('#detail pre')].map(pre => pre.textContent)"

    assert not any("Step 1000." in text for text in page.value(texts))
    page.value("document.querySelector('#detail .more').click()")
    assert answer in page.value(texts)


def test_place_on_the_leaderboard_is_shown_where_there_is_one(
    browser: Browser, tmp_path: Path
) -> None:
    runs = [
        built_run(tmp_path, name, {"quiz": records([1.0] * right + [0.0] * (50 - right))}, name)
        for name, right in (("weak", 10), ("strong", 40))
    ]
    write_report(runs[0])
    assert opened(browser, runs[0]).value("document.getElementById('standings')") is None
    show(runs, tmp_path / "out")
    write_report(runs[0])

    text = opened(browser, runs[0]).value("document.getElementById('standings').textContent")
    assert "2 of 2" in text and "strong" in text
