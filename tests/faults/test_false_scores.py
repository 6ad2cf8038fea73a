"""No false score: a failure that looks like a score ends as a failed task with a named cause.

The whole pipeline runs, with real harnesses, against an endpoint that fails on purpose. Starts are
slow and cases are many, so cases share a run: each benchmark of it has a fault of its own. That
run is started twice, with the faults and after they are gone.
"""

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from false_scores.endpoint import EndpointByTask

from rig.endpoint import Fault, ScriptedEndpoint, answer_sums
from rig.image import BENCHMARK, NEMO_IMAGE
from rig.pipeline import BEHIND_THE_GATEWAY, Finished, Project
from rig.small_disk import fill, small_disk
from rig.waiting import PATIENCE, wait_until
from snakeval.job.gateway.ledger import LEDGER, rows

HERE = Path(__file__).parent / "false_scores"
SIZE = 20
"""Samples that most benchmarks here are asked for; sums.jsonl has 200."""

PARALLELISM = 8

Row = dict[str, Any]


# ---------------------------------------------------------------- benchmarks


def lm_eval(name: str, limit: int | None = SIZE, harness: str = "sums") -> Row:
    """A benchmark by lm-eval without a container, which names itself in its requests."""
    params = {"extra": {"system_instruction": name}} | ({"limit_samples": limit} if limit else {})
    return {"name": f"{harness}.{name}", "nemo_evaluator_config": {"config": {"params": params}}}


HELD = 1800
"""Seconds that an answer may be held back and a harness waits for it: longer than a test runs."""


def nemo(name: str, limit: int = SIZE, *, timeout: int | None = None, **extra: Any) -> Row:
    """The same by the real NeMo image in a real container.

    timeout  seconds that it has for a request; a busy machine may need more than it takes by itself
    """
    arguments = f"--include_path /benchmark --system_instruction {name}"
    params = {
        "task": "snakeval_sums",
        "limit_samples": limit,
        "extra": {"num_fewshot": 0, "args": arguments, **extra},
        **({"request_timeout": timeout} if timeout else {}),
    }
    return {
        "name": f"nemo_sums.{name}",
        "dataset_dir": str(BENCHMARK),
        "dataset_mount_path": "/benchmark",
        "nemo_evaluator_config": {"config": {"params": params}},
    }


def custom(name: str, judge_url: str, harness: str = "custom") -> Row:
    """A benchmark of one's own, false_scores/custom.py."""
    params = {"extra": {"judge_url": judge_url}}
    return {"name": f"{harness}.{name}", "nemo_evaluator_config": {"config": {"params": params}}}


def harnesses(tasks: list[Row]) -> Row:
    """The definitions of just these benchmarks."""
    command = "python {files}/custom.py {task} {results} {url} {model_id} {param.judge_url}"
    definitions: Row = {
        "sums": {"kind": "lm_eval", "include_path": str(BENCHMARK)},
        "odd": {"kind": "lm_eval", "include_path": str(HERE / "tasks")},
        "nemo_sums": {"kind": "nemo", "image": NEMO_IMAGE},
        "custom": {"kind": "command", "files": str(HERE), "command": command},
        "custom_nemo": {
            "kind": "command",
            "files": str(HERE),
            "command": command,
            "format": "nemo",
            "results": "results.yml",
        },
    }
    used: Row = {}
    for task in tasks:
        harness, _, name = task["name"].partition(".")
        known = used.setdefault(harness, {**definitions[harness], "tasks": {}})["tasks"]
        known[name] = {"samples": {"sums": 200, "nemo_sums": 200}.get(harness, 10)}
        if harness in ("sums", "nemo_sums"):
            known[name]["eval_type"] = {"sums": "snakeval_sums"}.get(harness, "mmlu_instruct")
    return used


