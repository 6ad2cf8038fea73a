"""NVIDIA's own harnesses of version 26.3, run by the pipeline in images of their packages.

Each is run with every third request of its failing, and again when they are answered: the first is
refused, the second asks only what is missing and publishes what the harness itself has counted.
"""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from answers import AZURE_JUDGE, GPT_4, JUDGE, USER, text_of
from toy_data import execution, generation, hle, math_500, profbench

from rig.endpoint import Fault, ScriptedEndpoint
from rig.pipeline import BEHIND_THE_GATEWAY, MODEL, Project

KEYS = {"MY_KEY": "sk-model", "JUDGE_API_KEY": "sk-judge", "USER_API_KEY": "sk-user"}

AT_ONCE = 4
"""Requests."""


def azure(endpoint: ScriptedEndpoint) -> dict[str, str]:
    """Variables of HLE's judge, which is on Azure, and of its gated data."""
    base = f"http://{endpoint.host}:{endpoint.port}"
    return {
        "HF_TOKEN": "hf_none",
        "OPENAI_TOKEN_URL": f"{base}/oauth/token",
        "OPENAI_CLIENT_ID": "id",
        "OPENAI_CLIENT_SECRET": "sk-azure",
        "OPENAI_SCOPE": "judge",
        "AZURE_OPENAI_ENDPOINT": base,
        "OPENAI_API_VERSION": "2024-10-21",
    }


TOKENIZER = """python - <<'EOF'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained("/tmp/words")
EOF"""
"""For RULER, which builds its prompts of so many tokens: a token is a word."""


WITHOUT_DATA = "mkdir /tmp/scicode && touch /tmp/scicode/test_data.h5"
"""For SciCode, whose tests' data (on a drive) are not to be had here: what is tested fails."""

PROBLEMS = """mkdir mbpp && python - <<'EOF'
import json
with open("mbpp/test.jsonl", "w") as file:
    for n in range(500):
        tests = [f"assert add_{n}(1) == {n + 1}", f"assert add_{n}({n}) == {2 * n}"]
        file.write(json.dumps({"task_id": n, "text": f"Write add_{n}, which adds {n}.",
                               "code": "", "test_list": tests}) + chr(10))
EOF"""
"""For BigCode, whose data are on a hub: 500 problems of the form that MBPP's have."""

POLICY = """python - <<'EOF'
import json
with open("/tmp/prompts.jsonl", "w") as file:
    file.writelines(json.dumps({"prompt": f"Tell me about {n}."}) + chr(10) for n in range(9))
with open("/tmp/policy.yaml", "w") as file:
    file.write("sections: [{name: Safety, rules: [Be kind.]}]" + chr(10))
EOF"""
"""For the safety harness, whose own data are gated on a hub: prompts and a policy of ours."""


@dataclass(frozen=True)
class Case:
    """A benchmark of a harness, small.

    headline of the benchmark; "": it has none
    limit    of samples; None: it knows no limit
    samples  that it has then; None: that is not known before
    asked    requests to the model that it takes; None: they differ from attempt to attempt
    mean     its headline is the mean of its samples' scores, times this; 0: it is none
    mean_is  the metric that is that mean, where it is another
    fails    whether it ends when requests fail; RULER asks for ever
    status   of what fails: garak asks for ever at a 500
    every    which of its questions fail first; all, where all of them begin alike
    first    how many requests of such a question fail; None: all
    env      variables of the task
    behind   requests behind the gateway, which knows repeats apart that look alike
    answers  whether its samples have the model's answers
    ends     of its headline's range, in `unit`
    """

    harness: str
    task: str
    headline: str
    limit: int | None
    samples: int | None
    asked: int | None
    extra: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    mean: float = 1.0
    mean_is: str = ""
    fails: bool = True
    status: int = 500
    every: int = 3
    first: int | None = None
    pre_cmd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    behind: int | None = None
    answers: bool = True
    unit: str = "fraction"
    ends: tuple[float, float] = (0.0, 1.0)


