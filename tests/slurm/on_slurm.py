"""A project whose benchmarks are jobs of the real cluster.

The benchmark `own.<name>` asks its questions one by one and keeps every answer (the program of
config/examples/own_benchmark); it starts in a blink, so that the tests wait for Slurm alone.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import HARNESSES, ROOT, Finished, Project
from rig.slurm_cluster import SlurmCluster
from rig.warm_snakemake import SNAKEMAKE

ASK = ROOT / "config" / "examples" / "own_benchmark" / "ask"
COMMAND = (
    "python3 {files}/ask.py --questions {files}/{task}.jsonl --url {url} --model {model_id}"
    " --threads {param.threads} --answers {results}/answers.jsonl --out {results}/results.json"
)
QUICK = (
    *("--seconds-between-status-checks", "1"),
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "5"),
)
"""A test does not wait as long between two looks at the queue as a person would."""


@dataclass
class ClusterProject(Project):
    """cluster, endpoint: where its jobs run, and what they ask."""

    cluster: SlurmCluster = field(kw_only=True)
    endpoint: ScriptedEndpoint = field(kw_only=True)
    profile: str | None = str(ROOT / "profiles" / "slurm")

    def command(self, *arguments: str) -> list[str]:
        return super().command(*QUICK, *arguments)

    def write_benchmarks(
        self,
        names: dict[str, int],
        threads: int = 2,
        image: str | None = None,
        also: Sequence[dict[str, Any]] = (),
        **sections: Any,
    ) -> dict[str, Any]:
        """Benchmarks by name, each with that many questions.

        image: in which they run; `also`: further entries of the list of benchmarks.
        sections: on top of the config; `execution` and `resources` (by name) are laid over it.
        """
        files = self.folder / "files"
        files.mkdir(parents=True, exist_ok=True)
        (files / "ask.py").write_text((ASK / "ask.py").read_text())
        for name, count in names.items():
            lines = [
                json.dumps({"question": f"{name}: what is {n} + {n}?", "answer": "sums"})
                for n in range(count)
            ]
            (files / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        own = {
            "kind": "command",
            "command": COMMAND,
            "files": str(files),
            "image": image,
            "tasks": {name: {"samples": count} for name, count in names.items()},
        }
        params = {"config": {"params": {"extra": {"threads": threads}}}}
        resources = sections.pop("resources", {})
        execution = {"output_dir": "out", "min_free_gb": 0} | sections.pop("execution", {})
        return self.write(
            [
                {"name": f"own.{name}", "nemo_evaluator_config": params}
                | ({"resources": resources[name]} if name in resources else {})
                for name in names
            ]
            + list(also),
            harnesses={**HARNESSES, "own": own},
            execution=execution,
            **sections,
        )

    # --- what the cluster says -------------------------------------------------------------------

    def jobs(self) -> list[str]:
        """What squeue shows of live jobs, for messages and for counting."""
        return self.cluster.run("squeue", "--noheader", "--format=%i %T %j %r").splitlines()

    def job(self, task: str) -> str:
        """The job that was submitted last for a task."""
        return str(json.loads((self.task(task) / "job.json").read_text())["job"])

    def limit_strikes(self, job: str, seconds: int = 5) -> None:
        """The job's time limit is that near from now on. Slurm looks every 30 s."""
        self.cluster.run("scontrol", "update", f"jobid={job}", f"EndTime=now+{seconds}")

    def has_time_again(self, job: str) -> None:
        """A job that was started again after `limit_strikes` gets an hour."""
        self.cluster.run("scontrol", "update", f"jobid={job}", "TimeLimit=60")

    def submitted_names(self, *beginnings: str) -> list[str]:
        """Jobs of such names that the cluster has seen since it started, ended ones too."""
        shown = self.cluster.run("squeue", "--noheader", "--states=all", "--format=%j")
        return [name for name in shown.splitlines() if name.startswith(beginnings)]

    def sbatch(self, script: Path, *flags: str) -> str:
        """Submits a script by hand, as a person does; its job's number."""
        said = self.run("sbatch", "--parsable", *flags, str(script)).check().output
        return said.strip().splitlines()[-1]

    # --- what the endpoint and the run folder say ------------------------------------------------

    def asked(self, task: str) -> dict[str, int]:
        """Requests per question of a task."""
        return {
            prompt: count
            for prompt, count in self.endpoint.requests.items()
            if prompt.startswith(f"{task}:")
        }

    def answered(self, task: str) -> int:
        return sum(
            count
            for prompt, count in self.endpoint.answers.items()
            if prompt.startswith(f"{task}:")
        )

    def wait_for_answers(self, task: str, count: int) -> None:
        self.endpoint.wait_for(lambda: self.answered(task) >= count)

    def states(self, task: str) -> list[str]:
        """How a task's attempts have ended."""
        return [attempt["state"] for attempt in self.status(task)["attempts"]]

    def target(self, name: str, *arguments: str) -> Finished:
        """A utility target in another terminal."""
        config = ["--configfile", str(self.config)]
        return self.run_warm(SNAKEMAKE, "-s", str(self.snakefile), name, *config, *arguments)


def containers(run: Path, task: str = "") -> list[str]:
    """Containers of a run, or of one of its tasks, that the Docker engine still has."""
    label = f"snakeval.task={run.name}/{task}" if task else f"snakeval.run={run.name}"
    listed = subprocess.run(
        ["docker", "ps", "-a", "--filter", f"label={label}", "--format", "{{.ID}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()
