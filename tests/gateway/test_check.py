"""What the check and the script make of the gateway; without any process."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import load
from snakeval.harness import recipe_for
from snakeval.job import attempt, record, verify
from snakeval.job.attempt import EMPTY
from snakeval.job.gateway.accounts import Account
from snakeval.job.gateway.ledger import Ledger
from snakeval.job.gateway.told import not_as_counted
from snakeval.job.keeper.settings import SETTINGS, texts_in
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.render.task import keys_for_gateway, patience, render

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


@pytest.fixture
def judged(tmp_path: Path) -> Any:
    """The check of a harness that says 10 of 10 samples were scored, over lines of a ledger."""
    work, record = tmp_path / "work", tmp_path / "record"
    work.mkdir()
    scores = {"scores": {"accuracy": 0.5}, "samples": {"expected": 10, "scored": 10}}
    (work / "results.json").write_text(json.dumps(scores))
    ledger = Ledger(record)

    def judge(
        lines: list[dict[str, Any]], has_gateway: bool = True, ended: Any = (0, []), **more: Any
    ) -> Any:
        spec = {"format": "scores", "results": "results.json", "samples": 10, **more}
        (record / "check_spec.json").write_text(json.dumps(spec))
        for number, line in enumerate(lines):
            known = {"time": 1.0, "seconds": 1.0, "attempt": 1, "endpoint": "model"}
            row = {**known, "key": str(number), "occurrence": 0, **line}
            ledger.add({name: value for name, value in row.items() if value is not None})
        return verify.judge(work, record, *ended, has_gateway)

    return judge


ANSWERED, REFUSED = {"outcome": "answered"}, {"outcome": "refused", "status": 500}


def test_what_never_got_an_answer_refuses_a_score_that_hides_it(judged: Any) -> None:
    cause, report = judged([ANSWERED] * 8 + [REFUSED] * 2)
    assert "2 of 10 samples got no answer" in cause and not report["passed"]
    assert report["gateway"]["model"]["failures"] == {"500": 2}


def test_max_unanswered_means_what_it_says(judged: Any) -> None:
    cause, report = judged([ANSWERED] * 8 + [REFUSED] * 2, max_unanswered=0.2)
    assert cause is None and report["unanswered"] == 2


def test_a_judge_that_did_not_answer_has_not_judged(judged: Any) -> None:
    lines = [*[ANSWERED] * 10, {**REFUSED, "endpoint": "judge"}]
    cause, _ = judged(lines)
    assert cause == "1 requests got no answer from 'judge' (500: 1)"


def test_a_cause_that_may_be_a_judge_s_names_it(judged: Any) -> None:
    lines = [*[ANSWERED] * 9, {**REFUSED, "endpoint": "judge"}]
    cause, _ = judged(lines, samples=12)
    assert cause.endswith("; 1 requests got no answer from 'judge' (500: 1)")


def test_all_answered_is_known_and_not_unknown(judged: Any) -> None:
    _, report = judged([ANSWERED] * 10)
    assert report["unanswered"] == 0


def test_an_attempt_without_a_gateway_is_not_judged_by_an_older_ledger(judged: Any) -> None:
    cause, report = judged([REFUSED] * 10, has_gateway=False)
    assert cause is None and report["unanswered"] is None and "gateway" not in report


def test_a_model_that_was_changed_on_the_way_has_no_score(judged: Any) -> None:
    asked = {**ANSWERED, "model": "m"}
    cause, _ = judged([asked] * 7 + [{**asked, "named": "other"}] * 3)
    assert "3 of 10 answers name another model than the rest ('other', asked for 'm')" in cause


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ({"outcome": "unreachable"}, "the endpoint could not be reached"),
        ({"outcome": "refused", "status": 502}, "the endpoint refused 3 requests (502: 3)"),
    ],
)
def test_an_endpoint_that_is_away_is_told_from_one_that_says_502(
    judged: Any, tmp_path: Path, outcome: dict[str, Any], told: str
) -> None:
    log = tmp_path / "evaluate.1.log"
    log.write_text("API request failed! Status code: 502, Retrying...\n" * 3)
    cause, _ = judged([ANSWERED] * 7 + [outcome] * 3, ended=(1, [log]))
    assert f"exit code 1: {told}" in cause


def test_another_name_of_the_model_is_told_and_no_failure(judged: Any) -> None:
    cause, report = judged([{**ANSWERED, "model": "m", "named": "m-2026"}] * 10)
    assert cause is None
    assert "answers name another model than the one asked for: 'm-2026'" in report["notes"]


def test_an_alias_of_several_models_is_meant_where_the_config_says_so(judged: Any) -> None:
    asked = {**ANSWERED, "model": "m"}
    cause, _ = judged([asked] * 7 + [{**asked, "named": "other"}] * 3, check_model=False)
    assert cause is None


def test_an_answer_that_was_asked_anew_of_the_right_model_counts(judged: Any) -> None:
    asked = {**ANSWERED, "model": "m"}
    judged([asked] * 9 + [{**asked, "named": "other"}])
    cause, _ = judged([{**asked, "key": "9", "attempt": 2}])
    assert cause is None


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        ([{"finish": "length"}] * 10, "every answer was cut for length"),
        ([{"finish": "length"}] * 3 + [{}] * 7, "3 of 10 answers were cut for length"),
        ([{"text": "00"}] * 10, "all 10 answers say the same"),
        ([{"empty": True}] + [{}] * 9, "1 of 10 answers are empty"),
        ([{"finish": "content_filter"}] * 2 + [{}] * 8, "('content_filter': 2)"),
    ],
)
def test_what_the_answers_are_like_is_told_beside_the_score(
    judged: Any, lines: list[dict[str, Any]], note: str
) -> None:
    known = [{"text": str(number), "finish": "stop"} for number in range(10)]
    _, report = judged([{**ANSWERED, **k, **line} for k, line in zip(known, lines, strict=True)])
    assert any(note in each for each in report["notes"]), report["notes"]


def test_ordinary_answers_need_no_note(judged: Any) -> None:
    _, report = judged([{**ANSWERED, "text": str(n), "finish": "stop"} for n in range(10)])
    assert report["notes"] == []


def of_harness(report: dict[str, Any]) -> list[str]:
    return [note for note in report["notes"] if "samples were scored" in note or "counts" in note]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "10 samples were scored, but no answer of the model came through the gateway"),
        ([ANSWERED] * 7, "10 samples were scored, but only 7 answers of the model came"),
        ([{**ANSWERED, "endpoint": "judge"}] * 10, "but no answer of the model came"),
    ],
)
def test_a_harness_that_scores_what_it_has_not_asked_is_told(
    judged: Any, lines: list[dict[str, Any]], told: str
) -> None:
    cause, report = judged(lines)
    (note,) = of_harness(report)
    assert cause is None and told in note


@pytest.mark.parametrize(
    "lines",
    [
        [ANSWERED] * 10,
        [ANSWERED] * 30,  # three turns, or repeats
        [{"outcome": "replayed"}] * 10,
        [{**ANSWERED, "parts": 5}] * 2,  # several prompts in a request, or n=5
        [ANSWERED] * 9 + [REFUSED] * 4 + [ANSWERED],  # retries
        [{"outcome": "passed", "key": None}] * 10,  # a path that no rule knows
    ],
)
def test_a_harness_and_a_ledger_that_agree_need_no_note(
    judged: Any, lines: list[dict[str, Any]]
) -> None:
    _, report = judged(lines, max_unanswered=0.5)
    assert of_harness(report) == []


def test_what_was_asked_and_not_answered_is_told_once(judged: Any) -> None:
    cause, report = judged([ANSWERED] * 8 + [REFUSED] * 2, max_unanswered=0.2)
    assert cause is None and of_harness(report) == []


def test_an_attempt_that_asks_nothing_is_told_whatever_was_asked_before(
    judged: Any, tmp_path: Path
) -> None:
    """It began in an empty folder: what it scores it has from elsewhere."""
    record.begin_anew(tmp_path / "record", 2)
    _, report = judged([ANSWERED] * 10)
    assert "no answer of the model came through the gateway" in of_harness(report)[0]


def test_a_harness_that_has_answers_of_its_own_is_not_held_against_the_ledger(
    judged: Any, tmp_path: Path
) -> None:
    """Its first attempt had no gateway, so that its caches may have what the ledger has not."""
    record.note_gateway(tmp_path / "record", 2)
    logs = [tmp_path / f"evaluate.{number}.log" for number in (1, 2)]
    _, report = judged([ANSWERED] * 4, ended=(0, logs))
    assert of_harness(report) == []


@pytest.mark.parametrize(
    ("totals", "told"),
    [
        ({"requests": 10, "prompt_tokens": 100, "completion_tokens": 40}, []),
        ({"requests": 9, "completion_tokens": 41}, []),
        ({"requests": 20}, ["20 requests, the gateway 10"]),
        ({"completion_tokens": 4000}, ["4,000 completion tokens, the gateway 40"]),
        ({"prompt_tokens": 50}, ["50 prompt tokens, the gateway 100"]),
    ],
)
def test_requests_and_tokens_of_a_harness_are_held_against_the_ledger(
    totals: dict[str, float], told: list[str]
) -> None:
    got = Counter(requests=10, answers=10, parts=10, prompt=100, completion=40)
    account = Account(harness_got=got)
    notes = [f"the harness counts {each}" for each in told]
    assert list(not_as_counted(account, 10, totals)) == notes
    got["replayed"] = 1  # what a replay cost is not in the ledger again
    assert not [note for note in not_as_counted(account, 10, totals) if "tokens" in note]


def test_tokens_and_times_of_all_requests_are_the_result_s_own(judged: Any) -> None:
    tokens = {"prompt": 10, "completion": 4}
    failed = {**REFUSED, "outcome": "no answer", "tokens": tokens}
    again = {**ANSWERED, "key": "0", "attempt": 2, "tokens": tokens}
    _, report = judged([failed] + [{**ANSWERED, "tokens": tokens}] * 9 + [again])
    totals = report["totals"]
    assert (totals["requests"], totals["answers"]) == (11, 10)
    assert (totals["prompt_tokens"], totals["completion_tokens"]) == (110, 44)
    assert (totals["median_latency_ms"], totals["p99_latency_ms"]) == (1000, 1000)


def test_tokens_that_are_told_of_some_answers_only_are_unknown(judged: Any) -> None:
    some = [{**ANSWERED, "tokens": {"prompt": 10, "completion": 4}}]
    _, report = judged(some + [ANSWERED] * 9)
    assert "completion_tokens" not in report["totals"] and report["totals"]["answers"] == 10


@pytest.mark.parametrize(
    ("behind", "from_empty", "is_emptied"),
    [([1, 2], 1, True), ([2], 1, False), ([2], 2, True), ([], 2, False), ([1, 2], 0, True)],
)
def test_a_folder_is_emptied_where_all_that_is_in_it_came_through_the_gateway(
    tmp_path: Path, behind: list[int], from_empty: int, is_emptied: bool
) -> None:
    record.begin_anew(tmp_path, from_empty)
    for number in behind:
        record.note_gateway(tmp_path, number)
    attempts = [{"number": 1, "digest": "d"}, {"number": 2, "digest": "d"}]
    assert attempt.has_all_answers(tmp_path, attempts, "d") is is_emptied


def test_a_folder_in_which_the_model_is_in_doubt_is_emptied(tmp_path: Path) -> None:
    """Also where there was no gateway: the harness's caches are of the same answers."""
    ours, work = tmp_path / "record" / "d", tmp_path / "work" / "d"
    assert attempt.begin(tmp_path, "d") == 1
    work.mkdir(parents=True)
    (work / "cache").write_text("answers")
    record.doubt(ours, 1)
    assert attempt.begin(tmp_path, "d") == 2
    assert not list(work.iterdir()) and (tmp_path / "logs" / "left-before-2" / "cache").exists()
    (work / "cache").write_text("better answers")
    assert attempt.begin(tmp_path, "d") == 3 and (work / "cache").exists()


