"""No false score: what the check before publishing says of folders recorded from real harnesses.

The folders in data/verify were written by lm-eval 0.4.13 (`lm_eval_*`), by nemo-evaluator 0.2.8
with nvidia-lm-eval 26.3 (`nemo_*`) and by nemo-evaluator with a harness that grades or skips
failed requests (`quiz_*`), against an endpoint that fails on purpose. Their benchmark has 20
samples. They are trimmed: logs to the telling lines, SQLite caches to SQL text.
"""

import ast
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from snakeval.job import answer_cache, record, verify
from snakeval.job.result_formats import CheckFailed, Coverage, Results, Score
from snakeval.job.result_formats.nemo import Traffic, _unanswered
from snakeval.job.verify import check, read_results
from snakeval.render.lib import MODULES, write_library

DATA = Path(__file__).parent / "data" / "verify"
SIZE = 20


@dataclass
class Recorded:
    """A recorded work folder, brought back as the harness left it."""

    work: Path
    log: Path
    spec: dict[str, Any]

    @property
    def record(self) -> Path:
        return self.log.with_name("record")

    def check(self, exit_code: int = 0, **spec: Any) -> verify.Results:
        return verify.check(self.work, {**self.spec, **spec}, exit_code, [self.log])

    def result_file(self, pattern: str) -> Path:
        (found,) = self.work.rglob(pattern)
        return found


Recall = Callable[[str], Recorded]


@pytest.fixture
def recall(tmp_path: Path) -> Recall:
    """Bring a recorded folder back by its name."""

    def bring_back(name: str) -> Recorded:
        folder = tmp_path / name
        shutil.copytree(DATA / name, folder)
        for dump in folder.rglob("*.db.sql"):
            with closing(sqlite3.connect(dump.with_suffix(""))) as db:
                if dump.name == "cache.db.sql":
                    db.execute("PRAGMA journal_mode=wal")
                db.executescript(dump.read_text())
            dump.unlink()
        spec = {
            "format": "lm_eval" if name.startswith("lm_eval") else "nemo",
            "benchmark": "sums",
            "samples": None if name.endswith("_group") else SIZE,
            "cached": True,
            "model_id": "m",
        }
        return Recorded(folder / "work", folder / "evaluate.log", spec)

    return bring_back


HONEST = [
    ("lm_eval_filters", {}, Coverage(20, 20, 0)),
    ("lm_eval_group", {}, Coverage(40, 40, 0)),
    ("lm_eval_limit", {"limit_samples": 7}, Coverage(7, 7, 0)),
    ("lm_eval_limit_above_size", {"limit_samples": 70, "samples": None}, Coverage(20, 20, 0)),
    ("lm_eval_retried", {}, Coverage(20, 20, 0)),
    ("lm_eval_empty_answers", {}, Coverage(20, 20, 0)),
    ("lm_eval_same_question_twice", {}, Coverage(20, 20, 0)),
    ("lm_eval_repeats_sampled", {}, Coverage(20, 20, 0)),
    ("lm_eval_killed_then_resumed", {}, Coverage(20, 20, 0)),
    ("nemo_lm_eval", {}, Coverage(20, 20, 0)),
    ("nemo_group", {}, Coverage(40, 40, 0)),
    ("nemo_limit_above_size", {"limit_samples": 70, "samples": None}, Coverage(20, 20, 0)),
    ("nemo_retried", {}, Coverage(20, 20, 0)),
    ("nemo_interrupted_then_resumed", {}, Coverage(20, 20, 0)),
    ("nemo_killed_then_resumed", {}, Coverage(20, 20, 0)),
    ("quiz_answered", {}, Coverage(20, 20, 0)),
    ("quiz_answered", {"samples": None}, Coverage(None, 20, 0)),
    ("quiz_answered", {"samples": None, "limit_samples": 70}, Coverage(None, 20, 0)),
    ("quiz_empty_answers", {}, Coverage(20, 20, 0)),
    ("quiz_retried", {}, Coverage(20, 20, 0)),
    ("quiz_failed_then_resumed", {}, Coverage(20, 20, 0)),
    ("quiz_recorded_retried", {}, Coverage(20, 20, 0)),
    ("quiz_recorded_failed_then_resumed", {}, Coverage(20, 20, 0)),
    ("quiz_some_400_graded", {"max_unanswered": 0.2}, Coverage(20, 20, 4)),
]


