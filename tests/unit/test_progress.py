"""Progress: what a line says, at any width; rates; a live block that loses no line of a job."""

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len
from rich.text import Text

from snakeval.job import attempt
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.gateway.tally import Tallies
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.models import names_of_models
from snakeval.run_folder.records import TaskState
from snakeval.runs import progress, progress_view, screen
from snakeval.runs.progress import Line, Watch

RUNNING = Line("r", "ifeval", "running", 271, 541, 4.13, 3, 12_000)
LINES = [
    RUNNING,
    replace(RUNNING, name="a_task_with_a_name_that_is_longer_than_any_column_of_it.7", done=0),
    Line("r", "mmlu", "running", waits_for="the server 'model' is loading"),
    Line("r", "gpqa", "pending", waits_for="in the queue: Resources"),
    Line("r", "own", "running", elapsed=75),
    Line("r", "gsm8k", "failed", cause="the harness ended with exit code 1: " + "x" * 300),
    Line("r", "done", "published", 10, 10),
]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = [*LINES, replace(RUNNING, name="准确率_" + "字" * 40)]
    shown = progress_view.block(lines, width, 40, 192).plain.splitlines()

    assert len(shown) == len(lines)  # all but what is finished, and the sums
    assert all(cell_len(line) <= width for line in shown)


def test_line_says_samples_share_rate_time_left_and_failures() -> None:
    said = progress_view.row(RUNNING, 120).plain

    assert "271 of 541  50%  4.1/s  1:05 left  3 failed" in said
    assert "█" in said
    assert "in the queue: Resources" in progress_view.row(LINES[3], 80).plain
    assert "its harness tells no count" in progress_view.row(LINES[4], 80).plain


def test_line_says_what_the_service_asks_for_and_sums_what_it_has_cost() -> None:
    waits = replace(RUNNING, paused=12.0, cost=0.5, currency="EUR")
    guessed = replace(RUNNING, name="other", is_guess=True, cost=0.25, currency="EUR")

    shown = progress_view.block([waits, guessed], 120, 40, 60).plain.splitlines()

    assert "271 of 541  50%  rate limit, waits 0:12" in shown[0]
    assert "271 of ~541" in shown[1]
    assert "24,000 tokens; 0.75 EUR" in shown[2]


def test_what_the_gateway_tells_is_cost_and_the_rate_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a run with prices, and what its gateway writes while the service says 429
    run = _run(tmp_path)
    run.config.write_text(
        yaml.safe_dump({"prices": {"prompt_tokens": 2.0, "completion_tokens": 8.0}})
    )
    monkeypatch.setattr(progress, "task_state", lambda paths, jobs: _state(5))
    record = run.task("ifeval").record("d")
    record.mkdir(parents=True)
    tallies = Tallies(record, 1)
    tokens = {"prompt": 500_000, "completion": 250_000}
    tallies.add({"key": "k", "endpoint": MODEL, "attempt": 1, "outcome": "answered",
                 "tokens": tokens})  # fmt: skip
    tallies.write(0, 7.0)

    watch = Watch([run])
    during = watch.look()[0]
    tallies.write(0)

    assert (during.cost, during.currency, during.paused) == (3.0, "USD", 7.0)
    assert watch.look()[0].paused == 0.0


def test_earlier_run_of_the_same_benchmark_says_how_many_samples_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path)
    asked = {
        "name": "ifeval",
        "digest": "d",
        "benchmark": "h.ifeval",
        "params": {"extra": {"a": 1}},
    }
    run.task("ifeval").spec.write_text(yaml.safe_dump(asked))
    unknown = replace(_state(5), expected=None)
    monkeypatch.setattr(progress, "task_state", lambda paths, jobs: unknown)
    for number, (params, expected) in enumerate([({"extra": {"a": 1}}, 64), ({}, 8)], 1):
        other = RunPaths(tmp_path / f"2026-01-0{number}-00-00-00-0123abc{number}")
        record = other.task("ifeval").record("e")
        record.mkdir(parents=True)
        (record / "task.yaml").write_text(yaml.safe_dump({**asked, "params": params}))
        (record / "check.json").write_text(json.dumps({"passed": True, "expected": expected}))

    [line] = Watch([run]).look()

    assert (line.expected, line.is_guess) == (64, True)


