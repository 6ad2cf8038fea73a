"""An evaluation that can be interrupted in the middle: what the tests of faults have in common.

Two benchmarks: `once` asks one question and is finished soon, the other one (real lm-eval, or the
real NeMo image in a real container) is long enough to be in the middle of. The endpoint counts
what was asked, per question.

What a container itself is to show (how it is ended, who may touch it) needs no NeMo in it: there
the same questions are asked by the one-file program of config/examples/own_benchmark in a bare
Debian, which starts in half a second.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rig.endpoint import ScriptedEndpoint, answer_sums
from rig.image import BASE_IMAGE, BENCHMARK
from rig.pipeline import HARNESSES, ROOT, SUMS, Finished, Project, as_in_a_terminal, nemo_sums
from rig.promised import within
from snakeval.job.lease import holder_of

SAMPLES = 48
PARALLELISM = 4
ONCE = "Are you there?"
ONCE_HARNESS = {
    "kind": "command",
    "command": "python3 {files}/ask_once.py {url} {model_id} {results}",
    "files": str(Path(__file__).with_name("asks_once")),
    "tasks": {"once": {"endpoint_type": "chat", "samples": 1}},
}
IN_BARE_DEBIAN = {
    "kind": "command",
    "command": "python3 {files}/ask.py --questions /benchmark/sums.jsonl --url {url}"
    " --model {model_id} --limit {limit_samples} --threads {param.parallelism}"
    " --answers {results}/answers.jsonl --out {results}/results.json",
    "files": str(ROOT / "config" / "examples" / "own_benchmark" / "ask"),
    "image": BASE_IMAGE,
    "tasks": {"sums": {"endpoint_type": "chat", "samples": 200}},
}
BARE_SUMS = {
    "name": "bare.sums",
    "dataset_dir": str(BENCHMARK),
    "dataset_mount_path": "/benchmark",
}
LIFELINE = 10.0
"""Seconds that a harness may outlive its script."""


@dataclass
class Evaluation:
    """The project, its endpoint, and the name of the task to interrupt."""

    project: Project
    endpoint: ScriptedEndpoint
    name: str
    engine: str | None

    @classmethod
    def prepare(
        cls,
        folder: Path,
        endpoint: ScriptedEndpoint,
        engine: str | None = None,
        long: dict[str, Any] | None = None,
    ) -> "Evaluation":
        """Writes the config.

        engine: docker or podman, with the NeMo image; None: lm-eval without a container
        long: the long benchmark's entry in the config, where it is another one
        """
        chosen = long or (SUMS if engine is None else nemo_sums())
        # 48 samples, 4 at once: two seconds in which it can be interrupted.
        endpoint.latency = 0.15
        project = Project(folder, endpoint.chat_url)
        project.write(
            tasks=[{"name": "own.once"}, chosen],
            params={"limit_samples": SAMPLES, "parallelism": PARALLELISM},
            harnesses={**HARNESSES, "own": ONCE_HARNESS, "bare": IN_BARE_DEBIAN},
        )
        return cls(project, endpoint, chosen["name"].partition(".")[2], engine)

    # --- what the endpoint saw -------------------------------------------------------------------

    @property
    def answered(self) -> int:
        """Answers to the questions of the long benchmark."""
        return self.endpoint.answers.total() - self.endpoint.answers[ONCE]

    @property
    def asked_again(self) -> int:
        """Requests of the long benchmark beyond the first one of each question."""
        asked = dict(self.endpoint.requests)
        asked.pop(ONCE, None)
        return sum(count - 1 for count in asked.values())

    @property
    def questions(self) -> int:
        return len(self.endpoint.requests) - (ONCE in self.endpoint.requests)

    def wait_for_the_middle(self, answers: int = SAMPLES // 3) -> None:
        """Until the short benchmark is published and the long one is at it."""
        self.wait_until(
            lambda: (
                self.answered >= SAMPLES
                or (self.answered >= answers and self.is_published("once"))
                or self.project.has_ended
            )
        )
        assert not self.project.has_ended, self.project.log
        assert self.answered < SAMPLES, "too late: the benchmark is not in the middle any more"

    def wait_until(self, condition: Callable[[], bool]) -> None:
        self.endpoint.wait_for(condition)

    # --- what runs -------------------------------------------------------------------------------

    @property
    def script(self) -> Path:
        return self.task / "run.sh"

    @property
    def task(self) -> Path:
        return self.project.task(self.name)

    def is_published(self, name: str | None = None) -> bool:
        return bool(list(self.project.folder.glob(f"out/*/{name or self.name}/artifacts")))

    def owner(self) -> psutil.Process:
        """The `run.sh` that holds the task."""
        return psutil.Process(int(self._lease()["pid"]))

    def container(self) -> str:
        return self._lease()["container"]

    def _lease(self) -> dict[str, str]:
        lines = (self.task / "lease" / "owner").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def client(self) -> psutil.Process:
        """The `docker run` of the task."""
        return next(child for child in self.owner().children() if child.cmdline()[1:2] == ["run"])

    def harnesses(self) -> list[str]:
        """What is left of the task: containers by their label, processes by their folder."""
        return [*self.containers(), *self.processes()]

    def containers(self) -> list[str]:
        if self.engine is None:
            return []
        label = f"label=snakeval.run={self.project.run_folder.name}"
        listed = subprocess.run(
            [self.engine, "ps", "-a", "--filter", label, "--format", "{{.Names}} {{.Status}}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return listed.stdout.splitlines()

    def processes(self) -> list[str]:
        """Harness processes of this machine that work in the project's folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if "lm_eval" in command and process.cwd().startswith(str(self.project.folder)):
                    found.append(f"{process.pid} {command}")
        return found

    def wait_until_nothing_runs(self) -> None:
        within(LIFELINE, lambda: not self.harnesses(), told=self.harnesses)

    # --- starting --------------------------------------------------------------------------------

    def finish_the_short_one(self) -> None:
        """A run folder with every script, in which only the long benchmark is left to do."""
        self.project.snakemake("--config", "tasks=once").check()

    @contextlib.contextmanager
    def started_by_hand(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """`bash run.sh`, in a session of its own; whatever is left of it at the end is killed."""
        with self.log_by_hand.open("ab") as log:
            process = subprocess.Popen(
                ["bash", self.script],
                env=self.project.variables | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=as_in_a_terminal,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def log_by_hand(self) -> Path:
        return self.project.folder / "by_hand.log"

    @property
    def said_by_hand(self) -> str:
        return self.log_by_hand.read_text(errors="replace")

    def by_hand(self, script: str = "run.sh", **environment: str) -> Finished:
        """`bash run.sh` (or `run_all.sh`) to its end."""
        file = self.script if script == "run.sh" else self.project.run_folder / script
        variables = [f"{name}={value}" for name, value in environment.items()]
        return self.project.run("env", *variables, "bash", str(file))

    # --- how it must end -------------------------------------------------------------------------

    def attempts(self) -> list[str]:
        """How the attempts at the long benchmark have ended."""
        return [attempt["state"] for attempt in self.project.status(self.name)["attempts"]]

    def check_published(self, asked_again_at_most: int = 0) -> None:
        """Everything published with the right score, and hardly anything asked twice."""
        counters = self.endpoint.counters()
        assert self.questions == SAMPLES, counters
        assert self.asked_again <= asked_again_at_most, counters
        assert self.endpoint.requests[ONCE] == 1, "a finished benchmark was asked again"
        scores = [row["value"] for row in self.project.rows() if row["task"] == self.name]
        assert [round(score, 4) for score in scores] == [expected_score()]
        assert not self.harnesses()
        assert holder_of(self.task / "lease") is None


def expected_score() -> float:
    """The share of the first questions that the endpoint answers right: an undisturbed score."""
    lines = (BENCHMARK / "sums.jsonl").read_text().splitlines()[:SAMPLES]
    sums = [json.loads(line) for line in lines]
    right = [answer_sums(item["question"]) == f"The answer is {item['answer']}." for item in sums]
    return round(sum(right) / SAMPLES, 4)