def write(
    project: Project, tasks: list[Row], execution: Row | None = None, **evaluation: Any
) -> None:
    """The config: few repetitions, so that a request that fails for good does so soon."""
    params = {"max_retries": 2, "parallelism": PARALLELISM}
    defined = harnesses(tasks)
    if "too_few" in defined.get("sums", {}).get("tasks", {}):
        defined["sums"]["tasks"]["too_few"]["samples"] = 300
    around = {"output_dir": "out", "min_free_gb": 0, **BEHIND_THE_GATEWAY}
    project.write(
        execution={**around, **(execution or {})},
        harnesses=defined,
        evaluation={
            "tasks": tasks,
            "env_vars": {"BROKEN": "host:BROKEN"} if "custom" in defined else {},
            **evaluation,
            "nemo_evaluator_config": {"config": {"params": params}},
        },
    )


def undisturbed(limit: int = SIZE) -> float:
    """The score of the first sums when nothing goes wrong."""
    rows = [json.loads(line) for line in (BENCHMARK / "sums.jsonl").read_text().splitlines()]
    right = [
        re.findall(r"-?\d+", answer_sums(row["question"]))[0] == row["answer"]
        for row in rows[:limit]
    ]
    return sum(right) / len(right)


# ---------------------------------------------------------------- what a start has left


@dataclass(frozen=True)
class Start:
    """One start of the pipeline: what it said, its table, and what was asked and answered so far
    (for each benchmark, per prompt)."""

    ended: Finished
    rows: dict[str, Row]
    asked: dict[str, Counter[str]]
    answered: dict[str, Counter[str]]
    causes: dict[str, str | None]


def look(project: Project, ended: Finished, endpoint: EndpointByTask) -> Start:
    assert project.runs, ended.output
    rows = {row["task"]: row for row in project.rows()}
    return Start(
        ended,
        rows,
        {task: Counter(endpoint.asked[task]) for task in rows},
        {task: Counter(endpoint.answered[task]) for task in rows},
        {task: project.status(task)["cause"] for task in rows},
    )


def assert_failed(start: Start, name: str, cause: str) -> None:
    """A named failure: one sentence in the table, in the record and on the terminal; no value."""
    row = start.rows[name]
    assert (row["state"], row["value"]) == ("failed", None)
    assert re.search(cause, row["cause"]), row["cause"]
    assert "\n" not in row["cause"]
    assert start.causes[name] == row["cause"]
    assert f"{name}: failed: {row['cause']}" in start.ended.output
    assert start.ended.code != 0
    assert "Traceback" not in start.ended.output


def assert_published(start: Start, name: str, value: float, scored: int = SIZE) -> None:
    row = start.rows[name]
    assert row["state"] == "published", row["cause"]
    assert (row["value"], row["scored"], row["expected"]) == (value, scored, scored)
    assert row["unanswered"] == 0


def assert_only_missing_asked_again(first: Start, second: Start, name: str, size: int) -> None:
    """What was answered in the first start was not asked in the second, and all else was."""
    assert len(second.answered[name]) == size
    assert set(second.answered[name].values()) == {1}
    for prompt in first.answered[name]:
        assert second.asked[name][prompt] == first.asked[name][prompt]


@dataclass(frozen=True)
class Case:
    """A benchmark with its fault and the cause that its failure is told with.

    again: whether the second start has it too. Not where the benchmark itself is wrong, and not
        where it would only cost time.
    """

    task: Row
    cause: str
    fault: Fault | None = None
    size: int = SIZE
    again: bool = True

    @property
    def name(self) -> str:
        return str(self.task["name"].partition(".")[2])

    def __str__(self) -> str:
        return self.name


# ---------------------------------------------------------------- without a container