@pytest.mark.parametrize(("name", "spec", "coverage"), HONEST)
def test_an_honest_result_passes(
    recall: Recall, name: str, spec: dict[str, Any], coverage: Coverage
) -> None:
    assert recall(name).check(**spec).coverage == coverage


NONE_IN_TIME = "the endpoint did not answer in time"
UNREACHED = "the endpoint could not be reached"
FAILED = [
    # The harness itself gave up.
    ("lm_eval_killed", 137, {}, r"exit code 137: it was killed \(SIGKILL"),
    ("lm_eval_killed", 143, {}, r"exit code 143: it was told to stop"),
    ("lm_eval_killed", 124, {}, r"exit code 124: a time limit was reached"),
    ("lm_eval_endpoint_dead", 1, {}, f"exit code 1: {UNREACHED}"),
    ("lm_eval_endpoint_died", 1, {}, f"exit code 1: {UNREACHED}"),
    ("lm_eval_all_400", 1, {}, r"the endpoint refused 21 requests \(400: 21\)"),
    ("lm_eval_some_500", 1, {}, r"the endpoint refused 5 requests \(500: 5\)"),
    ("lm_eval_400_one_at_a_time", 1, {}, r"the endpoint refused 1 request \(400: 1\)"),
    ("lm_eval_unknown_model", 1, {}, r'refused .* \(404: 23\); is the model "m" served there'),
    ("lm_eval_hanging", 1, {}, NONE_IN_TIME),
    ("nemo_endpoint_died", 1, {}, UNREACHED),
    ("nemo_all_400", 1, {}, r"the endpoint refused 25 requests \(400: 25\)"),
    ("nemo_hanging", 1, {}, NONE_IN_TIME),
    ("nemo_error_in_200", 1, {}, "the endpoint's answers were no completions"),
    ("nemo_server_error", 143, {}, "the endpoint failed: .* status code 400"),
    # NeMo ends with 0 when it is told to stop; in a terminal's group with 1.
    ("nemo_interrupted", 0, {}, r"was interrupted \(SIGTERM\)"),
    ("nemo_interrupted", 1, {}, r"was interrupted \(SIGTERM\)"),
    # A full disk, also where lm-eval only warns of it and ends with 0.
    ("lm_eval_disk_full", 1, {}, "the disk is full"),
    ("lm_eval_disk_full_at_results", 0, {}, "the disk is full"),
    ("lm_eval_disk_full_at_samples", 0, {}, "the disk is full"),
    ("nemo_disk_full", 1, {}, "the disk is full"),
    # The harness ended with 0 and a number.
    (
        "lm_eval_error_in_200",
        0,
        {},
        "^4 of 20 samples got no answer from the endpoint; none are",
    ),
    ("quiz_all_400_graded", 0, {}, r"the endpoint answered none of 40 requests \(400: 40\)"),
    ("quiz_all_400_skipped", 0, {}, r"the endpoint answered none of 40 requests \(400: 40\)"),
    ("quiz_dead_skipped", 0, {}, r"answered none of 40 requests \(no connection: 40\)"),
    ("quiz_unknown_model", 0, {}, r"answered none of 40 requests \(404: 40\)"),
    ("quiz_died_skipped", 0, {}, "only 9 of 20 samples were scored"),
    ("quiz_died_skipped", 0, {"samples": None, "limit_samples": SIZE}, "only 9 of 20 samples"),
    (
        "quiz_some_400_graded",
        0,
        {},
        r"4 of 20 samples got no answer .* \(400: 8\); none are",
    ),
    ("quiz_some_400_graded", 0, {"max_unanswered": 0.1}, r"4 of 20 .*; at most 10.0% are"),
    (
        "quiz_some_500_graded",
        0,
        {},
        r"4 of 20 samples got no answer .* \(500: 8\); none are",
    ),
    ("quiz_hanging_graded", 0, {}, r"4 of 20 samples got no answer .* \(no answer in time: 8\)"),
    ("quiz_recorded_some_400", 0, {}, r"4 of 20 samples got no answer"),
    ("quiz_recorded_some_400", 0, {"samples": None}, r"4 of 20 samples got no answer"),
    ("quiz_recorded_died", 0, {}, r"10 of 20 samples got no answer .* \(no connection: 20\)"),
    # Two NeMo evaluations on one host: this one's requests went through the other's adapter.
    ("quiz_foreign_adapter", 0, {}, "no request of this evaluation went through its own adapter"),
    # Fewer than asked for.
    ("lm_eval_filters", 0, {"samples": 100}, "only 20 of 100 samples were scored"),
    ("lm_eval_limit", 0, {"limit_samples": 10}, "only 7 of 10 samples were scored"),
    ("lm_eval_limit", 0, {}, "only 7 of 20 samples were scored"),
    ("quiz_answered", 0, {"samples": 100}, "only 20 of 100 samples were scored"),
    # Repeats that a cache collapses.
    ("lm_eval_repeats_greedy", 0, {}, "asks every sample 3 times, but the cache"),
    ("nemo_repeats_cached", 0, {}, "asks every sample 3 times, but the cache"),
    ("quiz_answered", 0, {"repeats": 4}, "asks every sample 4 times, but the cache"),
    # Another model than asked for.
    ("lm_eval_filters", 0, {"model_id": "n"}, 'the result is of the model "m", not of "n"'),
    ("nemo_lm_eval", 0, {"model_id": "n"}, 'the result is of the model "m", not of "n"'),
]


