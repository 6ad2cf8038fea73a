"""A benchmark of one's own: a command declared in a few lines of the config."""

import json
from typing import Any

import pytest
from quiz_project import COMMAND, OWN, quiz, row, write

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.image import ensure_base_image
from rig.pipeline import Project

MODELS = ["plain", "two words", """it's a "quoted" $HOME `name` \\ {url} %s"""]


def target_of(project: Project, model: str, **keys: str) -> dict[str, Any]:
    return {"api_endpoint": {"url": project.url, "model_id": model, **keys}}


@pytest.mark.parametrize("model", MODELS)
def test_placeholders_reach_the_command_as_they_are(
    project: Project, endpoint: ScriptedEndpoint, model: str
) -> None:
    # given a model whose name means something to a shell, and a parameter like it
    endpoint.models = [model]
    command = f"printf '%s\\n' {{param.word}} {{task}} && {COMMAND}"
    own = {"own": {**OWN["own"], "command": command}}
    write(project, [quiz(word=model)], harnesses=own, target=target_of(project, model))

    project.snakemake().check()

    # then the endpoint was asked for exactly that model, and the score is in the table
    assert [body["model"] for body in endpoint.bodies] == [model] * 8
    log = (project.task("quiz") / "logs" / "evaluate.log").read_text()
    assert f"{model}\nquiz\n" in log
    found = row(project, "quiz")
    assert (found["model"], found["harness"], found["metric"]) == (model, "own", "accuracy")
    assert (found["n"], found["scored"], found["expected"]) == (8, 8, 8)


def test_key_reaches_the_command_in_the_environment_only(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    endpoint.required_key = "canary-of-the-endpoint"
    project.environment["QUIZ_KEY"] = "canary-of-the-endpoint"
    write(project, [quiz()], target=target_of(project, "test-model", api_key_name="QUIZ_KEY"))

    project.snakemake().check()

    assert endpoint.answers.total() == 8
    assert "QUIZ_KEY" in (project.task("quiz") / "run.sh").read_text()


@pytest.mark.docker
def test_own_command_runs_in_the_image_it_names(
    docker_engine: DockerEngine, project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given the same quiz in a plain Debian with python3
    image = ensure_base_image(docker_engine)
    own: dict[str, Any] = {**OWN["own"], "image": image}
    model = MODELS[-1]
    endpoint.models = [model]
    write(project, [quiz(seed=1)], harnesses={"own": own}, target=target_of(project, model))
    project.environment["DOCKER_HOST"] = docker_engine.host

    project.snakemake().check()

    assert endpoint.answers.total() == 8
    assert {body["model"] for body in endpoint.bodies} == {model}
    assert row(project, "quiz")["state"] == "published"
    assert "sha256:" in row(project, "quiz")["image"]
    assert json.dumps(model, ensure_ascii=False) in (project.task("quiz") / "run.sh").read_text()