REFUSED = r"the harness ended with exit code 1: the endpoint refused \d+ requests? "
LM_EVAL = [
    Case(lm_eval("refused_all"), REFUSED + r"\(400: \d+\)", Fault("status", 400)),
    Case(lm_eval("refused_some"), REFUSED + r"\(400: \d+\)", Fault("status", 400, every=5)),
    Case(lm_eval("failing_some"), REFUSED + r"\(500: \d+\)", Fault("status", 500, every=7)),
    Case(
        lm_eval("unknown_model"),
        REFUSED + r'\(404: \d+\); is the model "test-model" served',
        Fault("status", 404),
    ),
    Case(
        lm_eval("error_in_200"),
        "4 of 20 samples got no answer from the endpoint; none are allowed",
        Fault("status", 200, every=5),
    ),
    Case(
        lm_eval("all_empty"),
        "every answer of the model was empty",
        Fault("empty"),
    ),
    Case(lm_eval("too_few", limit=None), "only 200 of 300 samples were scored", again=False),
    Case(
        lm_eval("nan_mean", harness="odd"),
        "exact_match of nan_mean is not a finite number",
        again=False,
    ),
    Case(
        lm_eval("repeated", harness="odd"),
        "repeated asks every sample 3 times, but the cache",
        again=False,
    ),
]
CUSTOM = [
    Case(custom("truncated", ""), r"the result file results.json is truncated", size=10),
    Case(custom("no_scores", ""), "a result file that has no score in it", size=10),
    Case(custom("not_a_number", ""), "accuracy of not_a_number is not a finite number", size=10),
    Case(custom("fewer", ""), "only 7 of 10 samples were scored", size=10),
    Case(custom("some_unanswered", ""), "1 of 10 samples got no answer", size=10),
    Case(custom("refused_by_judge", ""), "only 6 of 10 samples were scored", size=10),
    Case(
        custom("told_to_stop", "", harness="custom_nemo"),
        r"the evaluation was interrupted \(SIGTERM\); start it again to continue",
        size=10,
    ),
]
PASSING = {
    "sound": None,
    "retried_500": Fault("status", 500, first=1),
    "retried_429": Fault("status", 429, first=1),
}


@dataclass(frozen=True)
class TwoStarts:
    broken: Start
    mended: Start


def verdict(prompt: str) -> str:
    """A judge's word on `What is 2 + 2? The answer is 4.`"""
    numbers = [int(number) for number in re.findall(r"\d+", prompt)]
    return "right" if numbers[0] + numbers[1] == numbers[2] else "wrong"


def reluctant_verdict(prompt: str) -> str:
    return "I cannot judge that." if re.search(r"[2468] \+", prompt) else verdict(prompt)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> TwoStarts:
    """lm-eval and commands without a container: a start with all faults, and one without."""
    faults = {case.name: case.fault for case in LM_EVAL if case.fault}
    faults |= {name: fault for name, fault in PASSING.items() if fault}
    # It lists no models, as some endpoints do: only the requests tell that one is not served.
    with EndpointByTask(faults, models=None) as endpoint, EndpointByTask(answer=verdict) as judge:
        judge.voices["refused_by_judge"] = reluctant_verdict
        project = Project(tmp_path_factory.mktemp("starts"), endpoint.chat_url, {"BROKEN": "yes"})
        for case in CUSTOM:
            params = case.task["nemo_evaluator_config"]["config"]["params"]
            params["extra"]["judge_url"] = judge.chat_url
        cases = [*LM_EVAL, *CUSTOM]
        write(
            project,
            [
                *(lm_eval(name) for name in PASSING),
                lm_eval("limit_beyond", limit=500),
                *(case.task for case in cases),
            ],
        )
        broken = look(project, project.snakemake("--retries", "0"), endpoint)

        endpoint.faults.clear()
        judge.voices.clear()
        project.environment["BROKEN"] = "no"
        wanted = ",".join(["sound", *(case.name for case in cases if case.again)])
        mended = look(project, project.snakemake("--config", f"tasks={wanted}"), endpoint)
        return TwoStarts(broken, mended)


@pytest.mark.parametrize("case", [*LM_EVAL, *CUSTOM], ids=str)
def test_a_failure_that_looks_like_a_score_is_a_named_failure(
    starts: TwoStarts, case: Case
) -> None:
    assert_failed(starts.broken, case.name, case.cause)


@pytest.mark.parametrize("name", PASSING)
def test_a_request_that_was_repeated_until_it_was_answered_is_no_failure(
    starts: TwoStarts, name: str
) -> None:
    assert_published(starts.broken, name, undisturbed())


def test_a_limit_beyond_the_dataset_asks_all_of_it(starts: TwoStarts) -> None:
    assert_published(starts.broken, "limit_beyond", undisturbed(200), scored=200)