@pytest.mark.parametrize(("name", "exit_code", "spec", "cause"), FAILED)
def test_a_failure_that_looks_like_a_score_is_named(
    recall: Recall, name: str, exit_code: int, spec: dict[str, Any], cause: str
) -> None:
    with pytest.raises(CheckFailed, match=cause) as failed:
        recall(name).check(exit_code, **spec)
    assert "\n" not in failed.value.cause


def test_repeats_with_a_seed_each_are_not_refused(recall: Recall) -> None:
    assert recall("lm_eval_repeats_greedy").check(seeded=True).coverage == Coverage(20, 20, 0)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("lm_eval_filters", "results_*.json"),
        ("lm_eval_filters", "samples_*.jsonl"),
        ("nemo_lm_eval", "results.yml"),
        ("nemo_lm_eval", "samples_*.jsonl"),
    ],
)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.5, 0.7, 0.99])
def test_a_truncated_file_is_no_result(
    recall: Recall, name: str, pattern: str, kept: float
) -> None:
    recorded = recall(name)
    file = recorded.result_file(pattern)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(CheckFailed, match=r"truncated|only .* samples were scored"):
        recorded.check()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("lm_eval_filters", "results_*.json"),
        ("lm_eval_filters", "samples_*.jsonl"),
        ("nemo_lm_eval", "results.yml"),
    ],
)
def test_a_missing_file_is_no_result(recall: Recall, name: str, pattern: str) -> None:
    recorded = recall(name)
    recorded.result_file(pattern).unlink()
    with pytest.raises(CheckFailed, match=r"without a result file|samples file .* is missing"):
        recorded.check()


def test_the_same_sample_is_not_counted_twice(recall: Recall) -> None:
    recorded = recall("lm_eval_retried")
    samples = recorded.result_file("samples_*.jsonl")
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join([*lines[:-3], *lines[:3]]))
    with pytest.raises(CheckFailed, match="3 samples of sums were counted more than once"):
        recorded.check()


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"high"', "null", "true"])
def test_what_is_no_finite_number_is_told_and_the_rest_published(
    recall: Recall, value: str
) -> None:
    recorded = recall("lm_eval_filters")
    results = recorded.result_file("results_*.json")
    score = r'("exact_match,strict-match": )0\.9'
    text, times = re.subn(score, rf"\g<1>{value}", results.read_text())
    assert times == 1
    results.write_text(text)

    found = recorded.check()

    assert [score.score for score in found.scores] == ["flexible-extract"]
    assert found.notes == (
        "exact_match strict-match of sums_filters is not a finite number, and is left out",
    )


def test_scores_are_read_with_filters_groups_stderr_and_n(recall: Recall) -> None:
    filters = recall("lm_eval_filters").check().scores
    assert [(s.task, s.metric, s.score, s.n) for s in filters] == [
        ("sums_filters", "exact_match", "strict-match", 20),
        ("sums_filters", "exact_match", "flexible-extract", 20),
    ]
    assert filters[0].value == pytest.approx(0.9)
    assert filters[0].stderr == pytest.approx(0.0688, abs=1e-4)
    groups = recall("lm_eval_group").check().scores
    assert [(s.task, s.group, s.n) for s in groups] == [
        ("sums", "sums_group", 20),
        ("sums_dup", "sums_group", 20),
        (None, "sums_group", 40),
    ]