IN_PERCENT: dict[str, Any] = {"mean": 100.0, "unit": "percent", "ends": (0.0, 100.0)}

LIGHT = [
    Case("AA-LCR", "aa_lcr", "accuracy", 3, 3, 6, {"n_samples": 2}),
    Case(
        *("bfcl", "bfclv3_ast", "non_live_overall_acc", 6, 6, 6),
        params={"task": "irrelevance"},
        **IN_PERCENT,
        mean_is="irrelevance_detection_non_live",
    ),
    Case("ifbench", "ifbench", "loose:prompt-level", 6, 6, 6),
    Case("mmath", "mmath_en", "accuracy", 6, 6, 6, {"n_samples": 2}),
]

OF_A_HUB = [
    Case(
        *("simple_evals", "AA_math_test_500", "score", 6, 6, 12),
        {"n_samples": 2},
        pre_cmd=math_500(),
    ),
    Case("hle", "hle", "accuracy", 6, 6, 6, pre_cmd=hle()),
    Case(
        *("profbench", "llm_judge", "MF1-BI", 24, 24, 24),
        mean=0.0,
        unit="percent",
        ends=(-200.0, 100.0),
        pre_cmd=profbench(),
    ),
    Case(
        *("profbench", "report_generation", "Overall", 32, 32, None),
        behind=16 + 32,
        mean=0.0,
        unit="percent",
        ends=(0.0, 100.0),
        pre_cmd=profbench(),
    ),
    Case(
        *("livecodebench", "codeexecution_v2", "pass@1", 4, 4, 8),
        {"n_samples": 2},
        pre_cmd=execution(),
    ),
    Case(
        *("livecodebench", "codegeneration_release_v1", "pass@1", 4, 4, 8),
        {"n_samples": 2},
        pre_cmd=generation(),
    ),
]
"""Their data is on a hub: a few questions of the same form are in its place."""

HEAVY = [
    Case(
        *("tau2_bench", "tau2_bench_airline", "pass@1", 3, 3, None),
        {"n_samples": 1, "max_steps": 8},
        every=1,
    ),
    Case(
        *("scicode", "scicode", "problems_pass@1", 1, 12, None),
        mean_is="steps_pass@1",
        answers=False,
        env={"DATA_CACHE_DIR": "lit:/tmp/scicode"},
        pre_cmd=WITHOUT_DATA,
    ),
    Case(
        *("bigcode-evaluation-harness", "mbpp-chat", "pass@1", 6, 6, 6),
        {"n_samples": 1},
        mean=0.0,
        pre_cmd=PROBLEMS,
    ),
    Case(
        *("mtbench", "mtbench", "average_score", 3, 3, 6),
        params={"request_timeout": 1},
        unit="points",
        ends=(1.0, 10.0),
    ),
    Case(
        *("garak", "garak", "", None, None, None),
        {"probes": "dan.Dan_11_0"},
        mean=0.0,
        status=400,
        every=1,
        first=2,
    ),
    Case("tooltalk", "tooltalk", "success_rate", 3, 3, None),
    Case(
        *("safety_eval", "compliance", "compliance_rate", 6, 6, 6),
        {"dataset": "/tmp/prompts.jsonl", "policy": "/tmp/policy.yaml"},
        **IN_PERCENT,
        answers=False,
        pre_cmd=POLICY,
    ),
    Case(
        *("ruler", "ruler-chat", "accuracy", 4, 4, 4),
        {"max_seq_length": 1000, "tokenizer": "/tmp/words", "subtasks": "vt"},
        fails=False,
        pre_cmd=TOKENIZER,
    ),
]

ALL = (*LIGHT, *OF_A_HUB, *HEAVY)

IN_EVERY_RUN = ("AA-LCR", "bfcl")
"""Their images take half a minute to build, and they show most: a judge, tools, categories."""

CASES = [
    pytest.param(
        case,
        id=case.harness,
        marks=[] if case.harness in IN_EVERY_RUN else [pytest.mark.long],
    )
    for case in ALL
]


BEHIND = [
    pytest.param(case, id=case.harness)
    for case in ALL
    if (case.behind or case.asked) and case.fails
]