@pytest.mark.parametrize("case", [case for case in [*LM_EVAL, *CUSTOM] if case.again], ids=str)
def test_once_the_fault_is_gone_the_next_start_continues(starts: TwoStarts, case: Case) -> None:
    score = (
        undisturbed()
        if case.fault
        else sum(
            verdict(f"{question} {answer_sums(question)}") == "right"
            for question in (f"What is {n} + {n}?" for n in range(10))
        )
        / 10
    )
    row = starts.mended.rows[case.name]
    assert row["state"] == "published", row["cause"]
    assert row["value"] == pytest.approx(score)
    assert (row["scored"], row["expected"]) == (case.size, case.size)
    if case.name == "all_empty":  # nothing it got can be kept
        assert set(starts.mended.answered[case.name].values()) == {2}
    else:
        assert_only_missing_asked_again(starts.broken, starts.mended, case.name, case.size)


def test_what_was_published_is_not_asked_again(starts: TwoStarts) -> None:
    assert starts.mended.asked["sound"] == starts.broken.asked["sound"]
    assert starts.mended.rows["sound"] == starts.broken.rows["sound"]


# ---------------------------------------------------------------- real containers

NEMO = [
    Case(
        nemo("error_in_200"),
        "the endpoint's answers were no completions",
        Fault("status", 200, every=5),
    ),
    Case(nemo("told_to_stop", timeout=HELD), r"the evaluation was interrupted \(SIGTERM\)"),
]
NEMO_LONG = [
    Case(nemo("refused_all"), REFUSED + r"\(400: \d+\)", Fault("status", 400), again=False),
    Case(nemo("all_empty"), "every answer of the model was empty", Fault("empty")),
]
"""Faults that every run shows with plain lm-eval, whose causes are found in the same way."""
CLOSING = "killed_while_it_closes"


@pytest.fixture(scope="module")
def nemo_starts(tmp_path_factory: pytest.TempPathFactory, nemo_image: str) -> TwoStarts:
    """The NeMo image in Docker: a start with all faults, and one without.

    From outside one container is told to stop in the middle, and one is killed when all is
    answered and the result is not yet written. All run at once, since most of them wait for others.
    """
    faults = {case.name: case.fault for case in NEMO if case.fault}
    with EndpointByTask({**faults, "right": Fault("status", 500, first=1)}) as endpoint:
        project = Project(tmp_path_factory.mktemp("nemo"), endpoint.chat_url)
        others = [nemo("left", timeout=HELD), nemo("right", limit=500, timeout=HELD)]
        others.append(nemo(CLOSING, timeout=HELD))
        tasks = [*others, *(case.task for case in NEMO)]
        write(project, tasks)
        both = threading.Event()
        endpoint.voices["left"] = endpoint.voices["right"] = lambda prompt: (
            answer_sums(prompt) if both.wait(HELD) else ""
        )
        may_close = threading.Event()
        endpoint.voices[CLOSING] = lambda prompt: (
            answer_sums(prompt) if may_close.wait(HELD) else ""
        )
        stopped = threading.Event()
        endpoint.voices["told_to_stop"] = lambda prompt: (
            answer_sums(prompt)
            if len(endpoint.answered["told_to_stop"]) < 8 or stopped.wait(HELD)
            else ""
        )
        with project.started("--retries", "0", "--cores", str(len(tasks))) as process:
            endpoint.wait_for(lambda: endpoint.asked.keys() >= {"left", "right"})
            both.set()
            endpoint.wait_for(lambda: len(endpoint.answered["told_to_stop"]) >= 8)
            signal_container(project, "told_to_stop", "TERM")
            may_close.set()
            wait_until_answers_are_on_disk(project, CLOSING)
            signal_container(project, CLOSING, "KILL")
            code = process.wait(PATIENCE)
            stopped.set()
        broken = look(project, Finished(code, project.log), endpoint)

        endpoint.faults.clear()
        endpoint.voices.clear()
        wanted = ",".join([CLOSING, *(case.name for case in NEMO if case.again)])
        mended = look(project, project.snakemake("--config", f"tasks={wanted}"), endpoint)
        return TwoStarts(broken, mended)