def test_a_task_that_is_its_own_group_is_one_row(recall: Recall) -> None:
    (score,) = recall("nemo_lm_eval").check().scores
    assert score == Score(
        "sums", None, "exact_match", "exact_match", 0.9, score.stderr, 20, "higher", headline=True
    )
    names = [(s.task, s.group) for s in recall("nemo_group").check().scores]
    assert names == [("sums", None), ("sums_dup", None), (None, "sums_group")]


def test_nested_groups_are_read(recall: Recall) -> None:
    recorded = recall("quiz_answered")
    results = recorded.result_file("results.yml")
    scores = "{metrics: {acc: {scores: {micro: {value: 0.5, stats: {stderr: 0.1, count: 20}}}}}"
    nested = f"  groups: {{all: {{groups: {{algebra: {scores}}}}}}}}}\n"
    results.write_text(results.read_text().replace("  groups: {}\n", nested))
    assert Score(None, "all/algebra", "acc", "micro", 0.5, 0.1, 20) in recorded.check().scores


def test_tokens_and_times_are_told(recall: Recall) -> None:
    totals = recall("nemo_lm_eval").check().totals
    assert totals["total_tokens"] == 20 * 11
    assert totals["requests"] == 20
    assert totals["runtime_seconds"] > 0


# -- answers that say nothing


def blank_samples(recorded: Recorded) -> None:
    """As lm-eval writes the samples file where each answer is an empty text."""
    for file in recorded.work.rglob("samples_*.jsonl"):
        samples = [json.loads(line) for line in file.read_text().splitlines()]
        blank = [{**sample, "resps": [[""] for _ in sample["resps"]]} for sample in samples]
        file.write_text("".join(json.dumps(sample) + "\n" for sample in blank))


@pytest.mark.parametrize("name", ["lm_eval_filters", "lm_eval_group", "nemo_lm_eval"])
def test_a_model_that_never_says_anything_has_no_score(recall: Recall, name: str) -> None:
    recorded = recall(name)
    blank_samples(recorded)
    with pytest.raises(CheckFailed, match="every answer of the model was empty"):
        recorded.check()


SILENT = {"role": "assistant", "content": "", "tool_calls": None}


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (SILENT, "every answer of the model was empty"),
        ({**SILENT, "content": None}, "every answer of the model was empty"),
        ({**SILENT, "tool_calls": [{"id": "1"}]}, None),
        ({**SILENT, "reasoning_content": "Hm."}, None),
    ],
)
def test_an_answer_without_text_may_say_something(
    recall: Recall, message: dict[str, Any], cause: str | None
) -> None:
    recorded = recall("quiz_answered")
    responses = recorded.work / "cache" / "responses" / "cache.db"
    body = json.dumps({"choices": [{"index": 0, "message": message}]})
    with closing(sqlite3.connect(responses)) as db, db:
        db.execute("UPDATE Cache SET value = ?", (body.encode(),))
    if cause is None:
        recorded.check()
    else:
        with pytest.raises(CheckFailed, match=cause):
            recorded.check()
        run_by_hand(recorded)
        assert verify.progress(recorded.work, recorded.spec) == 0


def test_empty_answers_are_forgotten_in_both_caches_of_a_nemo_image(recall: Recall) -> None:
    recorded = recall("nemo_lm_eval")
    blank_samples(recorded)
    (recorded.work / "lm_cache_rank0.db").mkdir()
    with closing(sqlite3.connect(recorded.work / "lm_cache_rank0.db" / "cache.db")) as db, db:
        db.execute("CREATE TABLE Cache (key TEXT PRIMARY KEY, value BLOB)")
        db.execute("INSERT INTO Cache VALUES ('key', ?)", (b'""',))
    assert answer_cache.lm_eval_count(recorded.work) == 1
    assert run_by_hand(recorded).returncode == 1
    assert answer_cache.lm_eval_count(recorded.work) == 0


# -- attempts that ask nothing


def as_resumed_without_asking(recorded: Recorded, earlier_answers: bool) -> None:
    """The adapter's cache is off, lm-eval has its own, and all was answered before the kill."""
    shutil.rmtree(recorded.work / "cache")
    results = recorded.result_file("results.yml")
    results.write_text(results.read_text().replace("name: caching", "name: none"))
    recorded.log.write_text("Cached requests: 20, Requests remaining: 0\n")
    with closing(sqlite3.connect(recorded.work / "response_stats_cache" / "cache.db")) as db, db:
        query = "SELECT value FROM Cache WHERE key = 'interceptor_state'"
        state = json.loads(db.execute(query).fetchone()[0])
        state["run_ids"].append({"run_id": 7})
        update = "UPDATE Cache SET value = ? WHERE key = 'interceptor_state'"
        db.execute(update, (json.dumps(state).encode(),))
        if not earlier_answers:
            db.execute("DELETE FROM Cache WHERE key != 'interceptor_state'")


