"""Projects whose model is served by a server that the pipeline brings up."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

from rig.pipeline import HARNESSES, MODEL, Finished, Project

QUIZ_FILES = Path(__file__).parents[1] / "workflow" / "quiz"
SCRIPTED = Path(__file__).with_name("scripted_server.py")
OWN: dict[str, Any] = {
    "own": {
        "kind": "command",
        "command": "python3 {files}/ask.py --url {url} --model {model_id} --results {results}"
        " --limit {limit_samples} --seed {param.seed} --exit-code {param.exit_code}"
        " --pause {param.pause} --fails-while {param.fails_while}",
        "files": str(QUIZ_FILES),
        "tasks": {"quiz": {"endpoint_type": "chat", "samples": 10}},
    },
    "judged": {
        "kind": "command",
        "command": "python3 {files}/ask.py --url {url} --model {model_id} --results {results}"
        " --limit {limit_samples} --judge-url {param.judge_url} --judge-model {param.judge_model}"
        ' && [ "$JUDGE_CHAT_URL" = {param.judge_url} ]',
        "files": str(QUIZ_FILES),
        "tasks": {"essay": {"endpoint_type": "chat", "samples": 10}},
    },
}


def quiz(**extra: Any) -> dict[str, Any]:
    """An entry of evaluation.tasks; another `seed` asks other questions."""
    return {"name": "own.quiz", "nemo_evaluator_config": {"config": {"params": {"extra": extra}}}}


def essay() -> dict[str, Any]:
    """A benchmark that asks the auxiliary server `judge` about each answer."""
    asked = {
        "judge_url": "auxiliary_deployments.judge.chat_url",
        "judge_model": "auxiliary_deployments.judge.model_id",
    }
    params = {"config": {"params": {"extra": asked}}}
    return {"name": "judged.essay", "nemo_evaluator_config": params}


def scripted(*arguments: str, **more: Any) -> dict[str, Any]:
    """A deployment: the scripted server as a process. Its last words come before Python's start: a
    server that is given up after seconds has them, on a busy machine too."""
    said = 'echo "the server\'s weights are loaded"'
    command = " ".join([f"exec {sys.executable} {SCRIPTED} --port {{port}}", *arguments])
    return process(f"{said}; {command}", **more)


def process(command: str, **more: Any) -> dict[str, Any]:
    return {"type": "process", "command": command, "served_model_name": MODEL, **more}


class Deployed(Project):
    """A project with a deployment in place of an endpoint."""

    def configure(
        self, deployment: dict[str, Any], tasks: list[dict[str, Any]], **sections: Any
    ) -> None:
        self.write(
            tasks,
            {"limit_samples": 3},
            **{
                "target": {},
                "deployment": deployment,
                "harnesses": {**HARNESSES, **OWN},
                **sections,
            },
        )

    def target(self, name: str) -> Finished:
        """A utility target, as in another terminal."""
        program, *_ = self.command()
        config = ["--configfile", str(self.config)]
        return self.run_warm(program, "-s", str(self.snakefile), name, *config)

    @property
    def server(self) -> Path:
        return self.run_folder / "deployments" / "model"

    @property
    def record(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.server / "status.json").read_text())
        return content

    @property
    def starts(self) -> int:
        """How often the scripted server was started."""
        return self.noted("start")

    def noted(self, word: str) -> int:
        try:
            return (self.folder / "server-starts").read_text().count(word)
        except OSError:
            return 0

    @property
    def address(self) -> str:
        try:
            return str(json.loads((self.server / "endpoint.json").read_text())["url"])
        except (OSError, ValueError):
            return ""

    def file(self, name: str) -> Path:
        """A file that steers the scripted server."""
        return self.folder / name


def taken_port() -> socket.socket:
    """A port that somebody listens at."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening
