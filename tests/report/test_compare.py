"""Two runs are compared on the same samples; what is not the same is refused with the reason."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.built_runs import built_run, publish, records
from rig.checked import marked_at, write_spec
from snakeval.compare import table
from snakeval.compare.comparison import Comparison, compare, write
from snakeval.errors import InputError
from snakeval.plan.run import Run
from snakeval.terminal import Terminal

ROOT = Path(__file__).parents[2]
RIGHT, WRONG = 1.0, 0.0


def two_runs(folder: Path, base: list[float], candidate: list[float]) -> tuple[Run, Run]:
    return (
        built_run(folder, "base", {"quiz": records(base)}),
        built_run(folder, "candidate", {"quiz": records(candidate)}, model="m2"),
    )


def test_table_of_a_narrow_terminal_has_the_columns_that_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare(*two_runs(tmp_path, [RIGHT] * 40, [RIGHT] * 20 + [WRONG] * 20))
    monkeypatch.setattr(table, "Terminal", lambda wide: Terminal(80))

    table.print_comparison(comparison)

    drawn = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "┏│"]
    assert max(map(len, drawn)) <= 80
    assert all(word in drawn[1] for word in ("quiz", "1.0000", "0.5000", "-0.5000", "worse"))
    assert "interval" not in drawn[0]


def refused(comparison: Comparison) -> str:
    (found,) = comparison.refused
    assert not comparison.scores
    return found.reason


def test_right_and_wrong_answers_are_paired_by_sample_and_the_flipped_are_named(
    tmp_path: Path,
) -> None:
    base, candidate = two_runs(
        tmp_path,
        [WRONG] * 2 + [RIGHT] * 12 + [RIGHT] * 20 + [WRONG] * 16,
        [RIGHT] * 2 + [WRONG] * 12 + [RIGHT] * 20 + [WRONG] * 16,
    )

    comparison = compare(base, candidate)

    (score,) = comparison.scores
    assert (score.task, score.name, score.n) == ("quiz", "accuracy", 50)
    assert (score.base, score.candidate) == (pytest.approx(0.64), pytest.approx(0.44))
    assert (score.won, score.lost) == (2, 12)
    assert score.difference.p == pytest.approx(0.0129, abs=5e-5)
    assert score.p_holm == score.difference.p
    assert score.verdict == "lower"
    assert [flip.sample for flip in score.flips] == [str(number) for number in range(14)]
    assert score.flips[2].prompt == "Question 2?"
    assert (score.flips[2].base_answer, score.flips[2].candidate_answer) == ("2", "no idea")
    assert [changed.key for changed in comparison.changed if "model" in changed.key] == [
        "target.api_endpoint.model_id"
    ]


def of_subjects(scores: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {**record, "subtask": subject}
        for subject, values in scores.items()
        for record in records(values)
    ]


def test_parts_of_a_benchmark_are_told_beside_the_whole_which_alone_is_decided_on(
    tmp_path: Path,
) -> None:
    base = {"law": [RIGHT] * 20, "physics": [RIGHT] * 20, "art": [WRONG] * 20}
    candidate = {**base, "law": [WRONG] * 10 + [RIGHT] * 10}
    runs = (
        built_run(tmp_path, "base", {"mmlu": of_subjects(base)}),
        built_run(tmp_path, "candidate", {"mmlu": of_subjects(candidate)}, model="m2"),
    )

    (score,) = compare(*runs).scores

    assert (score.n, score.lost, score.p_holm) == (60, 10, score.difference.p)
    parts = {part.subtask: part for part in score.parts}
    assert [(name, part.n, part.difference.value) for name, part in parts.items()] == [
        ("law", 20, -0.5), ("physics", 20, 0.0), ("art", 20, 0.0),
    ]  # fmt: skip
    assert parts["law"].p_holm == pytest.approx(3 * 2 / 2**10)


def test_parts_without_samples_are_not_taken_for_one_another(tmp_path: Path) -> None:
    left = Path(__file__).parents[1] / "unit" / "data" / "verify" / "nemo_group" / "work"
    runs = []
    for name, value in (("base", 0.9), ("candidate", 0.5)):
        run = built_run(tmp_path, name, {"sums_group": []}, model=name)
        work = run.tasks[0].paths.work(run.tasks[0].digest)
        results = (left / "results.yml").read_text()
        first, second = results.split("sums_dup:", 1)
        work.joinpath("results.yml").write_text(
            f"{first}sums_dup:{second.replace('value: 0.9', f'value: {value}', 1)}"
        )
        write_spec(run.tasks[0], {"format": "nemo", "benchmark": "sums_group"})
        runs.append(run)

    found = {score.name: score for score in compare(*runs).scores}

    assert found["sums: exact_match"].difference.value == 0
    assert found["sums_dup: exact_match"].difference.value == pytest.approx(-0.4)


def test_order_of_the_samples_counts_for_nothing(tmp_path: Path) -> None:
    scores = [float(number % 3 == 0) for number in range(30)]
    base = built_run(tmp_path, "base", {"quiz": records(scores)})
    candidate = built_run(tmp_path, "candidate", {"quiz": records(scores)[::-1]}, model="m2")

    (score,) = compare(base, candidate).scores

    assert (score.won, score.lost, score.difference.p) == (0, 0, 1.0)


def test_graded_scores_are_bootstrapped_and_repeats_are_one_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    graded = rng.uniform(size=60)
    repeats = [
        {**record, "repeat": repeat, "scores": {"accuracy": float((number + repeat) % 2)}}
        for number, record in enumerate(records([RIGHT] * 40))
        for repeat in range(4)
    ]
    base = built_run(tmp_path, "base", {"graded": records(list(graded)), "asked": repeats})
    candidate = built_run(
        tmp_path,
        "candidate",
        {"graded": records(list(np.clip(graded - 0.1, 0, 1))), "asked": repeats},
        model="m2",
    )

    by_task = {score.task: score for score in compare(base, candidate).scores}

    assert by_task["graded"].difference.kind == "bootstrap"
    assert by_task["graded"].verdict == "lower"
    assert by_task["asked"].n == 40
    assert by_task["asked"].difference.value == 0


def test_other_sample_set_is_refused(tmp_path: Path) -> None:
    base, candidate = two_runs(tmp_path, [RIGHT] * 10, [RIGHT] * 8)

    assert refused(compare(base, candidate)) == (
        "another sample set: 10 samples in base, 8 in candidate; 2 only in base, "
        "0 only in candidate"
    )


def test_other_prompts_and_other_right_answers_are_refused(tmp_path: Path) -> None:
    other_prompts = [{**each, "prompt": "Think! " + each["prompt"]} for each in records([1, 0, 1])]
    other_answers = [{**each, "expected": "42"} for each in records([1, 0, 1])]
    base = built_run(tmp_path, "base", {"quiz": records([1, 0, 1]), "riddle": records([1, 0, 1])})
    candidate = built_run(
        tmp_path, "candidate", {"quiz": other_prompts, "riddle": other_answers}, model="m2"
    )

    reasons = {each.task: each.reason for each in compare(base, candidate).refused}

    assert reasons["quiz"].startswith("another prompt (dataset revision")
    assert reasons["quiz"].endswith("in 3 of 3 samples")
    assert reasons["riddle"].startswith("another right answer")


def test_without_prompts_a_parameter_that_may_change_them_is_refused(tmp_path: Path) -> None:
    silent = [{"id": number, "score": 1.0} for number in range(5)]
    scores = {"quiz": {"score": 1.0}}
    few, many, warm = (
        built_run(tmp_path, name, {"quiz": silent}, params=params, scores=scores)
        for name, params in (
            ("few", {"extra": {"num_fewshot": 0}}),
            ("many", {"extra": {"num_fewshot": 5}}),
            ("warm", {"extra": {"num_fewshot": 0}, "temperature": 0.7}),
        )
    )

    assert "params.extra.num_fewshot (0 / 5)" in refused(compare(few, many))
    warmer = compare(few, warm)
    assert len(warmer.scores) == 1
    assert any(each.key.endswith("params.temperature") for each in warmer.changed)


def test_other_dataset_revision_is_refused(tmp_path: Path) -> None:
    base, candidate = two_runs(tmp_path, [RIGHT] * 5, [RIGHT] * 5)
    base.tasks[0].identity["dataset"] = "a" * 40
    candidate.tasks[0].identity["dataset"] = "b" * 40

    assert refused(compare(base, candidate)) == (
        f"another dataset revision: {'a' * 40} in base, {'b' * 40} in candidate"
    )


def test_benchmarks_without_a_result_or_in_one_run_only_are_told_and_hide_no_other(
    tmp_path: Path,
) -> None:
    cause = "the endpoint died"
    base = built_run(
        tmp_path, "base", {"quiz": records([1, 1]), "riddle": records([1]), "old": records([1])}
    )
    candidate = built_run(
        tmp_path,
        "candidate",
        {"quiz": records([1, 0]), "riddle": None},
        model="m2",
        failed={"riddle": cause},
    )

    comparison = compare(base, candidate)

    assert [score.task for score in comparison.scores] == ["quiz"]
    reasons = {each.task: each.reason for each in comparison.refused}
    assert reasons == {
        "riddle": f"no result in candidate (failed: {cause})",
        "old": "only the base has it",
    }


def test_scores_without_samples_are_compared_by_their_standard_errors(tmp_path: Path) -> None:
    def stated(value: float) -> dict[str, object]:
        return {"quiz": {"bleu": {"value": value, "stderr": 0.01, "n": 100}}}

    base, candidate = (
        built_run(tmp_path, name, {"quiz": []}, model=name, scores=stated(value))
        for name, value in (("one", 0.50), ("two", 0.40))
    )

    (score,) = compare(base, candidate).scores

    assert score.difference.kind == "unpaired"
    assert score.difference.interval == pytest.approx((-0.1277, -0.0723), abs=1e-4)


def test_p_values_are_corrected_over_all_scores(tmp_path: Path) -> None:
    flat, worse = [RIGHT] * 20, [WRONG] * 7 + [RIGHT] * 13
    tasks = [f"t{number}" for number in range(5)]
    base = built_run(tmp_path, "base", {name: records(flat) for name in tasks})
    candidate = built_run(
        tmp_path,
        "candidate",
        {name: records(worse if name == "t0" else flat) for name in tasks},
        model="m2",
    )

    first = compare(base, candidate).scores[0]

    assert first.difference.p == pytest.approx(0.015625)
    assert first.p_holm == pytest.approx(5 * 0.015625)
    assert first.verdict == "no difference seen"


def test_same_run_and_runs_without_a_common_benchmark_are_refused(tmp_path: Path) -> None:
    base = built_run(tmp_path, "base", {"quiz": records([1])})
    other = built_run(tmp_path, "other", {"riddle": records([1])})

    with pytest.raises(InputError, match="is the same run as base"):
        compare(base, base)
    with pytest.raises(InputError, match="no benchmark in common: quiz against riddle"):
        compare(base, other)


def test_comparison_json_holds_everything_and_a_new_result_is_seen(tmp_path: Path) -> None:
    base, candidate = two_runs(tmp_path, [RIGHT] * 5, [WRONG] * 5)
    write(compare(base, candidate), candidate)
    path = candidate.paths.results / "compare" / f"{base.paths.id}.json"

    content = json.loads(path.read_text())

    assert content["scores"][0]["lost"] == 5
    assert content["scores"][0]["difference"]["interval"][1] < 0
    assert len(content["scores"][0]["flips"]) == 5
    # when the task was started over, its samples are not the old ones
    task = candidate.tasks[0]
    task.paths.work(task.digest).rename(tmp_path / "old")
    task.paths.record(task.digest).rename(tmp_path / "old record")
    publish(task, records([RIGHT] * 5))
    marked_at(task, "later")
    assert compare(base, candidate).scores[0].lost == 0


def test_snakemake_compares_by_prefix_and_by_folder_and_tells_gos_from_the_rest(
    tmp_path: Path,
) -> None:
    base, candidate = two_runs(tmp_path, [RIGHT] * 20, [WRONG] * 8 + [RIGHT] * 12)

    def target(name: str, one: object, other: object) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name("snakemake"), "-s", ROOT / "Snakefile", name]
        command += ["--config", "execution={output_dir: out}", f"base={one}", f"candidate={other}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    compared = target("compare", base.paths.id[-8:], candidate.paths.dir)
    gated = target("gate", base.paths.dir, candidate.paths.id[-8:])

    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "-0.4000" in compared.stdout and "+0 -8" in compared.stdout
    assert "target.api_endpoint.model_id: m -> m2" in compared.stdout
    assert gated.returncode == 1, "Snakemake knows no other code"
    assert "NO-GO" in gated.stdout


def f1_run(folder: Path, name: str, f1: float, right: int) -> Run:
    """As lm-eval leaves an F1: what is kept of each sample is no score, and there is no error."""
    given = {"f1": {"value": f1, "higher_is_better": True, "n": 60}}
    samples = records([0.5] * right + [0.0] * (60 - right), "f1")
    return built_run(folder, name, {"quiz": samples}, name, scores={"quiz": given})


def test_samples_whose_mean_is_not_the_published_score_decide_nothing(tmp_path: Path) -> None:
    # given an F1 that falls from 1 to 0.33, and samples of a mean that rises
    base = f1_run(tmp_path, "base", 1.0, 10)
    candidate = f1_run(tmp_path, "candidate", 0.33, 40)

    comparison = compare(base, candidate)

    (score,) = comparison.scores
    assert (score.base, score.candidate) == (1.0, 0.33)
    assert score.difference.kind == "cautious"
    assert score.verdict == "lower"
    assert "quiz f1 is 1, and the mean of its samples 0.08333" in comparison.notes[0]
    assert "a cautious one is taken" in comparison.notes[1]


def repeated(rng: np.random.Generator, questions: int, shift: float = 0.0) -> list[dict[str, Any]]:
    """Every question asked five times, each time under an id of its own."""
    hard = rng.beta(0.5, 0.5, questions)
    right = rng.random((questions, 5)) < np.clip(hard[:, None] + shift, 0, 1)
    found = records([float(each) for each in right.ravel()])
    return [{**each, "prompt": f"Question {each['id'] // 5}?", "expected": "x"} for each in found]


def test_repeats_of_a_question_are_one_question(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = built_run(tmp_path, "base", {"quiz": repeated(rng, 100)})
    candidate = built_run(tmp_path, "candidate", {"quiz": repeated(rng, 100)}, model="m2")

    (score,) = compare(base, candidate).scores

    assert score.difference.kind == "clusters"
    assert score.difference.interval is not None
    low, high = score.difference.interval
    assert high - low > 0.2  # 500 questions would be some 0.11


def test_comparison_has_a_headline(tmp_path: Path) -> None:
    tasks = {"quiz": records([1.0] * 50 + [0.0] * 50), "riddle": records([1.0] * 90 + [0.0] * 10)}
    worse = {"quiz": records([1.0] * 20 + [0.0] * 80), "riddle": tasks["riddle"]}
    base, candidate = (
        built_run(tmp_path, "base", tasks),
        built_run(tmp_path, "candidate", worse, model="m2"),
    )

    headline = compare(base, candidate).headline

    assert headline.startswith("2 scores: 0 better, 1 worse, 1 no difference seen")
    assert "pooled over 2 benchmarks -0.1500, 95% interval -0.1979 to -0.1021" in headline