def test_an_attempt_that_only_scores_what_was_answered_before_passes(recall: Recall) -> None:
    recorded = recall("nemo_lm_eval")
    as_resumed_without_asking(recorded, earlier_answers=True)
    assert recorded.check().coverage == Coverage(20, 20, 0)


def test_answers_that_no_attempt_got_through_its_own_adapter_are_refused(recall: Recall) -> None:
    recorded = recall("nemo_lm_eval")
    as_resumed_without_asking(recorded, earlier_answers=False)
    with pytest.raises(CheckFailed, match="went through its own adapter"):
        recorded.check()


def test_each_repeat_of_a_sample_needs_an_answer_where_nothing_tells_which_request_was_lost() -> (
    None
):
    """ProfBench asks each question four times in the same words: half of them failed, unseen."""
    half = Traffic(ok=12, failed=Counter({"500": 12}))

    assert _unanswered(half, samples=6, repeats=4) == 6
    assert _unanswered(replace(half, ok=24), samples=6, repeats=4) == 0


# -- errors that were cached as answers


def cached_answers(work: Path) -> int:
    (cache,) = work.glob("lm_cache_rank0.db")
    with closing(sqlite3.connect(cache)) as db:
        return int(db.execute("SELECT COUNT(*) FROM unnamed").fetchone()[0])


def test_errors_cached_by_lm_eval_are_asked_again(recall: Recall) -> None:
    recorded = recall("lm_eval_error_in_200")
    assert cached_answers(recorded.work) == 20
    assert run_by_hand(recorded).returncode == 1
    assert cached_answers(recorded.work) == 16


def test_errors_cached_by_a_killed_attempt_are_not_replayed_as_answers(recall: Recall) -> None:
    """The log of the attempt that got the errors is not the log of the one that scores them."""
    recorded = recall("lm_eval_error_in_200")
    second = recorded.log.with_name("second.log")
    second.write_text("Cached requests: 20, Requests remaining: 0\n")
    with pytest.raises(CheckFailed, match="4 of 20 samples got no answer"):
        verify.check(recorded.work, recorded.spec, 0, [recorded.log, second])
    assert verify.forget_errors(recorded.work, recorded.spec, unparsed=4)
    verify.check(recorded.work, recorded.spec, 0, [recorded.log, second], forgotten=time.time())


def test_errors_cached_by_nemo_are_asked_again(recall: Recall) -> None:
    recorded = recall("nemo_error_in_200")
    assert verify.progress(recorded.work, recorded.spec) == 20
    assert run_by_hand(recorded, exit_code=1).returncode == 1
    assert verify.progress(recorded.work, recorded.spec) == 16


# -- our own format


@pytest.mark.parametrize(
    ("content", "spec", "coverage"),
    [
        ({"scores": {"accuracy": 0.5}}, {}, Coverage(None, None, None)),
        ({"scores": {"accuracy": {"value": 0.5, "n": 10}}}, {"samples": 10}, Coverage(10, 10)),
        (
            {"scores": {"a": 1}, "samples": {"expected": 10, "scored": 10, "unanswered": 0}},
            {},
            Coverage(10, 10, 0),
        ),
        (
            {"scores": {"a": 1}, "samples": {"expected": 20, "scored": 20, "unanswered": 1}},
            {"max_unanswered": 0.05},
            Coverage(20, 20, 1),
        ),
    ],
)
def test_declared_scores_are_read(
    tmp_path: Path, content: Any, spec: dict[str, Any], coverage: Coverage
) -> None:
    (tmp_path / "out.json").write_text(json.dumps(content))
    spec = {"format": "scores", "results": "out.json", "benchmark": "mine", **spec}
    results = verify.check(tmp_path, spec)
    assert results.coverage == coverage
    assert results.scores[0].task == "mine"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"scores": {}}', "no score in it"),
        ("[]", "no score in it"),
        ('{"scores": {"a": 0.5', "truncated"),
        ('{"scores": {"a": NaN}}', "not a finite number"),
        ('{"scores": {"a": {"stderr": 0.5}}}', "not a finite number"),
        ('{"scores": {"a": 1}, "samples": {"expected": 100, "scored": 93}}', "only 93 of 100"),
        ('{"scores": {"a": 1}, "samples": {"expected": 9, "scored": 10}}', "only 9 were asked"),
        ('{"scores": {"a": 1}, "samples": {"scored": 0}}', "no sample was scored"),
        ('{"scores": {"a": 1}, "samples": {"scored": 9, "unanswered": 1}}', "1 of 9 samples"),
        (None, r"without its result file \(out.json\)"),
    ],
)
def test_declared_scores_that_do_not_hold_are_refused(
    tmp_path: Path, content: str | None, cause: str
) -> None:
    if content is not None:
        (tmp_path / "out.json").write_text(content)
    with pytest.raises(CheckFailed, match=cause):
        verify.check(tmp_path, {"format": "scores", "results": "out.json"})


