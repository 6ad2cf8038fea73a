"""A benchmark with gated data says so before anything starts, gets the token, and names the cause
when the hub refuses it all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from in_container import QUIZ, RETRIES, cause, harness, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project
from snakeval.config.load import load
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.start import variables as needs

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


def gated(command: str = QUIZ, image: str | None = None) -> dict[str, Any]:
    declared = harness(command, image)
    declared["own"]["tasks"]["quiz"] |= {
        "variables": ["HF_TOKEN", "MY_JUDGE_KEY"],
        "gated_dataset": "org/quiz",
    }
    return declared


def plan(folder: Path, image: str | None = "image", **sections: Any) -> Task:
    content = {
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "harnesses": gated(image=image),
        "evaluation": {"tasks": [{"name": "own.quiz"}]},
        **sections,
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks[0]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def told(task: Task, runtime: str = "docker") -> str:
    return "\n".join(map(str, needs.unmet({task: runtime})))


GATED = "own.quiz needs the gated dataset org/quiz, and HF_TOKEN is not set"


def test_a_missing_token_and_other_variables_are_named(tmp_path: Path) -> None:
    text = told(plan(tmp_path))

    assert GATED in text
    assert "https://huggingface.co/datasets/org/quiz" in text
    assert "own.quiz needs the variable MY_JUDGE_KEY, which is not set" in text


def test_a_token_in_the_environment_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("MY_JUDGE_KEY", "x")

    assert told(plan(tmp_path)) == ""


def test_a_login_in_the_cache_that_is_mounted_is_enough(tmp_path: Path, home: Path) -> None:
    cache = home / ".cache" / "huggingface"
    cache.mkdir(parents=True)
    (cache / "token").write_text("hf_x")

    assert GATED not in told(plan(tmp_path))
    assert GATED in told(plan(tmp_path, execution={"hf_home": False}))
    assert GATED in told(plan(tmp_path, execution={"hf_home": str(tmp_path / "other")}))


@pytest.mark.parametrize(
    "source", [{"HF_TOKEN": "host:MY_HF"}, {"HF_HUB_OFFLINE": "lit:1"}, {"HF_TOKEN": "lit:"}]
)
def test_who_says_where_the_token_or_the_data_is_is_believed(
    tmp_path: Path, source: dict[str, str]
) -> None:
    assert GATED not in told(plan(tmp_path, env_vars=source))


def test_the_container_gets_the_token_and_a_refusal_of_the_hub_is_the_cause(
    tmp_path: Path, endpoint: ScriptedEndpoint, image: str | None
) -> None:
    online = dict.fromkeys(needs.OFFLINE, "")
    project = Project(tmp_path / "project", endpoint.chat_url, online)
    refusal = 'echo "Access to dataset org/quiz is restricted and you are not" >&2; exit 1'
    write(project, harnesses=gated(f'echo "token $HF_TOKEN"; {refusal}', image),
          env_vars={"ALSO": "host:NOT_SET_ANYWHERE"})  # fmt: skip

    # Without a token it is told together with everything else.
    refused = project.snakemake().refused()
    assert GATED in refused.output
    assert "NOT_SET_ANYWHERE is not set" in refused.output
    assert not project.runs

    project.environment |= dict.fromkeys(("HF_TOKEN", "MY_JUDGE_KEY", "NOT_SET_ANYWHERE"), "canary")
    project.snakemake(*RETRIES).refused()
    log = (project.task("quiz") / "logs" / "evaluate.log").read_text()
    assert "token ***\n" in log
    assert "org/quiz on Hugging Face is gated: ask for access on its page" in cause(project)


def test_gated_data_of_the_catalogue_is_known(tmp_path: Path) -> None:
    task = plan(tmp_path, evaluation={"tasks": [{"name": "simple_evals.gpqa_diamond"}]})

    assert "simple_evals.gpqa_diamond needs the gated dataset Idavidrein/gpqa" in told(task)
