"""GO, NO-GO, INCONCLUSIVE: by the policy, with reasons, and exit codes that a CI can use."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.built_runs import built_run, records
from snakeval.compare.comparison import compare, write
from snakeval.compare.policy import Policy, read_policy
from snakeval.compare.suite import Suite, SuiteFile
from snakeval.compare.suited import with_suites
from snakeval.compare.verdict import Verdict, decide
from snakeval.errors import InputError
from snakeval.plan.run import Run
from snakeval.report.page import write_report

ROOT = Path(__file__).parents[2]
N = 1000


def runs(folder: Path, lost: int, won: int = 0, n: int = N) -> tuple[Run, Run]:
    """Two runs of 80% right; the candidate has lost and won some."""
    base = [1.0] * (n * 8 // 10) + [0.0] * (n * 2 // 10)
    candidate = [0.0] * lost + base[lost : n - won] + [1.0] * won
    return (
        built_run(folder, "base", {"quiz": records(base)}),
        built_run(folder, "candidate", {"quiz": records(candidate)}, model="m2"),
    )


def verdict(policy: dict[str, Any], pair: tuple[Run, Run]) -> Verdict:
    return decide(Policy.model_validate(policy), compare(*pair))


def test_small_drop_within_the_limit_is_go(tmp_path: Path) -> None:
    found = verdict({"others": {"max_drop": 0.02}}, runs(tmp_path, lost=10, won=8))

    assert (found.decision, found.exit_code) == ("GO", 0)
    assert found.reasons == ("1 critical score within the limits",)


def test_real_drop_above_the_limit_is_no_go_with_figures(tmp_path: Path) -> None:
    found = verdict({"benchmarks": {"quiz": {"max_drop": 0.02}}}, runs(tmp_path, lost=40, won=5))

    assert (found.decision, found.exit_code) == ("NO-GO", 1)
    assert found.reasons[0].startswith("quiz accuracy: drop +0.0350, allowed 0.0200, 95% interval")


def test_too_few_samples_to_tell_are_inconclusive_and_say_how_many_would_do(
    tmp_path: Path,
) -> None:
    found = verdict({"others": {"max_drop": 0.02}}, runs(tmp_path, lost=1, won=1, n=50))

    assert (found.decision, found.exit_code) == ("INCONCLUSIVE", 2)
    assert "too few samples to rule out a larger drop (some " in found.reasons[0]


def test_relative_limits_are_shares_of_the_base(tmp_path: Path) -> None:
    pair = runs(tmp_path, lost=24)  # 0.8 -> 0.776: 3% of 0.8

    strict = verdict({"others": {"max_relative_drop": 0.02}}, pair)
    lenient = verdict({"others": {"max_relative_drop": 0.06}}, pair)

    assert strict.findings[0].limit == pytest.approx(0.016)
    assert (strict.decision, lenient.decision) == ("NO-GO", "GO")


def test_advisory_rules_are_told_and_refuse_nothing(tmp_path: Path) -> None:
    names = ("quiz", "riddle")
    base = built_run(tmp_path, "base", {name: records([1.0] * N) for name in names})
    candidate = built_run(
        tmp_path,
        "candidate",
        {"quiz": records([0.0] * 100 + [1.0] * 900), "riddle": records([1.0] * N)},
        model="m2",
    )
    advisory = {"quiz": {"max_drop": 0.02, "level": "advisory"}}

    found = verdict({"benchmarks": advisory, "others": {"max_drop": 0.02}}, (base, candidate))

    assert found.decision == "GO"
    assert {each.task: each.outcome for each in found.findings} == {
        "quiz": "fail",
        "riddle": "pass",
    }


def test_critical_benchmark_that_cannot_be_compared_is_inconclusive(tmp_path: Path) -> None:
    base = built_run(tmp_path, "base", {"quiz": records([1.0] * N), "riddle": records([1.0])})
    candidate = built_run(
        tmp_path,
        "candidate",
        {"quiz": records([1.0] * N), "riddle": None},
        model="m2",
        failed={"riddle": "disk full"},
    )

    everything = verdict({"others": {"max_drop": 0.02}}, (base, candidate))
    named = verdict(
        {"benchmarks": {"quiz": {"max_drop": 0.02}, "poem": {"max_drop": 0.1}}}, (base, candidate)
    )

    assert everything.reasons == (
        "riddle: not compared: no result in candidate (failed: disk full)",
    )
    assert (named.decision, named.reasons) == ("INCONCLUSIVE", ("poem: is in neither run",))


def errors(folder: Path, **about: bool) -> tuple[Run, Run]:
    """Two runs of a word error rate, which rises from 0 to 0.3."""
    found = []
    for name, wrong in (("base", 0), ("candidate", 30)):
        scores = {"wer": {"value": wrong / 100, **about}}
        samples = records([1.0] * wrong + [0.0] * (100 - wrong), "wer")
        found.append(built_run(folder, name, {"asr": samples}, name, scores={"asr": scores}))
    return found[0], found[1]


LIMIT = {"max_drop": 0.02}


def test_rise_is_the_drop_where_lower_is_better(tmp_path: Path) -> None:
    said = errors(tmp_path / "a", higher_is_better=False)
    unsaid = errors(tmp_path / "b")

    assert verdict({"others": LIMIT}, said).decision == "NO-GO"
    assert verdict({"others": {**LIMIT, "better": "lower"}}, unsaid).decision == "NO-GO"


def test_nothing_is_decided_from_a_direction_that_nobody_knows(tmp_path: Path) -> None:
    unsaid = errors(tmp_path / "a")
    said = errors(tmp_path / "b", higher_is_better=False)

    unknown = verdict({"others": LIMIT}, unsaid)
    contrary = verdict({"others": {**LIMIT, "better": "higher"}}, said)

    assert (unknown.decision, contrary.decision) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert "write better: higher or better: lower under benchmarks.asr" in unknown.reasons[0]
    assert "the policy says that higher is better, and the results say lower" in contrary.reasons[0]


def test_policies_with_mistakes_are_told_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "benchmarks": {
                    "quiz": {"max_dorp": 0.1, "max_drop": 0.1},
                    "riddle": {"max_drop": 0.1, "max_relative_drop": 0.1},
                },
                "others": {"max_drop": -1},
            }
        )
    )

    with pytest.raises(InputError) as told:
        read_policy(path)

    text = str(told.value)
    assert (
        "benchmarks.quiz.max_dorp: unknown key 'max_dorp'\n    -> did you mean 'max_drop'" in text
    )
    assert "needs exactly one of max_drop and max_relative_drop" in text
    assert "others.max_drop" in text
    path.write_text("others: {max_drop: 0.1, level: advisory}\n")
    with pytest.raises(InputError, match="has no critical rule"):
        read_policy(path)
    with pytest.raises(InputError, match="there is no such policy"):
        read_policy(tmp_path / "nothing.yaml")


def test_policy_that_comes_along_can_be_read() -> None:
    for path in sorted((ROOT / "config" / "policies").glob("*.yaml")):
        assert read_policy(path)


def test_workflow_for_github_actions_decides_as_it_says(tmp_path: Path) -> None:
    # given the example of the docs, in a checkout of the repository
    page = (ROOT / "docs" / "compare.md").read_text()
    workflow = yaml.safe_load(page.split("```yaml\nname: gate")[1].split("```")[0])
    steps = {step.get("name"): step for step in workflow["jobs"]["gate"]["steps"]}
    for name in ("scripts", "config", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(sys.executable)
    ended = {}
    for case, lost, n in (("good", 3, N), ("bad", 90, N), ("few", 1, 10)):
        base, candidate = runs(tmp_path / case, lost=lost, won=min(lost, 3), n=n)
        (tmp_path / "results").unlink(missing_ok=True)
        (tmp_path / "results").symlink_to(tmp_path / case / "candidates")
        moved = tmp_path / case / "candidates" / candidate.paths.id
        moved.parent.mkdir()
        candidate.paths.dir.rename(moved)
        script = steps["decide"]["run"].replace(
            "/data/evaluations/the-released-run", str(base.paths.dir)
        )
        ended[case] = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert {case: found.returncode for case, found in ended.items()} == {
        "good": 0, "bad": 1, "few": 0,
    }, [found.stdout + found.stderr for found in ended.values()]  # fmt: skip
    assert ended["good"].stdout.endswith("GO\n")
    assert "::warning::INCONCLUSIVE" in ended["few"].stdout


def test_command_ends_with_0_1_2_and_with_3_where_nothing_was_decided(tmp_path: Path) -> None:
    def gate(*arguments: object) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "gate.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    base, good = runs(tmp_path / "good", lost=3, won=3)
    bad = runs(tmp_path / "bad", lost=90)[1]
    few = runs(tmp_path / "few", lost=1, n=10)
    both = ("--base", base.paths.dir, "--candidate", good.paths.dir)

    code, output = gate(*both)
    assert (code, "\nGO\n" in output) == (0, True), output
    content = json.loads(good.paths.verdict(base.paths.id).read_text())
    assert (content["decision"], content["policy"]) == ("GO", "release.yaml")
    code, output = gate("--base", base.paths.dir, "--candidate", bad.paths.dir)
    assert (code, "\nNO-GO\n" in output) == (1, True), output
    code, output = gate("--base", few[0].paths.dir, "--candidate", few[1].paths.dir)
    assert (code, "\nINCONCLUSIVE\n" in output) == (2, True), output
    code, output = gate("--candidate", "2020")
    assert (code, "--config base: is not given" in output) == (3, True), output
    assert "there is no run '2020'" in output
    assert gate(*both, "--polcy", "x")[0] == 3


def suite(**content: Any) -> Suite:
    return Suite("core", SuiteFile.model_validate({"version": 2, **content}))


def test_policy_decides_by_the_number_of_a_suite(tmp_path: Path) -> None:
    pair = runs(tmp_path, lost=40, won=5)
    compared = with_suites(compare(*pair), [suite(benchmarks={"quiz": {"range": [0.5, 1]}})])

    [row] = compared.suites
    write(compared, pair[1])
    assert "suite core" in write_report(pair[1]).read_text()
    assert row.difference.value == pytest.approx(-0.07), "3.5 points of the half that counts"
    wide = decide(Policy.model_validate({"suites": {"core": {"max_drop": 0.2}}}), compared)
    narrow = decide(Policy.model_validate({"suites": {"core": {"max_drop": 0.01}}}), compared)
    assert (wide.decision, narrow.decision) == ("GO", "NO-GO")
    assert narrow.reasons[0].startswith("suite core v2: drop +0.0700, allowed 0.0100")


def test_suite_without_one_of_its_benchmarks_is_inconclusive(tmp_path: Path) -> None:
    pair = runs(tmp_path, lost=1)
    compared = with_suites(compare(*pair), [suite(benchmarks={"quiz": {}, "other": {}})])

    found = decide(Policy.model_validate({"suites": {"core": {"max_drop": 0.2}}}), compared)

    assert found.decision == "INCONCLUSIVE"
    assert found.reasons == ("suite core: no number, without other",)
