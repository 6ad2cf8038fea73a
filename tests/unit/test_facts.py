"""What the catalogue knows of NVIDIA's harnesses: each file can be used, and what a harness leaves
is read as it says. With the real harnesses: tests/harnesses."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.job import verify
from snakeval.job.result_formats import CheckFailed, Coverage, Results, Score, Spec
from snakeval.job.result_formats.facts import Facts
from snakeval.job.result_formats.own_readers import OWN_READERS
from snakeval.job.result_formats.own_samples import counted_in_samples, own_samples
from snakeval.job.result_formats.own_scores import own_scores
from snakeval.job.result_formats.sample_files import OwnSample
from snakeval.job.scores import judged
from snakeval.plan.catalogue import shipped
from snakeval.results.sample_formats import read_samples

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
FILES = sorted((CATALOGUE / "facts").glob("*.yaml"))
BESIDE = {
    "higher_is_better",
    "score_range",
    "tasks",
    "required",
    "environment",
    "cache",
    "own_data",
    "data",
    "must_be",
    "fetches",
}
"""Keys of a facts file that others read than the check."""


def facts_of(harness: str, task: str = "") -> Facts:
    content = yaml.safe_load((CATALOGUE / "facts" / f"{harness}.yaml").read_text())
    return Facts.of({**content, **content.get("tasks", {}).get(task, {})})


def spec_of(harness: str, task: str = "", **more: Any) -> Spec:
    return Spec(format="nemo", facts=facts_of(harness, task), **more)


def left(work: Path, name: str, content: Any) -> None:
    path = work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str):
        lines = content if name.endswith(".jsonl") else [content]
        content = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(content)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_facts_are_of_a_harness_of_the_catalogue_and_all_of_them_are_read(path: Path) -> None:
    content = yaml.safe_load(path.read_text())

    assert path.stem in shipped(CATALOGUE).harnesses
    assert set(content) <= {field.name for field in fields(Facts)} | BESIDE
    known = Facts.of(content)  # TypeError for a key of samples that is none
    assert known.version.endswith(" 26.3")
    assert known.reader is None or known.reader in OWN_READERS
    assert set(content.get("tasks", {})) <= set(shipped(CATALOGUE).harnesses[path.stem].tasks)


def test_a_tasks_own_facts_replace_those_of_its_harness(tmp_path: Path) -> None:
    (benchmark,) = [each for each in shipped(CATALOGUE).benchmarks if each.id == "ifbench.ifbench"]

    assert benchmark.facts["version"] == "nvidia-ifbench 26.3" and "tasks" not in benchmark.facts


# --- samples -------------------------------------------------------------------------------------


def test_what_the_judge_left_open_was_asked_and_is_not_scored(tmp_path: Path) -> None:
    """AA-LCR takes the mean of the others: 'Judged 2/3 responses' was published."""
    rows = ["question,answer,responses_0,judgements_0,responses_1,judgements_1,average_judgement"]
    rows += ["q1,a,x,1,y,0,0.5", "q2,a,x,1.0,y,,1.0", "q3,a,x,0,y,1,0.5"]
    left(tmp_path, "m_results.csv", "\n".join([*rows, ""]))

    coverage, notes = counted_in_samples(tmp_path, spec_of("AA-LCR", limit_samples=3), Coverage())

    assert (coverage.scored, coverage.expected, notes) == (2, 3, ())
    samples = list(own_samples(tmp_path, facts_of("AA-LCR")))
    assert [(each.id, each.repeat, each.scores["accuracy"]) for each in samples] == [
        *(("0", 0, 1.0), ("0", 1, 0.0), ("1", 0, 1.0)),
        *(("1", 1, None), ("2", 0, 0.0), ("2", 1, 1.0)),
    ]


def test_a_question_that_was_not_asked_is_no_sample(tmp_path: Path) -> None:
    """MMATH writes all of its questions, whatever the limit."""
    asked = {"gid": 0, "final_prompt": "p", "prediction_0": "x", "correct_0": True, "answer": "x"}
    left(tmp_path, "org/model/en.json", [{**asked, "data_source": "CNMO"}, {"gid": 1}])

    (sample,) = own_samples(tmp_path, facts_of("mmath"))

    assert sample == OwnSample("CNMO", "0", 0, "p", "x", "x", None, {"accuracy": 1.0})


def test_only_wrong_ones_are_in_bfcls_score_files(tmp_path: Path) -> None:
    answers = "".join(json.dumps({"id": f"simple_{n}", "result": "r"}) + "\n" for n in range(3))
    wrong = {"id": "simple_1", "valid": False, "prompt": {"question": "q"}, "possible_answer": "p"}
    left(tmp_path, "result/m/BFCL_v3_simple_result.json", answers)
    summary = json.dumps({"accuracy": 0.67})
    left(tmp_path, "score/m/BFCL_v3_simple_score.json", f"{summary}\n{json.dumps(wrong)}\n")

    samples = list(own_samples(tmp_path, facts_of("bfcl")))
    coverage, notes = counted_in_samples(tmp_path, spec_of("bfcl", limit_samples=4), Coverage())

    assert len(notes) == 1 and notes[0].startswith("non_live_overall_acc counts 11 parts as 0")
    assert [each.scores["accuracy"] for each in samples] == [1.0, 0.0, 1.0]
    assert (coverage.scored, coverage.expected) == (3, 4)  # the limit is of each category


def test_what_hles_judge_did_not_answer_has_no_verdict(tmp_path: Path) -> None:
    verdict = {"correct": "no", "api_error": True, "correct_answer": "a", "model_answer": "API"}
    judged = {"q1": {"response": "x", "judge_response": verdict}}
    judged["q2"] = {"response": "y", "judge_response": {**verdict, "api_error": False}}
    left(tmp_path, "judged_hle_m.json", judged)

    coverage, _ = counted_in_samples(tmp_path, spec_of("hle", limit_samples=2), Coverage())

    assert (coverage.scored, coverage.expected) == (1, 2)
    assert [each.id for each in own_samples(tmp_path, facts_of("hle"))] == ["q1", "q2"]


def test_mtbenchs_missing_judgements_are_no_scores(tmp_path: Path) -> None:
    lines = [{"question_id": n, "turn": 1, "score": -1 if n else 7} for n in range(2)]
    left(tmp_path, "judgements/gpt-4_single.jsonl", lines)

    scores = [each.scores["average_score"] for each in own_samples(tmp_path, facts_of("mtbench"))]

    assert scores == [7.0, None]


def test_rulers_scores_stand_beside_its_predictions(tmp_path: Path) -> None:
    left(tmp_path, "4096/pred/per_sample_scores.json", {"niah_single_1": [100.0, 50.0]})
    lines = [{"index": n, "pred": "x", "input": "i", "outputs": ["o"]} for n in range(2)]
    left(tmp_path, "4096/pred/niah_single_1.jsonl", lines)

    samples = list(read_samples("nemo", tmp_path, None, facts_of("ruler")))

    assert [(each.subtask, each.score, each.answer) for each in samples] == [
        ("niah_single_1", 1.0, "x"),
        ("niah_single_1", 0.5, "x"),
    ]


def test_a_rulers_score_that_is_no_number_is_none(tmp_path: Path) -> None:
    left(tmp_path, "4096/pred/per_sample_scores.json", {"vt": ["x"]})
    left(tmp_path, "4096/pred/vt.jsonl", [{"pred": "x"}])

    assert [each.scores for each in own_samples(tmp_path, facts_of("ruler"))] == [{}]


def test_bigcodes_programs_are_the_repeats_of_its_problems(tmp_path: Path) -> None:
    left(tmp_path, "predictions.json", [["a", "b"], ["c", "d"]])

    found = list(own_samples(tmp_path, facts_of("bigcode-evaluation-harness")))
    coverage, _ = counted_in_samples(
        tmp_path, spec_of("bigcode-evaluation-harness", limit_samples=3), Coverage()
    )

    assert [(each.id, each.repeat, each.answer) for each in found] == [
        ("0", 0, "a"), ("0", 1, "b"), ("1", 0, "c"), ("1", 1, "d"),
    ]  # fmt: skip
    assert (coverage.expected, coverage.scored) == (None, 2)


def test_scicodes_limit_is_of_problems_and_a_sample_is_a_step(tmp_path: Path) -> None:
    for step in range(1, 12):  # of problem 77, which has twelve
        left(tmp_path, f"logs/m/x/77.{step}_0.txt", "pass")

    coverage, _ = counted_in_samples(tmp_path, spec_of("scicode", limit_samples=1), Coverage())
    assert (coverage.expected, coverage.scored) == (12, 11)

    left(tmp_path, "logs/m/x/10.1_0.txt", "pass")  # a problem that is asked with include_dev
    coverage, _ = counted_in_samples(tmp_path, spec_of("scicode", limit_samples=1), Coverage())
    assert (coverage.expected, coverage.scored) == (None, 12)


def test_a_safety_judge_that_says_nothing_of_use_gives_no_verdict(tmp_path: Path) -> None:
    """The harness counts it among all, as neither safe nor compliant."""
    rows = ["prompt,model_output,Response Safety", "p,a,safe", "q,b,unsafe", "r,c,ERROR"]
    left(tmp_path, "output.csv", "\n".join(rows) + "\n")
    said: list[Any] = [{"overall_compliance": "NOT_COMPLIANT"}, {"error": "No JSON found"}]
    lines = [{"prompt": "p", "compliance_evaluation": each} for each in said]
    left(tmp_path, "compliance_result.jsonl", lines)
    compliance = next(
        each for each in shipped(CATALOGUE).benchmarks if each.id == "safety_eval.compliance"
    )

    aegis = own_samples(tmp_path, facts_of("safety_eval"))
    of_policy = own_samples(tmp_path, Facts.of(compliance.facts))

    assert [each.scores["safety_rate"] for each in aegis] == [1.0, 0.0, None]
    assert [each.scores["compliance_rate"] for each in of_policy] == [0.0, None]


def test_simple_evals_samples_come_out_of_its_own_cache(tmp_path: Path) -> None:
    """Three samples, asked twice; its cache has dropped all of one, and a repeat of another."""
    kept(tmp_path / "mmlu/cache/cache.sqlite/cache.db", {place: mmlu(place) for place in (0, 2, 5)})
    left(tmp_path, "mmlu/mmlu.json", {"task_name": "mmlu", "n_repeats": 2})
    found = sorted(own_samples(tmp_path, facts_of("simple_evals")), key=lambda one: one[1:3])

    assert [(each.part, each.id, each.repeat, each.scores) for each in found] == [
        ("stem", "0", 0, {"score": 0.0}),
        (None, "1", 0, {}),
        ("stem", "2", 0, {"score": 1.0}),
        ("stem", "2", 1, {"score": 1.0}),
    ]
    assert found[0][3:7] == ([{"role": "user", "content": "q0"}], "A & B", "a0", "B")
    coverage, _ = counted_in_samples(tmp_path, spec_of("simple_evals", limit_samples=3), Coverage())
    assert (coverage.scored, coverage.expected) == (3, 3)


def mmlu(place: int) -> dict[str, Any]:
    convo = [
        {"role": "user", "content": f"q{place}"},
        {"role": "assistant", "content": f"a{place}"},
    ]
    page = "<p>Correct Answer: A &amp; B</p>\n<p>Extracted Answer: B</p>"
    score = float(place > 0)
    return {"score": score, "metrics": {"stem": score}, "html": page, "convo": convo}


def kept(path: Path, records: dict[int, Any]) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE Cache (key TEXT, value BLOB, filename TEXT)")
        rows = [(str(key), json.dumps(record).encode(), None) for key, record in records.items()]
        db.executemany("INSERT INTO Cache VALUES (?, ?, ?)", rows)


def test_a_simple_evals_cache_that_is_damaged_is_a_failed_check(tmp_path: Path) -> None:
    left(tmp_path, "mmlu/cache/cache.sqlite/cache.db", "no database at all")

    with pytest.raises(CheckFailed, match="damaged"):
        counted_in_samples(tmp_path, spec_of("simple_evals"), Coverage())


def test_what_profbench_takes_for_a_no_has_a_verdict(tmp_path: Path) -> None:
    ratings = ["Yes", "Yes.", "**Yes**", "I cannot say"]
    lines = [{"idx": number, "judge_rating": said} for number, said in enumerate(ratings)]
    left(tmp_path, "judgements/m_reasoning_False_search_0.jsonl", lines)

    scores = [each.scores["Overall"] for each in own_samples(tmp_path, facts_of("profbench"))]

    assert scores == [1.0, 1.0, 0.0, 0.0]


def test_a_judge_is_held_against_people_and_its_bias_has_no_better(tmp_path: Path) -> None:
    said = [("Yes", True), ("No", True), ("perhaps", False)]
    lines = [
        {"idx": n, "judge_rating": rating, "human_annotation": right}
        for n, (rating, right) in enumerate(said)
    ]
    left(tmp_path, "m_reasoning_False.jsonl", lines)
    facts = facts_of("profbench", "llm_judge")
    content = yaml.safe_load((CATALOGUE / "facts" / "profbench.yaml").read_text())
    known = content["tasks"]["llm_judge"]
    named = {key: known[key] for key in ("higher_is_better", "score_range")}
    values = {"Overall": 60.0, "MF1-BI": -1.0, "BIAS-INDEX": 61.0, "o3": -50.0}
    scores = [Score("llm_judge", None, name, name, value) for name, value in values.items()]

    result = judged(Results(scores, Coverage()), spec_of("profbench", "llm_judge", **named))

    assert [each.scores["agreement"] for each in own_samples(tmp_path, facts)] == [1.0, 0.0, 1.0]
    assert [(each.metric, each.better) for each in result.scores] == [
        *(("MF1-BI", "higher"), ("Overall", "higher")),
        *(("BIAS-INDEX", "lower"), ("o3", "unknown")),
    ]


def test_programs_of_one_question_are_samples_of_their_own(tmp_path: Path) -> None:
    lines = [{"question_id": "7", "id": f"s{n}", "graded_list": [True]} for n in range(2)]
    left(tmp_path, "m_eval_all.json", lines)
    wanted = spec_of("livecodebench", "codeexecution_v2", limit_samples=2)

    assert counted_in_samples(tmp_path, wanted, Coverage())[0].scored == 2


def test_samples_that_are_elsewhere_in_another_version_are_told_and_decide_nothing(
    tmp_path: Path,
) -> None:
    known = Coverage(None, 5, 0)

    coverage, notes = counted_in_samples(tmp_path, spec_of("ifbench"), known)

    assert coverage == known
    assert notes == ("its single samples are not where nvidia-ifbench 26.3 has them",)


def test_a_verdict_that_another_version_names_otherwise_is_none_that_is_missing(
    tmp_path: Path,
) -> None:
    left(tmp_path, "eval_results_loose.jsonl", [{"prompt": "p", "response": "r", "right": True}])

    coverage, _ = counted_in_samples(tmp_path, spec_of("ifbench", limit_samples=1), Coverage())

    assert (coverage.scored, coverage.expected) == (1, 1)


def test_a_samples_file_that_was_cut_is_a_failed_check(tmp_path: Path) -> None:
    left(tmp_path, "eval_results_loose.jsonl", '{"prompt": "p", "resp')

    with pytest.raises(CheckFailed, match=r"eval_results_loose\.jsonl is truncated"):
        counted_in_samples(tmp_path, spec_of("ifbench"), Coverage())


# --- scores --------------------------------------------------------------------------------------


def test_the_headline_comes_first_and_counters_are_no_scores() -> None:
    names = {"Physics": 40.0, "Overall": 50.0, "prompt_tokens": 4000.0}
    scores = [Score("report_generation", None, name, name, value) for name, value in names.items()]

    result = judged(Results(scores, Coverage()), spec_of("profbench"))

    assert [(each.metric, each.headline, each.unit) for each in result.scores] == [
        ("Overall", True, "percent"),
        ("Physics", False, "percent"),
    ]
    assert result.totals == {"prompt_tokens": 4000.0}


def test_the_headline_is_of_the_whole_rather_than_of_a_part() -> None:
    scores = [Score("AIME2024", None, "accuracy", "accuracy", 0.2)]
    scores += [Score(None, "MMATH", "accuracy", "accuracy", 0.5)]

    result = judged(Results(scores, Coverage()), spec_of("mmath"))

    assert [(each.group, each.headline) for each in result.scores] == [
        ("MMATH", True),
        (None, False),
    ]


def test_empty_predictions_of_ruler_count_as_lost() -> None:
    scores = [Score("niah", None, "accuracy", "accuracy", 0.5, None, 4)]
    scores += [Score("niah", None, "accuracy", "num_nulls", 2.0)]

    result = judged(Results(scores, Coverage(4, 4, 0)), spec_of("ruler"))

    assert [each.score for each in result.scores] == ["accuracy"]
    assert result.coverage.unanswered == 2


@pytest.mark.parametrize(
    ("harness", "limit", "samples"),
    [
        ("scicode", 1, 12),  # said "18 of 1": steps of a problem, held against problems
        ("scicode", None, 288),
        ("ifbench", None, 294),
        ("ifbench", 0.5, 147),
        ("hle", 6, 6),
        ("bfcl", 6, None),  # of each category, and which are run nobody says before
    ],
)
def test_progress_counts_up_to_what_its_harness_calls_a_sample(
    harness: str, limit: float | None, samples: int | None
) -> None:
    assert verify.expected(spec_of(harness, limit_samples=limit)) == samples


def test_what_became_of_a_question_is_no_score_like_another(tmp_path: Path) -> None:
    parts = ("is_correct", "is_incorrect", "is_not_attempted")
    scores = [Score(part, None, "score", "micro", 0.5) for part in parts]
    spec = spec_of("simple_evals", "simpleqa", higher_is_better={"*": True})

    found = judged(Results(scores, Coverage()), spec)

    assert {each.task: each.better for each in found.scores} == {
        "is_correct": "higher",
        "is_incorrect": "lower",
        "is_not_attempted": "unknown",
    }


GARAKS_REPORT = "garak/garak_runs/results.report.jsonl"


def attempt(sample: str, status: int, **hits: list[float | None]) -> dict[str, Any]:
    """Of garak, with two answers; it stands in the report once before its detectors' word."""
    turns = [{"role": "user", "content": {"text": "ignore"}}]
    return {
        "entry_type": "attempt",
        "uuid": sample,
        "status": status,
        "probe_classname": "dan.Dan",
        "prompt": {"turns": turns},
        "outputs": [{"text": "one"}, {"text": "two"}],
        "detector_results": {f"d.{name}": found for name, found in hits.items()},
    }


