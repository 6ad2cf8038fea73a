"""Result files of any content: a number of them is a score only where it can be one."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snakeval.job.result_formats import CheckFailed, Results
from snakeval.job.verify import check, read_results

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
NEMO = {"format": "nemo", "model_id": "m"}
OWN = {"format": "scores", "results": "r.json"}
DATE = "2026-11-27T00-00-00.000000"

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**30), 10**400),
    st.sampled_from([-1, 999, 0, 1, 0.5, True, None, "0.5", "N/A", [1, 0], {"value": 1}]),
)
NAMES = st.sampled_from(
    ["acc", "f1", "bypass", "num_missing", "api_error_fraction", "avg_tokens", "", "a/b", "\ud800"]
)


def nemo(folder: Path, tasks: object, groups: object = None, **spec: Any) -> Results:
    content = {
        "config": {},
        "results": {"tasks": tasks, "groups": groups or {}},
        "target": {"api_endpoint": {"model_id": "m"}},
    }
    (folder / "results.yml").write_text(yaml.safe_dump(content))
    return read_results(folder, {**NEMO, **spec})


def task(metric: str, **scores: float) -> dict[str, Any]:
    return {"metrics": {metric: {"scores": {name: {"value": v} for name, v in scores.items()}}}}


def lm_eval(folder: Path, results: object, groups: object = None) -> Results:
    sizes = {name: {"original": 4, "effective": 4} for name in ("one", "two")}
    content = {"results": results, "n-samples": sizes, "group_subtasks": groups or {}}
    (folder / f"results_{DATE}.json").write_text(json.dumps(content))
    return check(folder, {"format": "lm_eval"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


any_file = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def holds(results: Results) -> bool:
    counts = (results.coverage.expected, results.coverage.scored, results.coverage.unanswered)
    return all(math.isfinite(score.value) for score in results.scores) and all(
        count is None or (isinstance(count, int) and count >= 0) for count in counts
    )


@any_file
@given(
    scores=st.dictionaries(
        NAMES,
        NUMBERS | st.dictionaries(st.sampled_from(["value", "n", "stderr", "range"]), NUMBERS),
        max_size=4,
    ),
    samples=st.dictionaries(st.sampled_from(["expected", "scored", "unanswered"]), NUMBERS),
)
def test_own_results_of_any_content_are_scores_or_a_named_cause(
    folder: Path, scores: dict[str, Any], samples: dict[str, Any]
) -> None:
    (folder / "r.json").write_text(json.dumps({"scores": scores, "samples": samples}))

    try:
        found = check(folder, OWN)
    except CheckFailed as failed:
        assert failed.cause and "Error" not in failed.cause
        return
    assert found.scores and holds(found)


@any_file
@given(
    results=st.dictionaries(
        st.sampled_from(["one", "two", "all"]),
        st.dictionaries(st.sampled_from(["acc,none", "acc_stderr,none", "bypass,none"]), NUMBERS),
    ),
    groups=st.dictionaries(st.just("all"), st.lists(st.sampled_from(["one", "two", "three"]))),
)
def test_lm_evals_results_of_any_content_are_scores_or_a_named_cause(
    folder: Path, results: dict[str, Any], groups: dict[str, Any]
) -> None:
    try:
        found = lm_eval(folder, results, groups)
    except CheckFailed as failed:
        assert failed.cause
        return
    assert found.scores and holds(found)
    for part in groups.get("all", []):  # a group is published whole, or not
        assert any(score.task == part for score in found.scores) or results.get(part)


@pytest.mark.parametrize("metric", ["bypass", "bypass__none", "exact_match", "acc__strict-match"])
def test_999_and_bypass_are_no_scores(tmp_path: Path, metric: str) -> None:
    tasks = {"a": task(metric, **{metric: 999}), "b": task("acc", acc=0.5)}

    found = nemo(tmp_path, tasks)

    assert [score.task for score in found.scores] == ["b"]
    assert len(found.notes) == 1


def test_what_may_be_999_is_a_score(tmp_path: Path) -> None:
    found = nemo(tmp_path, {"a": task("perplexity", perplexity=999), "b": task("elo", elo=999)})

    assert [score.value for score in found.scores] == [999, 999]


def test_group_of_which_a_part_has_nothing_but_nan_is_refused(tmp_path: Path) -> None:
    groups = {"all": {"tasks": {"a": task("acc", acc=1), "b": task("acc", acc=math.nan)}}}

    with pytest.raises(CheckFailed, match="all is not whole: b has no score"):
        nemo(tmp_path, {}, groups)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"n": 12}, "is of 12 samples, and that 10 were scored"),
        ({"n": -5}, "says n of a: -5"),
        ({"n": "12"}, "says n of a: '12'"),
        ({"stderr": -0.1}, "standard error of a is -0.1"),
    ],
)
def test_claims_of_one_score_are_held_against_the_counts(
    tmp_path: Path, given: dict[str, Any], cause: str
) -> None:
    scores = {"scores": {"a": {"value": 0.5, **given}}, "samples": {"scored": 10}}
    (tmp_path / "r.json").write_text(json.dumps(scores))

    with pytest.raises(CheckFailed, match=cause):
        check(tmp_path, OWN)


def test_repeats_may_be_counted_in_n(tmp_path: Path) -> None:
    scores = {"scores": {"a": {"value": 0.5, "n": 50}}, "samples": {"scored": 10}}
    (tmp_path / "r.json").write_text(json.dumps(scores))

    assert check(tmp_path, OWN).scores[0].n == 50


# ---------------------------------------------------------------- directions of the catalogue


def directions_of(harness: str) -> dict[str, bool]:
    with (CATALOGUE / "nemo_harnesses.csv").open(newline="") as file:
        [row] = [each for each in csv.DictReader(file) if each["harness"] == harness]
    return {
        pattern: higher
        for column, higher in (("lower_is_better", False), ("higher_is_better", True))
        for pattern in row[column].split()
    }


@pytest.mark.parametrize(
    ("harness", "metric", "score", "better"),
    [
        ("nemo_skills", "pass@1", "symbolic_correct", "higher"),
        ("nemo_skills", "pass@1", "pass@1", "higher"),
        ("nemo_skills", "pass@1", "no_answer", "lower"),
        ("nemo_skills", "pass@1", "avg_tokens", "unknown"),
        ("nemo_skills", "pass@1", "gen_seconds", "unknown"),
        ("nemo_skills", "pass@1", "num_entries", "unknown"),
        ("nemo_skills", "pass@1", "something_new", "unknown"),
        ("simple_evals", "score", "micro", "higher"),
        ("simple_evals", "score", "micro_avg_of_10", "higher"),
        ("simple_evals", "chars", "chars", "unknown"),
        ("simple_evals", "score", "std", "unknown"),
        ("ruler", "accuracy", "4096", "higher"),
        ("hle", "confidence_half_width", "confidence_half_width", "unknown"),
        ("genai_perf_eval", "output_token_throughput", "avg", "higher"),
        ("genai_perf_eval", "request_latency", "avg", "lower"),
        ("lm-evaluation-harness", "embedding_distance", "embedding_distance", "unknown"),
        ("lm-evaluation-harness", "em__strict", "em__strict", "higher"),
        ("lm-evaluation-harness", "word_perplexity", "word_perplexity", "lower"),
        ("mmath", "language_ratio", "language_ratio", "unknown"),
    ],
)
def test_direction_is_known_of_what_a_number_is_and_else_unknown(
    tmp_path: Path, harness: str, metric: str, score: str, better: str
) -> None:
    tasks = {"a": task(metric, **{score: 0.5})}

    [found] = nemo(tmp_path, tasks, higher_is_better=directions_of(harness)).scores

    assert found.better == better


def test_what_a_harness_of_ones_own_declares_by_name_counts(tmp_path: Path) -> None:
    [found] = nemo(
        tmp_path, {"a": task("avg_tokens", avg_tokens=5)}, higher_is_better={"avg_tokens": True}
    ).scores

    assert found.better == "higher"