@pytest.fixture(scope="module")
def nemo_starts_long(tmp_path_factory: pytest.TempPathFactory, nemo_image: str) -> TwoStarts:
    """The same of the faults that only the long form has."""
    faults = {case.name: case.fault for case in NEMO_LONG if case.fault}
    with EndpointByTask(faults) as endpoint:
        project = Project(tmp_path_factory.mktemp("nemo-long"), endpoint.chat_url)
        write(project, [case.task for case in NEMO_LONG])
        broken = look(project, project.snakemake("--retries", "0"), endpoint)
        endpoint.faults.clear()
        wanted = ",".join(case.name for case in NEMO_LONG if case.again)
        mended = look(project, project.snakemake("--config", f"tasks={wanted}"), endpoint)
        return TwoStarts(broken, mended)


def signal_container(project: Project, task: str, name: str) -> None:
    lines = (project.task(task) / "lease" / "owner").read_text().splitlines()
    container = dict(line.split("=", 1) for line in lines)["container"]
    subprocess.run(
        ["docker", "kill", "--signal", name, container], check=True, stdout=subprocess.DEVNULL
    )


def wait_until_answers_are_on_disk(project: Project, task: str) -> None:
    """All of them; what the harness then still does is to score and to write."""

    def on_disk() -> bool:
        assert not list((project.task(task) / "work").glob("*/results.yml")), "too late"
        ledgers = (project.task(task) / "record").glob(f"*/{LEDGER}")
        asked = [row for ledger in ledgers for row in rows(ledger) if "key" in row]
        return [row["outcome"] for row in asked].count("answered") == SIZE

    wait_until(on_disk, every=0.02)


@pytest.mark.docker
@pytest.mark.parametrize("case", NEMO, ids=str)
def test_a_failure_in_a_container_is_a_named_failure(nemo_starts: TwoStarts, case: Case) -> None:
    assert_failed(nemo_starts.broken, case.name, case.cause)


@pytest.mark.docker
@pytest.mark.parametrize("case", [case for case in NEMO if case.again], ids=str)
def test_a_container_continues_once_the_fault_is_gone(nemo_starts: TwoStarts, case: Case) -> None:
    assert_published(nemo_starts.mended, case.name, undisturbed())
    assert_only_missing_asked_again(nemo_starts.broken, nemo_starts.mended, case.name, SIZE)


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.parametrize("case", NEMO_LONG, ids=str)
def test_any_failure_in_a_container_is_a_named_failure_and_continues(
    nemo_starts_long: TwoStarts, case: Case
) -> None:
    assert_failed(nemo_starts_long.broken, case.name, case.cause)
    if case.again:
        assert_published(nemo_starts_long.mended, case.name, undisturbed())
        assert set(nemo_starts_long.mended.answered[case.name].values()) == {2}


@pytest.mark.docker
def test_two_evaluations_on_the_network_of_the_host_do_not_mix(nemo_starts: TwoStarts) -> None:
    """Both had asked before either was answered. `right` has a limit beyond its dataset, and each
    of its requests was refused once, which is no failure either."""
    broken = nemo_starts.broken
    assert_published(broken, "left", undisturbed())
    assert_published(broken, "right", undisturbed(200), scored=200)
    assert list(broken.asked["left"].values()) == [1] * SIZE
    assert list(broken.answered["right"].values()) == [1] * 200
    assert list(broken.asked["right"].values()) == [2] * 200


@pytest.mark.docker
def test_a_container_killed_while_it_closes_asks_nothing_again(nemo_starts: TwoStarts) -> None:
    assert_failed(nemo_starts.broken, CLOSING, "killed")
    assert_published(nemo_starts.mended, CLOSING, undisturbed())
    assert nemo_starts.mended.asked[CLOSING] == nemo_starts.broken.asked[CLOSING]