def test_many_benchmarks_are_the_active_ones_and_sums() -> None:
    many = [Line("r", f"t{number}", "pending", expected=10) for number in range(100)]
    lines = [*many, replace(RUNNING, name="active")]

    shown = progress_view.block(lines, 80, 12, 60).plain.splitlines()

    assert len(shown) <= 12
    assert shown[0].startswith("active")
    assert shown[-2] == "and 92 more"
    assert "0 of 101 published, 1 running, 100 pending; 271 of 1,541 samples" in shown[-1]


def test_answers_tell_how_far_a_harness_is_that_tells_no_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a harness whose samples take three answers each, as an earlier run has shown
    run = _run(tmp_path)
    asked = {"name": "ifeval", "digest": "d", "benchmark": "h.ifeval"}
    run.task("ifeval").spec.write_text(yaml.safe_dump(asked))
    counts = replace(_state(64), expected=64, requests=96)
    monkeypatch.setattr(progress, "task_state", lambda paths, jobs: counts)
    now = [0.0]
    watch = Watch([run], clock=lambda: now[0])

    before = watch.look()[0]
    record = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abc1").task("ifeval").record("e")
    record.mkdir(parents=True)
    (record / "task.yaml").write_text(yaml.safe_dump(asked))
    checked = {"passed": True, "expected": 64, "totals": {"answers": 192}}
    (record / "check.json").write_text(json.dumps(checked))
    now[0] += progress.ASK_QUEUE + 1
    after = watch.look()[0]

    # then they count, and the samples where nothing better is known; one that ends later is seen
    assert (before.done, before.expected, before.in_answers) == (64, 64, False)
    assert (after.done, after.expected, after.in_answers) == (96, 192, True)
    assert "96 of ~192 answers  50%" in progress_view.row(after, 120).plain


def test_a_harness_that_has_asked_nothing_yet_is_not_said_to_tell_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = replace(_state(0), requests=0, elapsed=75.0)
    monkeypatch.setattr(progress, "task_state", lambda paths, jobs: loading)

    said = progress_view.row(Watch([_run(tmp_path)]).look()[0], 80).plain

    assert "loading: nothing was asked yet, after 75 s" in said


def test_models_of_a_sweep_are_told_apart_by_the_ends_of_their_names(tmp_path: Path) -> None:
    def called(*models: str) -> list[str]:
        return names_of_models(models, [str(number) for number in range(len(models))])

    assert called("org/llama-8b", "org/qwen-7b") == ["llama-8b", "qwen-7b"]
    assert called("a/llama", "b/llama") == ["a/llama", "b/llama"]
    assert called("/ckpt/step_10/", "/ckpt/step_20/") == ["step_10", "step_20"]
    assert called("org/m", "org/m", "x") == ["m (0)", "m (1)", "x"]


def test_log_gets_one_line_with_everything() -> None:
    said = progress_view.plain_line(LINES, 192)

    assert said.startswith("1 of 7 published, 4 running, 1 failed, 1 pending; ")
    assert "ifeval 271 of 541 50%" in said
    assert "\n" not in said


def test_samples_are_expected_that_a_harness_counts_up_to_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "evaluate.log"
    log.write_text("Requesting API:  6%|▌ | 12/200 [00:03<00:50]\rRequesting API: 13/200 [00:04<")

    assert progress.expected_in(log) == 200
    assert progress.expected_in(tmp_path / "none") is None