def planned(folder: Path, params: dict[str, Any] | None = None, **more: Any) -> Task:
    endpoint = {"url": "http://h/v1/chat/completions", "model_id": "m", "api_key_name": "MY_KEY"}
    content = {
        "execution": {"output_dir": str(folder), "gateway": True, "max_in_flight": 7},
        "target": {"api_endpoint": endpoint},
        "evaluation": {
            "tasks": [more.pop("name", "lm_eval.gsm8k")],
            "nemo_evaluator_config": {"config": {"params": params or {}}},
        },
        **more,
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks[0]


def keys(task: Task) -> list[str]:
    return keys_for_gateway(task, recipe_for(task))


def test_the_harness_gets_the_token_in_all_variables_of_the_key(tmp_path: Path) -> None:
    assert keys(planned(tmp_path)) == ["MY_KEY", "OPENAI_API_KEY"]
    assert keys(planned(tmp_path, name="lm-evaluation-harness.ifeval")) == ["MY_KEY"]


@pytest.mark.parametrize(
    "more",
    [
        {"params": {"extra": {"judge": {"api_key": "MY_KEY"}}}},
        {"env_vars": {"JUDGE_API_KEY": "host:MY_KEY"}},
        {"env_vars": {"OPENAI_API_KEY": "host:ANOTHER_KEY"}},
    ],
)
def test_a_key_that_opens_something_else_too_stays_with_the_harness(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    assert keys(planned(tmp_path, **more)) == []


def test_patience_is_well_below_the_time_limit_of_the_harness(tmp_path: Path) -> None:
    assert patience(planned(tmp_path)) == 120
    assert patience(planned(tmp_path, {"request_timeout": 30})) == 15


def test_the_script_names_what_the_gateway_needs(tmp_path: Path) -> None:
    said = settings_of(render(planned(tmp_path), "process", None))
    assert said["gateway"] is True and said["max_in_flight"] == 7
    assert said["gateway_keys"] == ["MY_KEY", "OPENAI_API_KEY"] and EMPTY in said["stale"]
    off = planned(tmp_path, gateway=False)
    said = settings_of(render(off, "process", None))
    assert not said.get("gateway") and EMPTY not in said["stale"]


@pytest.mark.parametrize(
    ("runtime", "more", "keeps"),
    [
        ("docker", {}, False),
        ("image", {}, True),
        ("docker", {"execution": {"gateway": True, "extra_docker_args": "--network x"}}, True),
        ("docker", {"gateway": False}, True),
    ],
)
def test_a_harness_keeps_answers_by_itself_where_there_may_be_no_gateway(
    tmp_path: Path, runtime: str, more: dict[str, Any], keeps: bool
) -> None:
    """The others leave it to the gateway, which knows repeats apart."""
    task = planned(tmp_path, name="lm-evaluation-harness.ifeval", **more)
    script = texts_in(render(task, runtime, "image"))
    assert json.loads(script["check_spec.json"])["cached"] is keeps


def settings_of(script: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(texts_in(script)[SETTINGS])
    return said


@pytest.mark.parametrize(
    ("switches", "is_on"),
    [
        ({}, True),
        ({"gateway": False}, False),
        ({"gateway": True, "execution": {"gateway": False}}, True),
    ],
)
def test_the_switch_at_the_top_has_the_last_word(
    tmp_path: Path, switches: dict[str, Any], is_on: bool
) -> None:
    assert planned(tmp_path, **switches).gateway is is_on


def test_the_gateway_is_no_part_of_what_a_benchmark_is(tmp_path: Path) -> None:
    off = planned(tmp_path, gateway=False)
    assert planned(tmp_path).digest == off.digest