# -- progress


@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("lm_eval_killed", 8),
        ("lm_eval_endpoint_died", 9),
        ("lm_eval_filters", 20),
        ("nemo_interrupted", 12),
        ("nemo_endpoint_died", 10),
        ("nemo_lm_eval", 20),
        ("lm_eval_disk_full", None),
    ],
)
def test_progress_counts_the_answers_on_disk(
    recall: Recall, name: str, answered: int | None
) -> None:
    recorded = recall(name)
    assert verify.progress(recorded.work, recorded.spec) == answered


def test_progress_is_read_beside_a_writing_harness_and_leaves_nothing(recall: Recall) -> None:
    recorded = recall("lm_eval_killed")
    (cache,) = recorded.work.glob("*.db")
    with closing(sqlite3.connect(cache)) as harness:
        harness.execute("INSERT INTO unnamed VALUES ('key', 'not committed')")
        assert verify.progress(recorded.work, recorded.spec) == 8
        harness.commit()
    assert verify.progress(recorded.work, recorded.spec) == 9
    published = recall("nemo_lm_eval")
    before = sorted(published.work.rglob("*"))
    verify.progress(published.work, published.spec)
    published.check()
    assert sorted(published.work.rglob("*")) == before


def test_progress_of_a_broken_cache_is_unknown(recall: Recall) -> None:
    recorded = recall("lm_eval_killed")
    (cache,) = recorded.work.glob("*.db")
    cache.write_bytes(b"no database")
    assert verify.progress(recorded.work, recorded.spec) is None


# -- by hand


def run_by_hand(
    recorded: Recorded, exit_code: int = 0, options: Sequence[str] = ("-E", "-s")
) -> subprocess.CompletedProcess[str]:
    """As `run.sh` does it: from copies in a run folder, without the library."""
    recorded.record.mkdir(exist_ok=True)
    (recorded.record / record.SPEC).write_text(json.dumps(recorded.spec))
    lib = recorded.log.with_name("lib")
    write_library(lib)
    command = [sys.executable, *options, lib / "verify.py", recorded.work]
    command += ["--record", recorded.record, "--exit-code", str(exit_code), "--log", recorded.log]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def check_file(recorded: Recorded) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((recorded.record / record.CHECK).read_text())
    return report


def test_a_pass_is_silent_and_written_down(recall: Recall) -> None:
    recorded = recall("nemo_lm_eval")
    done = run_by_hand(recorded)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    report = check_file(recorded)
    assert report["passed"] is True
    assert (report["expected"], report["scored"], report["unanswered"]) == (20, 20, 0)
    assert report["totals"]["total_tokens"] == 220


def test_a_failure_is_one_sentence_on_standard_output(recall: Recall) -> None:
    recorded = recall("quiz_all_400_graded")
    done = run_by_hand(recorded)
    assert done.returncode == 1
    assert done.stdout == "the endpoint answered none of 40 requests (400: 40)\n"
    assert done.stderr == ""
    assert check_file(recorded)["cause"] == done.stdout.strip()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": "csv"}', '{"samples": "many"}'])
