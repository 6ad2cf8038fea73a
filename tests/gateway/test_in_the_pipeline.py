"""The gateway between real harnesses and the endpoint, as `run.sh` puts it there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_service import Service, completion

from rig.endpoint import Fault, ScriptedEndpoint
from rig.pipeline import MODEL, SUMS, Project, nemo_sums
from rig.waiting import PATIENCE
from snakeval.job.gateway.accounts import Account, accounts
from snakeval.job.gateway.ledger import LEDGER, rows

KEY = "sk-the-real-key-of-the-user"
JUDGE_KEY = "sk-the-real-key-of-the-judge"
SAMPLES = 20


def through_the_gateway(project: Project, task: Any = SUMS, **more: Any) -> Project:
    params = {"limit_samples": SAMPLES, "parallelism": 4, **more.pop("params", {})}
    execution = {"output_dir": "out", "min_free_gb": 0, "gateway": True}
    project.write(tasks=[task], params=params, execution=execution, **more)
    return project


def with_a_key(url: str) -> dict[str, Any]:
    return {"api_endpoint": {"url": url, "model_id": MODEL, "api_key_name": "MY_KEY"}}


def record_of(project: Project, name: str = "snakeval_sums") -> Path:
    (folder,) = (project.task(name) / "record").iterdir()
    return folder


def account_of(project: Project, name: str = "snakeval_sums") -> Account:
    return accounts(record_of(project, name))["model"]


def test_a_benchmark_is_published_and_all_it_asked_is_in_the_ledger(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    project = through_the_gateway(Project(tmp_path, endpoint.chat_url))
    project.snakemake().check()
    account = account_of(project)
    assert (account.answered, account.unanswered) == (SAMPLES, 0)
    assert account.tokens["completion"] > 0 and endpoint.answers.total() == SAMPLES
    (row,) = project.rows()
    assert (row["requests"], row["answers"], row["replayed"]) == (SAMPLES, SAMPLES, 0)
    assert row["completion_tokens"] == account.tokens["completion"] and row["p99_latency_ms"] > 0
    check = json.loads((record_of(project) / "check.json").read_text())
    assert check["notes"] == [], "harness and ledger agree"
    assert check["unanswered"] == 0 and check["gateway"]["model"]["answered"] == SAMPLES


def test_the_real_key_never_enters_the_harness(tmp_path: Path, endpoint: ScriptedEndpoint) -> None:
    endpoint.required_key = KEY
    show = {"pre_cmd": "env >$SNAKEVAL_RESULTS/environment"}
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url, {"MY_KEY": KEY}),
        {**SUMS, **show},
        target=with_a_key(endpoint.chat_url),
    )
    project.snakemake().check()
    (environment,) = (project.task("snakeval_sums") / "work").glob("*/environment")
    told = dict(line.partition("=")[::2] for line in environment.read_text().splitlines())
    assert KEY not in environment.read_text()
    assert told["MY_KEY"] == told["OPENAI_API_KEY"] and len(told["MY_KEY"]) == 32
    assert set(endpoint.authorizations) == {f"Bearer {KEY}"}
    for path in (each for each in project.run_folder.rglob("*") if each.is_file()):
        assert KEY.encode() not in path.read_bytes(), path


def test_a_service_that_is_away_for_a_while_costs_no_sample_and_no_attempt(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    endpoint.latency = 0.1
    project = through_the_gateway(Project(tmp_path, endpoint.chat_url))
    with project.started("--retries", "0") as snakemake:
        endpoint.wait_until_answered(5, 150)
        endpoint.stop_listening()
        with pytest.raises(TimeoutError):
            endpoint.wait_for(lambda: snakemake.poll() is not None, 15)
        endpoint.listen()
        assert snakemake.wait(PATIENCE) == 0
    assert account_of(project).answered == SAMPLES


def asking(count: int) -> dict[str, Any]:
    """A command that keeps nothing, and takes whatever it gets for an answer."""
    return {
        "own": {
            "kind": "command",
            "command": f"python3 {{files}}/ask.py {{url}} {{model_id}} {{results}} {count}",
            "files": str(Path(__file__).with_name("asks_blindly")),
            "results": "results.json",
            "tasks": {"blind": {"endpoint_type": "chat", "samples": count}},
        }
    }


@pytest.fixture
def judge() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda prompt: "Yes", models=["judge"], required_key=JUDGE_KEY) as judge:
        yield judge


def judged(project: Project, judge: ScriptedEndpoint, count: int, **more: Any) -> Project:
    """A command whose judge stands in its parameters."""
    own = asking(count)
    own["own"]["command"] += " {param.judge}"
    named = {"url": judge.chat_url, "model_id": "judge", "api_key": "JUDGE_KEY"}
    project.environment["JUDGE_KEY"] = JUDGE_KEY
    return through_the_gateway(
        project,
        {"name": "own.blind", "pre_cmd": "env >$SNAKEVAL_RESULTS/environment"},
        harnesses=own,
        params={"extra": {"judge": named}},
        env_vars={"JUDGE_KEY": "host:JUDGE_KEY"},
        **more,
    )


def test_a_judge_in_the_parameters_has_an_account_and_its_key_stays_outside(
    tmp_path: Path, endpoint: ScriptedEndpoint, judge: ScriptedEndpoint
) -> None:
    project = judged(Project(tmp_path, endpoint.chat_url), judge, 4)

    project.snakemake().check()

    known = accounts(record_of(project, "blind"))
    assert {name: each.answered for name, each in known.items()} == {"model": 4, "judge": 4}
    assert set(judge.authorizations) == {f"Bearer {JUDGE_KEY}"}
    (environment,) = (project.task("blind") / "work").glob("*/environment")
    assert "JUDGE_KEY=" in environment.read_text() and JUDGE_KEY not in environment.read_text()


def test_a_judge_that_was_silent_or_failed_is_asked_again_and_nothing_else(
    tmp_path: Path, endpoint: ScriptedEndpoint, judge: ScriptedEndpoint
) -> None:
    project = judged(Project(tmp_path, endpoint.chat_url), judge, 4)
    judge.fault = Fault("status", status=400, every=2)
    refused = project.snakemake("--retries", "0").refused()
    assert "2 requests got no answer from 'judge' (400: 2)" in refused.output
    judge.fault = None

    project.snakemake("--retries", "0").check()

    assert endpoint.answers.total() == judge.answers.total() == 4


def test_any_command_resumes_and_its_repeats_stay_samples(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    """It asks the same question twenty times, and forgets all answers when it is interrupted."""
    endpoint.latency = 0.2
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url),
        {"name": "own.blind", "pre_cmd": "export SAME_QUESTION=yes"},
        harnesses=asking(SAMPLES),
    )
    with project.started("--retries", "0") as snakemake:
        endpoint.wait_until_answered(8, 150)
        os.killpg(snakemake.pid, signal.SIGINT)
        assert snakemake.wait(PATIENCE) != 0
    project.snakemake("--retries", "0").check()
    account = account_of(project, "blind")
    assert SAMPLES <= endpoint.requests.total() <= SAMPLES + 1, "what was in flight is asked again"
    assert account.answered == SAMPLES and account.replayed >= 7 and account.unanswered == 0


def test_failures_are_known_where_a_harness_tells_none_in_the_next_attempt_too(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    endpoint.fault = Fault("status", status=400, every=2)
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url), {"name": "own.blind"}, harnesses=asking(8)
    )
    refused = project.snakemake("--retries", "1").refused()
    assert "4 of 8 samples got no answer" in refused.output
    assert len(project.status("blind")["attempts"]) == 2


def test_a_model_that_is_swapped_in_the_middle_gives_no_score(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    def answer(prompt: str) -> str:
        endpoint.models = [MODEL] if endpoint.answers.total() < 5 else ["quite-another"]
        return "2"

    endpoint.answer = answer
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url), {"name": "own.blind"}, harnesses=asking(SAMPLES)
    )
    refused = project.snakemake("--retries", "0").refused()
    named = account_of(project, "blind").other_models.total()
    assert 0 < named < SAMPLES
    assert f"{named} of {SAMPLES} answers name another model" in refused.output
    endpoint.answer, endpoint.models = None, [MODEL]
    project.snakemake("--retries", "0").check()
    assert endpoint.requests.total() == SAMPLES + named, "only those were asked again"
    (row,) = project.rows()
    assert (row["requests"], row["replayed"]) == (SAMPLES + named, SAMPLES - named)


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "without"])
def test_a_model_that_is_no_longer_listed_at_the_end_gives_no_score(
    tmp_path: Path, behind: bool
) -> None:
    """The endpoint answers by whatever name it is asked for, so that only its list tells."""
    served = [MODEL]

    async def script(service: Service, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"data": [{"id": each} for each in served]})
        if service.prompts.total() - service.prompts[""] == 5:
            served[:] = ["quite-another"]
        return web.json_response(completion("2"))

    with Service(script) as service:
        project = through_the_gateway(
            Project(tmp_path, service.url), {"name": "own.blind"}, harnesses=asking(8),
            gateway=behind,
        )  # fmt: skip
        refused = project.snakemake("--retries", "0").refused()
        assert "the endpoint does not serve 'test-model' any more, it serves quite-another" in (
            refused.output
        )
        served[:] = [MODEL]
        project.snakemake("--retries", "0").check()
        assert service.prompts.total() - service.prompts[""] == 16, "none of its answers is used"


def test_a_harness_that_takes_failures_for_done_asks_again_in_the_next_attempt(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    """It marks itself done, and would ask nothing: what it has left is put aside."""
    endpoint.fault = Fault("status", status=400, every=2)
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url), {"name": "own.blind"}, harnesses=asking(8)
    )
    project.snakemake("--retries", "0").refused()
    endpoint.fault = None
    project.snakemake("--retries", "0").check()
    assert endpoint.requests.total() == 12 and account_of(project, "blind").replayed == 4
    assert (project.task("blind") / "logs" / "left-before-2" / "done").exists()


def test_what_was_answered_without_a_gateway_stays_where_the_harness_has_it(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    project = Project(tmp_path, endpoint.chat_url)
    params = {"limit_samples": SAMPLES, "parallelism": 1}
    project.write(tasks=[SUMS], params=params)
    endpoint.fault = Fault("status", status=400, every=5)
    project.snakemake("--retries", "0").refused()
    endpoint.fault, answered = None, endpoint.answers.total()
    through_the_gateway(project, params={"parallelism": 1}).snakemake("--retries", "0").check()
    assert endpoint.answers.total() == SAMPLES and answered > 0, "nothing is paid for twice"


def test_what_the_nemo_image_asks_goes_through_it(
    tmp_path: Path, endpoint: ScriptedEndpoint, nemo_image: str
) -> None:
    endpoint.required_key = KEY
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url, {"MY_KEY": KEY}),
        nemo_sums(),
        target=with_a_key(endpoint.chat_url),
    )
    project.snakemake().check()
    account = account_of(project, "mmlu_instruct")
    assert (account.answered, account.unanswered) == (SAMPLES, 0)
    assert set(endpoint.authorizations) == {f"Bearer {KEY}"}
    check = json.loads((record_of(project, "mmlu_instruct") / "check.json").read_text())
    assert check["notes"] == [], "harness and ledger agree"
    ledger = rows(record_of(project, "mmlu_instruct") / LEDGER)
    assert {row["endpoint"] for row in ledger} == {"model"}