def test_rate_is_over_what_was_seen_and_begins_anew_with_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now, samples = _run(tmp_path), [0.0], [100]
    monkeypatch.setattr(progress, "task_state", lambda paths, jobs: _state(samples[0]))
    watch = Watch([run], clock=lambda: now[0])

    def at(seconds: float, count: int) -> float | None:
        now[0], samples[0] = seconds, count
        return watch.look()[0].per_second

    assert at(0, 100) == 2.0  # over the attempt's 50 seconds
    assert at(10, 150) == 5.0
    assert at(20, 250) == 7.5
    assert at(200, 250 + 180) == 1.0  # what is older than two minutes is forgotten
    assert at(210, 5) == 0.1


def test_finished_benchmark_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def state(paths: Any, jobs: Any) -> TaskState:
        looks.append(paths)
        return replace(_state(8), state="published")

    monkeypatch.setattr(progress, "task_state", state)
    watch = Watch([_run(tmp_path)])

    assert [watch.look()[0].share for _ in range(3)] == [1.0, 1.0, 1.0]
    assert len(looks) == 1


def _state(samples: int) -> TaskState:
    return TaskState("ifeval", "d", "running", None, 1, 50.0, samples, 500, None, None)


def _run(folder: Path) -> RunPaths:
    run = RunPaths(folder / "2026-01-02-03-04-05-0123abcd")
    run.task("ifeval").dir.mkdir(parents=True)
    run.task("ifeval").spec.write_text(yaml.safe_dump({"name": "ifeval", "digest": "d"}))
    attempt.write(run.task("ifeval").dir, {"attempts": []})
    run.record.write_text('{"tasks": ["ifeval"]}')
    return run


# --- in a terminal --------------------------------------------------------------------------------

PROGRAM = """
import subprocess, sys
from snakeval.runs import screen
from snakeval.runs.progress import Line

class Watch:
    def look(self):
        return [Line("r", "ifeval", "running", 5, 10, 1.0)]

shown = screen.begin(Watch())
for number in range(300):
    print("ours", number, "x" * 100)
subprocess.run(["sh", "-c", "echo from a job; echo and its errors >&2"], check=True)
while not shown.has_drawn:
    pass
shown.end()
shown.end()
print("after", sys.stdout.isatty())
"""


def test_live_block_loses_no_line_and_gives_the_terminal_back() -> None:
    said = "".join(_in_a_terminal(PROGRAM, {screen.MODE: "", "TERM": "xterm"}))

    assert all(f"ours {number} {'x' * 100}\r\n" in said for number in range(300))
    assert "from a job" in said
    assert "and its errors" in said
    assert "5 of 10" in said
    assert said.rstrip().endswith("after True")


def test_block_leaves_nothing_behind_in_a_window_that_became_narrower() -> None:
    ours, its = pty.openpty()
    try:
        board = screen.Board(its)
        termios.tcsetwinsize(its, (24, 120))
        board.show("x" * 119 + "\n" + screen.coloured(Text("字" * 50, style="cyan"), 120))
        termios.tcsetwinsize(its, (24, 80))
        board.show("narrow\n")
        board.show("")
        said = b""
        while said.count(b"\x1b[J") < 2:
            said += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(its)

    # the terminal has folded 119 and 100 columns into two lines each
    assert said.endswith(b"\r\x1b[4A\x1b[Jnarrow\r\n\r\x1b[1A\x1b[J"), "nor of a ^C"


def test_progress_is_off_where_it_is_said_so() -> None:
    program = PROGRAM.replace("while not shown.has_drawn:\n    pass\n", "")
    said = "".join(_in_a_terminal(program, {screen.MODE: "off"}))

    assert "5 of 10" not in said
    assert said.rstrip().endswith("after True")


def _in_a_terminal(program: str, variables: dict[str, str]) -> Iterator[str]:
    """What a program writes that runs in a terminal of 80 columns."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, **variables, "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
    )
    os.close(its)
    try:
        while data := os.read(ours, 65536):
            yield data.decode(errors="replace")
    except OSError:  # Linux says so when the last writer has gone
        pass
    finally:
        process.wait()
        os.close(ours)