def test_a_specification_that_cannot_be_read_is_a_failure(
    recall: Recall, tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / record.SPEC
    if content is not None:
        spec.write_text(content)
    recorded = recall("lm_eval_filters")
    assert verify.main([str(recorded.work), "--record", str(tmp_path), "--exit-code", "0"]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_what_nobody_foresaw_is_a_failure_and_no_traceback(recall: Recall) -> None:
    recorded = recall("lm_eval_filters")
    results = recorded.result_file("results_*.json")
    results.write_text('{"results": {"sums": 3}, "n-samples": {"sums": {}}}')
    done = run_by_hand(recorded)
    assert done.returncode == 1
    assert done.stdout.startswith("the result has another form than expected (")
    assert done.stderr == ""
    assert check_file(recorded)["passed"] is False


def test_a_check_that_cannot_be_written_is_no_pass(recall: Recall) -> None:
    recorded = recall("lm_eval_filters")
    (recorded.record / record.CHECK).mkdir(parents=True)
    done = run_by_hand(recorded)
    assert done.returncode == 1
    assert "the check cannot be written" in done.stdout


def test_no_line_of_a_log_is_quoted(recall: Recall) -> None:
    """lm-eval logs the headers of a failed request, and with them the API key."""
    recorded = recall("lm_eval_all_400")
    recorded.log.write_text(recorded.log.read_text().replace("ERROR", "ERROR Bearer canary"))
    assert "canary" not in run_by_hand(recorded, exit_code=1).stdout


def test_the_copies_need_no_library(recall: Recall) -> None:
    """Without any installed package; lm-eval's results are JSON."""
    done = run_by_hand(recall("lm_eval_filters"), options=("-E", "-S"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


NEED_AIOHTTP = ("gateway/server", "gateway/service", "gateway/upstream")
"""Started by nothing but the gateway, which is left out where aiohttp is not there."""


@pytest.mark.parametrize("name", MODULES)
def test_the_copies_run_on_an_old_python(name: str) -> None:
    source = (Path(verify.__file__).parent / f"{name}.py").read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
    }
    roots = {each.partition(".")[0] for each in imported} - {"yaml"}
    if name in NEED_AIOHTTP:
        roots -= {"aiohttp", "multidict", "yarl"}
    assert roots <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub. Visit", "Idavidrein/gpqa on"),
        ("Cannot access gated repo for url https://huggingface.co/api/datasets/a/b/x.", "a/b on"),
        ("Cannot access gated repo for url https://huggingface.co/a/b-7/resolve/m.", "a/b-7 on"),
        ("Access to dataset cais/hle is restricted and you are not", "cais/hle on"),
        ("Your request to access dataset cais/hle is awaiting a review", "cais/hle on"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "a dataset or model on"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "SSL_CERT_FILE"),
        ("snakeval: user 1000 of the container cannot write in /results", "user 1000 cannot write"),
        ("Error: container-init binary not found on the host: stat", "podman has no init program"),
        ("docker: Error response from daemon: error while creating mount source path '/h'",
         "cannot read a folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_around_the_harness_is_the_cause(
    tmp_path: Path, line: str, named: str
) -> None:
    log = tmp_path / "evaluate.log"
    log.write_text(f"starting\n{line}\nThe above exception was the direct cause\n")

    with pytest.raises(CheckFailed) as failed:
        verify.check(tmp_path, {"format": "scores"}, 1, [log])

    assert named in failed.value.cause
    assert "(see evaluate.log)" in failed.value.cause


# -- which way is better, and what a harness claims


def write_results_yml(folder: Path, tasks: str, groups: str = "{}") -> None:
    (folder / "results.yml").write_text(
        f"config: {{}}\nresults: {{tasks: {tasks}, groups: {groups}}}\n"
        "target: {api_endpoint: {model_id: m}}\n"
    )


def metrics(**values: object) -> str:
    scores = ", ".join(f"{name}: {{value: {value}}}" for name, value in values.items())
    return f"{{metrics: {{accuracy: {{scores: {{{scores}}}}}}}}}"


NAN = ".nan"
NEMO: dict[str, object] = {"format": "nemo", "model_id": "m"}


def test_scores_carry_the_direction_that_the_harness_says(recall: Recall) -> None:
    for name in ("lm_eval_filters", "lm_eval_group", "nemo_lm_eval", "nemo_group"):
        assert {score.better for score in recall(name).check().scores} == {"higher"}, name


def test_direction_and_range_come_from_the_catalogue_else_are_unknown(tmp_path: Path) -> None:
    write_results_yml(tmp_path, f"{{hle: {metrics(accuracy=12.3, calibration_error=4, other=1)}}}")

    found = read_results(
        tmp_path, {**NEMO, "higher_is_better": {"calibration_error": False, "other": True}}
    ).scores

    assert [score.better for score in found] == ["unknown", "lower", "higher"]


def test_score_outside_its_range_is_refused(tmp_path: Path) -> None:
    write_results_yml(tmp_path, f"{{hle: {metrics(accuracy=12.3)}}}")

    with pytest.raises(CheckFailed, match=r"is 12\.3, outside its range 0 to 1"):
        read_results(tmp_path, {**NEMO, "score_range": {"acc*": [0, 1]}})


def test_stand_ins_are_no_scores(tmp_path: Path) -> None:
    # given RULER's -1 for lengths that were not run, and a correlation that is really -1
    write_results_yml(
        tmp_path, f"{{ruler: {metrics(len_4096=0.5, len_8192=-1, pearson_corr=-1, half='.nan')}}}"
    )

    found = read_results(tmp_path, NEMO)

    assert [score.score for score in found.scores] == ["len_4096", "pearson_corr"]
    assert [note.partition(" of ")[0] for note in found.notes] == [
        "accuracy len_8192", "accuracy half",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "cause"),
    [
        ("num_missing: {value: 159}", "159 samples got no answer"),
        ("api_error_fraction: {value: 0.25}", "25.0% were lost"),
    ],
)
def test_gaps_that_a_result_states_are_held_against_what_is_allowed(
    tmp_path: Path, gap: str, cause: str
) -> None:
    write_results_yml(
        tmp_path, f"{{a: {{metrics: {{acc: {{scores: {{acc: {{value: 0.5}}, {gap}}}}}}}}}}}"
    )

    with pytest.raises(CheckFailed, match=cause):
        check(tmp_path, NEMO)


def test_no_gap_is_no_score_and_nothing_to_tell(tmp_path: Path) -> None:
    write_results_yml(tmp_path, f"{{a: {metrics(accuracy=0.5, num_missing=0)}}}")

    found = check(tmp_path, NEMO)

    assert [score.score for score in found.scores] == ["accuracy"]
    assert not found.notes


def test_group_whose_named_part_has_no_score_is_refused(recall: Recall, tmp_path: Path) -> None:
    recorded = recall("lm_eval_group")
    file = recorded.result_file("results_*.json")
    content = json.loads(file.read_text())
    del content["results"]["sums_dup"], content["n-samples"]["sums_dup"]
    file.write_text(json.dumps(content))
    with pytest.raises(CheckFailed, match="sums_group is not whole: sums_dup has no score"):
        recorded.check()

    write_results_yml(tmp_path, "{}", f"{{all: {{tasks: {{a: {metrics(acc=1)}, b: {{}}}}}}}}")
    with pytest.raises(CheckFailed, match="all is not whole: b has no score"):
        read_results(tmp_path, NEMO)


def own(folder: Path, samples: object, lines: str | None = None, **spec: object) -> Results:
    (folder / "r.json").write_text(json.dumps({"scores": {"a": 0.5}, "samples": samples}))
    if lines is not None:
        (folder / "s.jsonl").write_text(lines)
    return check(folder, {"format": "scores", "results": "r.json", **spec})


@pytest.mark.parametrize("claim", ["2", -3, 1.5, True, [], float("inf")])
@pytest.mark.parametrize("count", ["expected", "scored", "unanswered"])
def test_count_that_is_none_is_refused(tmp_path: Path, count: str, claim: object) -> None:
    with pytest.raises(CheckFailed, match=f"says {count}: .* no number of samples"):
        own(tmp_path, {"scored": 2, count: claim})


LINE = '{"id": %d, "scores": {"a": %s}}\n'


def test_declared_samples_are_held_against_the_score(tmp_path: Path) -> None:
    counts, spec = {"scored": 2}, {"samples_file": "s.jsonl"}

    with pytest.raises(CheckFailed, match=r"declared samples file s\.jsonl is missing"):
        own(tmp_path, counts, **spec)
    with pytest.raises(CheckFailed, match=r"2 samples were scored, and s\.jsonl holds only 1"):
        own(tmp_path, counts, LINE % (1, 1), **spec)
    assert own(tmp_path, counts, LINE % (1, 1) + LINE % (2, 0), **spec).notes == ()
    assert own(tmp_path, counts, LINE % (1, 1) + LINE % (2, 1), **spec).notes == (
        "a is 0.5, and the mean of its samples 1",
    )


def test_result_of_an_old_lm_eval_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "results_2024-03-01T00-00-00.000000.json").write_text(
        '{"results": {"t": {"acc,none": 0.5}}, "config": {"model_args": "model=m"}}'
    )

    with pytest.raises(CheckFailed, match=r"of an older lm-eval, .*n-samples"):
        read_results(tmp_path, {"format": "lm_eval"})