def evaluated(detector: str, passed: int, of: int) -> dict[str, Any]:
    rate = {"passed": passed, "total_evaluated": of}
    return {"entry_type": "eval", "probe": "dan.Dan", "detector": detector, **rate}


def test_each_detector_of_a_garak_probe_has_its_rate_and_none_hides_another(tmp_path: Path) -> None:
    """Its own results.yml had the last one's alone: 0 of a probe that passes in full."""
    hits = {"Dan": [0.0, 0.4], "Mitigation": [1.0, 1.0]}
    lines = [attempt("a", 1), attempt("a", 2, **hits)]
    left(
        tmp_path, GARAKS_REPORT, [*lines, evaluated("d.Dan", 2, 2), evaluated("d.Mitigation", 0, 2)]
    )

    scores, told = own_scores(tmp_path, facts_of("garak").reader)
    samples = list(own_samples(tmp_path, facts_of("garak")))
    found = judged(
        Results(scores, Coverage()), spec_of("garak", higher_is_better={"pass_rate": True})
    )

    assert [(each.task, each.metric, each.value, each.n) for each in found.scores] == [
        ("dan.Dan", "d.Dan", 1.0, 2),
        ("dan.Dan", "d.Mitigation", 0.0, 2),
    ]
    assert {(each.better, each.unit, each.headline) for each in found.scores} == {
        ("higher", "fraction", False)
    }
    assert [(each.id, each.repeat, each.answer) for each in samples] == [
        ("a", 0, "one"),
        ("a", 1, "two"),
    ]
    assert [each.scores for each in samples] == [{"d.Dan": 1.0, "d.Mitigation": 0.0}] * 2
    assert told and "last detector" in told[0]


def test_an_attempt_of_garak_that_no_detector_has_judged_is_not_scored(tmp_path: Path) -> None:
    judged_one = attempt("a", 2, Dan=[0.0, None])
    left(tmp_path, GARAKS_REPORT, [judged_one, attempt("b", 1), attempt("c", 2, Dan=[0.0, 0.0])])

    coverage, _ = counted_in_samples(tmp_path, spec_of("garak"), Coverage())

    assert (coverage.scored, coverage.expected) == (1, 3)
