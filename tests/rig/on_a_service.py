"""What runs its jobs on a service of the loopback address: a plain workflow, and the pipeline."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .endpoint import ScriptedEndpoint
from .image import BENCHMARK
from .pipeline import Finished, Project, as_in_a_terminal
from .warm_snakemake import SNAKEMAKE

QUICK = ("--seconds-between-status-checks", "1", "--latency-wait", "2")


@dataclass
class PlainWorkflow:
    """A plain Snakefile in a folder, run with an executor plugin: `words` are its options.

    storage  what the jobs mount; the folder lies on it unless a test says otherwise
    """

    folder: Path
    storage: Path
    environment: dict[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def words(self) -> list[str]:
        raise NotImplementedError

    @property
    def variables(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def write(self, snakefile: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Snakefile").write_text(snakefile)

    def run(self, *arguments: str) -> Finished:
        process = self.started(*arguments)
        output, _ = process.communicate()
        return Finished(process.returncode, output)

    def started(self, *arguments: str) -> "subprocess.Popen[str]":
        """snakemake beside the test; its output is in a pipe."""
        return subprocess.Popen(
            [SNAKEMAKE, "--jobs", "4", *self.words, *QUICK, *arguments],
            cwd=self.folder,
            env=self.variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=as_in_a_terminal,
        )


@dataclass
class ServiceProject(Project):
    """The pipeline with a service's profile; its working directory is on the jobs' storage."""

    endpoint: ScriptedEndpoint = field(kw_only=True)

    def command(self, *arguments: str) -> list[str]:
        return super().command(*QUICK, *arguments)

    def benchmark_folder(self) -> Path:
        """The rig's benchmark, on the storage."""
        folder = self.folder / "benchmark"
        if not folder.exists():
            shutil.copytree(BENCHMARK, folder)
        return folder

    def target(self, name: str, *arguments: str) -> Finished:
        """A utility target in another terminal."""
        config = ["--configfile", str(self.config)]
        return self.run_warm(SNAKEMAKE, "-s", str(self.snakefile), name, *config, *arguments)