def project_of(
    case: Case, image: str, endpoint: ScriptedEndpoint, folder: Path, gateway: bool = False
) -> Project:
    extra = dict(case.extra)
    judge: dict[str, Any] = {"model_id": JUDGE, "max_retries": 1}
    if case.harness in ("AA-LCR", "safety_eval"):
        extra["judge"] = {"url": endpoint.chat_url, **judge}
    if case.harness in ("mtbench", "simple_evals"):  # they add the path themselves
        named = GPT_4 if case.harness == "mtbench" else JUDGE
        judge |= {"model_id": named, "request_timeout": 1}
        extra["judge"] = {"url": endpoint.url, **judge}
    if case.harness == "tau2_bench":
        extra["user"] = {"url": endpoint.chat_url, "model_id": USER}
    params = {"parallelism": AT_ONCE, "max_retries": 1, "extra": extra}
    if case.limit:
        params["limit_samples"] = case.limit
    task = {
        "name": f"{case.harness}.{case.task}",
        "container": image,
        "nemo_evaluator_config": {"config": {"params": {**params, **case.params}}},
        **({"pre_cmd": case.pre_cmd} if case.pre_cmd else {}),
        **({"env_vars": case.env} if case.env else {}),
    }
    endpoint_with_key = {"url": endpoint.chat_url, "model_id": MODEL, "api_key_name": "MY_KEY"}
    execution = {"output_dir": "out", "min_free_gb": 0, **BEHIND_THE_GATEWAY}
    needed = azure(endpoint) if case.harness == "hle" else {}
    project = Project(folder, endpoint.chat_url, {**KEYS, **needed})
    project.write(
        tasks=[task],
        target={"api_endpoint": endpoint_with_key},
        execution={**execution, "gateway": True} if gateway else execution,
    )
    return project


def answers_of(endpoint: ScriptedEndpoint) -> int:
    """Answers that the model under evaluation has given, without those of a judge."""
    of_others = {
        text_of(body["messages"][-1]) for body in endpoint.bodies if body["model"] != MODEL
    }
    return sum(n for prompt, n in endpoint.answers.items() if prompt not in of_others)


def check_what_is_published(project: Project, case: Case) -> None:
    rows = project.rows()
    headline = rows[0]
    named = [row["metric"] for row in rows if row["headline"]]
    assert named == ([case.headline] if case.headline else [])
    assert (headline["better"], headline["unit"]) == ("higher", case.unit)
    assert (headline["lowest"], headline["highest"]) == case.ends

    samples = pd.read_parquet(project.run_folder / "results" / "samples.parquet")
    found = samples.groupby(["subtask", "sample"], dropna=False)
    assert headline["scored"] == len(found) > 0
    if case.samples:
        assert (headline["scored"], headline["expected"]) == (case.samples, case.samples)
    if case.mean:
        named = case.mean_is or headline["metric"]
        value = next(row["value"] for row in rows if row["metric"] == named)
        assert value == pytest.approx(case.mean * found["score"].mean().mean(), abs=0.01)
    if case.answers:
        assert samples["answer"].notna().all()


@pytest.mark.docker
@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_refused_then_asked_and_the_score_is_right(
    case: Case, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: Callable[[str], str]
) -> None:
    project = project_of(case, image_of(case.harness), endpoint, tmp_path)
    answered = 0
    if case.fails:
        endpoint.fault = Fault("status", case.status, case.every, case.first, MODEL)
        assert project.snakemake("--retries", "0").code != 0
        assert project.status(case.task)["state"] == "failed"
        answered = answers_of(endpoint)
        endpoint.fault = None

    project.snakemake("--retries", "0").check()

    check_what_is_published(project, case)
    if case.asked is not None:
        assert answered < case.asked == answers_of(endpoint)


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.parametrize("case", BEHIND)
def test_behind_the_gateway_nothing_is_asked_twice_and_the_score_is_the_same(
    case: Case, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: Callable[[str], str]
) -> None:
    project = project_of(case, image_of(case.harness), endpoint, tmp_path, gateway=True)
    endpoint.fault = Fault("status", status=400, every=3, model=MODEL)
    assert project.snakemake("--retries", "0").code != 0
    endpoint.fault = None

    project.snakemake("--retries", "0").check()

    check_what_is_published(project, case)
    assert answers_of(endpoint) == (case.behind or case.asked)
    check_it_counts_as_the_gateway_does(project, case)