def test_repeats_that_the_cache_of_a_container_would_collapse_are_asked_again_and_told(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    project = Project(tmp_path, endpoint.chat_url)
    tasks = [nemo("sound", n_samples=4), lm_eval("sound")]
    write(project, tasks, execution={"gateway": False})
    told = project.snakemake("-n").check()
    assert "asks each sample 4 times; so that the repeats do not get one answer" in told.output
    assert endpoint.requests.total() == 0
    assert project.runs == []


# ---------------------------------------------------------------- the endpoint itself


def test_an_endpoint_that_serves_other_models_is_refused(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    endpoint.models = ["another-model"]
    project = Project(tmp_path, endpoint.chat_url)
    write(project, [lm_eval("sound")])
    refused = project.snakemake().refused()
    assert "does not serve 'test-model'" in refused.output
    assert endpoint.requests.total() == 0
    assert project.runs == []


def test_an_endpoint_that_dies_costs_only_what_it_did_not_answer(tmp_path: Path) -> None:
    """One after the other: one is published, one loses the endpoint, one finds none."""
    with EndpointByTask() as endpoint:
        project = Project(tmp_path, endpoint.chat_url)
        names = ["first", "second", "third"]
        execution = {"output_dir": "out", "min_free_gb": 0, "benchmarks_per_endpoint": 1}
        tasks = [lm_eval(name) for name in names]
        for task in tasks:  # the gateway waits half of it for an endpoint that is away
            task["nemo_evaluator_config"]["config"]["params"]["request_timeout"] = 60
        write(project, tasks, execution=execution)

        endpoint.die_after = SIZE + SIZE // 2
        broken = look(project, project.snakemake("--retries", "0"), endpoint)

        published, died, found_none = sorted(names, key=lambda name: -len(broken.answered[name]))
        assert_published(broken, published, undisturbed())
        assert_failed(broken, died, "exit code 1: the endpoint could not be reached")
        assert_failed(
            broken, found_none, r"nothing listens at the endpoint .* \(connection refused"
        )

        # It comes back with another model, and somebody continues by hand.
        endpoint.models = ["another-model"]
        endpoint.come_back()
        asked = endpoint.requests.total()
        by_hand = project.run("bash", str(project.task(died) / "run.sh")).refused()
        assert "failed: the endpoint does not serve 'test-model'; it serves another-model" in (
            by_hand.output
        )
        assert project.status(died)["cause"] in by_hand.output
        assert endpoint.requests.total() == asked

        endpoint.models = ["test-model"]
        mended = look(project, project.snakemake().check(), endpoint)
        assert mended.asked[published] == broken.asked[published]
        for name in (died, found_none):
            assert_published(mended, name, undisturbed())
            assert_only_missing_asked_again(broken, mended, name, SIZE)


def test_some_samples_without_an_answer_are_published_where_the_config_allows_it(
    tmp_path: Path,
) -> None:
    faults = {"a_tenth": Fault("status", 200, every=10), "a_quarter": Fault("status", 200, every=4)}
    with EndpointByTask(faults) as endpoint:
        project = Project(tmp_path, endpoint.chat_url)
        write(project, [lm_eval("a_tenth"), lm_eval("a_quarter")], max_unanswered=0.2)
        start = look(project, project.snakemake("--retries", "0"), endpoint)
        row = start.rows["a_tenth"]
        assert (row["state"], row["scored"], row["expected"], row["unanswered"]) == (
            "published",
            20,
            20,
            2,
        )
        assert "20 of 20, 2 unanswered" in start.ended.output
        assert_failed(start, "a_quarter", "5 of 20 samples got no answer .* at most 20.0% are")


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB for the output folder."""
    with small_disk(tmp_path / "out", 16) as folder:
        yield folder


def test_a_full_disk_is_a_named_failure(disk: Path) -> None:
    """Full when there is next to nothing left to write but the results."""
    answers = SIZE - 1
    with EndpointByTask() as endpoint:
        project = Project(disk.parent, endpoint.chat_url)
        write(project, [lm_eval("sound")])

        def answer(prompt: str) -> str:
            if len(endpoint.answered["sound"]) >= answers:
                fill(disk)
            return answer_sums(prompt)

        endpoint.voices["sound"] = answer
        broken = look(project, project.snakemake("--retries", "0"), endpoint)
        assert_failed(broken, "sound", "the disk is full")
        assert not list(disk.glob("*/sound/published/*"))

        endpoint.voices.clear()
        (disk / "ballast").unlink()
        mended = look(project, project.snakemake().check(), endpoint)
        assert_published(mended, "sound", undisturbed())
        # What was answered before is on disk, but for what was then in flight.
        again = mended.asked["sound"] - broken.asked["sound"]
        assert again.total() <= SIZE - answers + PARALLELISM
