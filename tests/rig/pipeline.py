"""Starts the pipeline as a person does, in a working directory of its own.

project = Project(tmp_path, endpoint.chat_url)
project.write(tasks=[SUMS], params={"limit_samples": 40})
project.snakemake().check()            # waits; raises with the output when it failed
with project.started() as process:     # runs beside the test
    endpoint.wait_until_answered(10)
    os.kill(process.pid, signal.SIGKILL)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from rig.image import BENCHMARK, NEMO_IMAGE
from rig.warm_snakemake import SNAKEMAKE, warm_snakemake

ROOT = Path(__file__).parents[2]
QUICK_LM_EVAL = Path(__file__).with_name("quick_lm_eval")
MODEL = "test-model"

BEHIND_THE_GATEWAY = {"gateway": True} if os.environ.get("SNAKEVAL_TEST_GATEWAY") else {}
"""SNAKEVAL_TEST_GATEWAY=1 runs any test of the pipeline behind the gateway."""

SUMS: dict[str, Any] = {"name": "rig.snakeval_sums"}
"""The tests' own benchmark, by plain lm-eval without a container (see `HARNESSES`)."""

HARNESSES: dict[str, Any] = {
    "rig": {
        "kind": "lm_eval",
        "include_path": str(BENCHMARK),
        "tasks": {"snakeval_sums": {"endpoint_type": "chat", "samples": 200}},
    },
}


def nemo_sums(**params: Any) -> dict[str, Any]:
    """The same questions by the real NeMo image in a real container."""
    extra = {"num_fewshot": 0, "args": "--include_path /benchmark"}
    return {
        "name": "lm-evaluation-harness.mmlu_instruct",
        "container": NEMO_IMAGE,
        "dataset_dir": str(BENCHMARK),
        "dataset_mount_path": "/benchmark",
        "nemo_evaluator_config": {
            "config": {"params": {"task": "snakeval_sums", "extra": extra, **params}}
        },
    }


def as_in_a_terminal() -> None:
    """Before a child starts: no signal is ignored, whatever started the tests ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class Finished:
    """A snakemake (or script) that has ended; `output` is stdout and stderr together."""

    code: int
    output: str

    def check(self) -> Finished:
        assert self.code == 0, self.output
        return self

    def refused(self) -> Finished:
        assert self.code != 0, self.output
        assert "Traceback" not in self.output, self.output
        return self

    @property
    def planned(self) -> int:
        """Benchmarks that a dry run plans."""
        rows = [line.split() for line in self.output.splitlines()]
        return next((int(row[1]) for row in rows if row[:1] == ["evaluate"] and len(row) == 2), 0)


@dataclass
class Project:
    """A working directory with a config, and the ways to start the pipeline in it."""

    folder: Path
    url: str
    environment: dict[str, str] = field(default_factory=dict)
    profile: str | None = str(ROOT / "profiles" / "local")
    snakefile: Path = ROOT / "Snakefile"
    _started: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def config(self) -> Path:
        return self.folder / "my.yaml"

    def write(
        self,
        tasks: list[dict[str, Any]] | None = None,
        params: dict[str, Any] | None = None,
        **sections: Any,
    ) -> dict[str, Any]:
        """Writes the config; `sections` are top-level keys on top of it. Returns it."""
        content: dict[str, Any] = {
            "execution": {"output_dir": "out", "min_free_gb": 0, **BEHIND_THE_GATEWAY},
            "target": {"api_endpoint": {"url": self.url, "model_id": MODEL}},
            "harnesses": HARNESSES,
            "evaluation": {
                "nemo_evaluator_config": {"config": {"params": params or {}}},
                "tasks": tasks or [SUMS],
            },
            **sections,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))
        return content

    def command(self, *arguments: str) -> list[str]:
        profile = ["--profile", self.profile] if self.profile else []
        return [
            SNAKEMAKE,
            "-s",
            str(self.snakefile),
            *profile,
            "--configfile",
            str(self.config),
            *arguments,
        ]

    @property
    def variables(self) -> dict[str, str]:
        """The caller's environment: offline, a home folder of its own, lm-eval quick to start."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        bin_folder = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "HOME": str(home),
            "PYTHONPATH": str(QUICK_LM_EVAL),
            "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            **self.environment,
        }

    def snakemake(self, *arguments: str, timeout: float | None = None) -> Finished:
        """Runs snakemake to its end; where it hangs, the test's own limit ends both."""
        return self.run_warm(*self.command(*arguments), timeout=timeout)

    def run(self, *command: str, timeout: float | None = None) -> Finished:
        """Runs any command in the project's environment to its end."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        return Finished(ended.returncode, ended.stdout)

    def run_warm(self, *command: str, timeout: float | None = None) -> Finished:
        """A `snakemake ...` to its end, without the time that its imports take where it can be."""
        variables = self.variables
        helper = warm_snakemake(command, variables, sees=str(QUICK_LM_EVAL))
        if helper is None:
            return self.run(*command, timeout=timeout)
        with tempfile.TemporaryFile() as output:
            code = helper.run(command, self.folder, variables, output.fileno(), timeout)
            output.seek(0)
            return Finished(code, output.read().decode(errors="replace"))

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """snakemake in a session of its own (its process group is the terminal's, as it were).

        Its output goes to `snakemake.log`. Whatever is left of the session at the end is killed.
        """
        with (self.folder / "snakemake.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.variables,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=as_in_a_terminal,
            )
        self._started = process
        try:
            yield process
        finally:
            self._started = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def has_ended(self) -> bool:
        """Whether what `started` runs now is over: what was waited for will not come."""
        return self._started is not None and self._started.poll() is not None

    @property
    def log(self) -> str:
        return (self.folder / "snakemake.log").read_text(errors="replace")

    # --- what a start has left -------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Processes of this project: scripts, harnesses, servers and their supervisors."""
        found = []
        for each in psutil.process_iter(["cmdline", "status", "cwd"]):
            words = " ".join(each.info["cmdline"] or [])
            inside = str(self.folder) in words or each.info["cwd"] == str(self.folder)
            if each.pid != os.getpid() and inside and each.info["status"] != "zombie":
                found.append(words)
        return found

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / "out").glob("20*"))

    @property
    def run_folder(self) -> Path:
        """The only run."""
        (run,) = self.runs
        return run

    def task(self, name: str = "snakeval_sums") -> Path:
        return self.run_folder / name

    def status(self, name: str = "snakeval_sums") -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.task(name) / "status.json").read_text())
        return content

    def rows(self) -> list[dict[str, Any]]:
        """The rows of results.json."""
        content = json.loads((self.run_folder / "results" / "results.json").read_text())
        rows: list[dict[str, Any]] = content["rows"]
        return rows