def check_it_counts_as_the_gateway_does(project: Project, case: Case) -> None:
    (record,) = (project.task(case.task) / "record").iterdir()
    notes = json.loads((record / "check.json").read_text())["notes"]
    assert not [each for each in notes if "the gateway" in each]


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.harness}.{case.task}") for case in ALL if case.fails]
)
def test_an_endpoint_that_is_dead_gives_no_score(
    case: Case, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: Callable[[str], str]
) -> None:
    project = project_of(case, image_of(case.harness), endpoint, tmp_path)
    endpoint.fault = Fault("status", case.status if case.status != 500 else 503, model=MODEL)

    assert project.snakemake("--retries", "0").code != 0

    assert project.status(case.task)["state"] == "failed"
    assert all(row["value"] is None for row in project.rows())


JUDGED = [
    pytest.param("AA-LCR", JUDGE, "of 3 samples were scored", id="AA-LCR"),
    pytest.param("mtbench", GPT_4, "exit code 1", id="mtbench"),
    pytest.param("hle", AZURE_JUDGE, "of 6 samples", id="hle"),
    pytest.param("simple_evals", JUDGE, "exit code 1", id="simple_evals"),
    pytest.param("safety_eval", JUDGE, "", id="safety_eval"),
    pytest.param("tau2_bench", USER, "", id="tau2_bench"),
]


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.parametrize(("harness", "judge", "cause"), JUDGED)
def test_a_judge_that_does_not_answer_gives_no_score(
    harness: str,
    judge: str,
    cause: str,
    tmp_path: Path,
    endpoint: ScriptedEndpoint,
    image_of: Callable[[str], str],
) -> None:
    """AA-LCR published the mean of what its judge had left ('Judged 2/3 responses'), HLE counted
    what it had left as wrong."""
    (case,) = [case for case in ALL if case.harness == harness]
    project = project_of(case, image_of(case.harness), endpoint, tmp_path)
    endpoint.fault = Fault("status", every=3, model=judge)

    assert project.snakemake("--retries", "0").code != 0

    assert cause in project.status(case.task)["cause"]

    endpoint.fault = None
    project.snakemake("--retries", "0").check()
    check_what_is_published(project, case)
    if case.asked is not None:
        assert answers_of(endpoint) == case.asked


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.harness) for case in ALL if case.asked]
)
def test_one_that_is_killed_asks_again_only_what_was_on_its_way(
    case: Case, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: Callable[[str], str]
) -> None:
    project = project_of(case, image_of(case.harness), endpoint, tmp_path)
    with project.started("--retries", "0") as process:
        endpoint.wait_until_answered(2)
        os.killpg(process.pid, signal.SIGKILL)

    project.snakemake("--retries", "0").check()

    check_what_is_published(project, case)
    assert case.asked is not None
    assert case.asked <= answers_of(endpoint) <= case.asked + AT_ONCE


@pytest.mark.docker
@pytest.mark.long
def test_trials_of_tau2_differ_in_the_seed_that_they_send(
    tmp_path: Path, endpoint: ScriptedEndpoint, image_of: Callable[[str], str]
) -> None:
    """So answers may come from a cache (`OWN_SEEDS`): it gives no trial the answers of another."""
    tau2 = next(case for case in HEAVY if case.harness == "tau2_bench")
    twice = replace(tau2, limit=1, samples=1, extra={**tau2.extra, "n_samples": 2})
    project = project_of(twice, image_of(twice.harness), endpoint, tmp_path)

    project.snakemake("--retries", "0").check()

    assert len({body["seed"] for body in endpoint.bodies if body["model"] == MODEL}) == 2
