"""Projects on the cluster whose model is served by a job that the pipeline submits."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from on_slurm import ClusterProject

from rig.pipeline import MODEL
from rig.slurm_cluster import ACCOUNT

SCRIPTED = Path(__file__).parents[1] / "deploy" / "scripted_server.py"
QUIZ_FILES = Path(__file__).parents[1] / "workflow" / "quiz"
JUDGED: dict[str, Any] = {
    "kind": "command",
    "command": "python3 {files}/ask.py --url {url} --model {model_id} --results {results}"
    " --limit {limit_samples} --judge-model {param.judge_model} --judge-url $JUDGE_CHAT_URL",
    "files": str(QUIZ_FILES),
    "tasks": {"essay": {"endpoint_type": "chat", "samples": 10}},
}
"""A harness that asks the auxiliary server `judge` about each answer."""


def process(command: str, **more: Any) -> dict[str, Any]:
    command = f"{sys.executable} {command} --host {{host}} --port {{port}}"
    return {"type": "process", "command": command, "served_model_name": MODEL, **more}


@dataclass
class ServedProject(ClusterProject):
    """A cluster project with a deployment in place of an endpoint."""

    def scripted(self, *arguments: str, **more: Any) -> dict[str, Any]:
        """A deployment: the scripted server, with its files in this project's folder."""
        files = {"log": "starts", "sick-while": "sick", "hold-while": "hold"}
        words = [f"--{flag} {self.folder / name}" for flag, name in files.items()]
        made = process(" ".join([str(SCRIPTED), *words, *arguments]), **more)
        # Before Python's start: a server that is given up after seconds has said it, on a busy
        # machine too.
        said = 'echo "the server\'s weights are loaded"'
        return made | {"command": f"{said}; exec {made['command']}"}

    def configure(self, deployment: dict[str, Any], names: dict[str, int], **sections: Any) -> None:
        """Benchmarks by name, each with that many questions, for a server of their own."""
        execution = {"type": "slurm", "account": ACCOUNT, "output_dir": "out", "gres": None}
        self.write_benchmarks(
            names,
            target={},
            deployment=deployment,
            execution=execution | sections.pop("execution", {}),
            **sections,
        )

    def configure_tasks(self, deployment: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
        """Other benchmarks, of three questions each."""
        execution = {"type": "slurm", "account": ACCOUNT, "output_dir": "out", "min_free_gb": 0}
        self.write(
            tasks,
            {"limit_samples": 3},
            target={},
            deployment=deployment,
            execution=execution,
        )

    def configure_judged(self, models: list[dict[str, Any]], judge: dict[str, Any]) -> None:
        """A sweep: for each of these deployments a benchmark that asks the judge, too."""
        asked = {"judge_model": "auxiliary_deployments.judge.model_id"}
        params = {"config": {"params": {"extra": asked}}}
        self.write(
            [{"name": "judged.essay", "nemo_evaluator_config": params}],
            {"limit_samples": 3},
            target={},
            deployment={"type": "process"},
            models=[{"deployment": each} for each in models],
            auxiliary_deployments={"judge": judge},
            harnesses={"judged": JUDGED},
            execution={
                "type": "slurm",
                "account": ACCOUNT,
                "output_dir": "out",
                "min_free_gb": 0,
                "gres": None,
            },
        )

    def hold(self) -> Path:
        """The scripted server answers nothing while this file exists."""
        file = self.folder / "hold"
        self.folder.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file

    @property
    def server(self) -> Path:
        return self.run_folder / "deployments" / "model"

    @property
    def record(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.server / "status.json").read_text())
        return content

    @property
    def endpoint_now(self) -> dict[str, Any]:
        """The live address; empty while there is none."""
        try:
            content: dict[str, Any] = json.loads((self.server / "endpoint.json").read_text())
        except (OSError, ValueError, AssertionError):
            return {}
        return content

    @property
    def server_job(self) -> str:
        return str(json.loads((self.server / "job.json").read_text())["job"])

    def noted(self, word: str) -> list[str]:
        """Lines that the scripted server has written."""
        try:
            lines = (self.folder / "starts").read_text().splitlines()
        except OSError:
            return []
        return [line for line in lines if line.startswith(word)]

    def wait_until_asked(self, count: int) -> None:
        """Until the server that was started last has been asked by so many benchmarks."""

        def asked() -> bool:
            lines = self.noted("")
            starts = [number for number, line in enumerate(lines) if line.startswith("start")]
            later = lines[starts[-1] :] if starts else []
            return sum(line.startswith("asked") for line in later) >= count * 2  # threads

        self.cluster.wait(asked)
