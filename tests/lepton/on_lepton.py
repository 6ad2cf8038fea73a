"""Projects whose jobs are run by the Lepton of the loopback address."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig.endpoint import ScriptedEndpoint
from rig.image import BENCHMARK
from rig.lepton_service import LeptonService
from rig.pipeline import ROOT, Finished, Project, as_in_a_terminal
from rig.warm_snakemake import SNAKEMAKE

STORAGE = "node-nfs:rig"


@dataclass
class Workflow:
    """A plain Snakefile in a folder, run with `--executor lepton`.

    storage  what the jobs mount; the folder lies on it unless a test says otherwise
    """

    folder: Path
    lepton: LeptonService
    storage: Path
    mounted_at: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, snakefile: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Snakefile").write_text(snakefile)

    def command(self, *arguments: str) -> list[str]:
        return [
            *(SNAKEMAKE, "--jobs", "4", "--executor", "lepton"),
            *("--lepton-image", "rig", "--lepton-resource-shape", "cpu.small"),
            *("--lepton-mounts", f"{STORAGE}:/:{self.mounted_at or self.storage}"),
            *("--lepton-storage", str(self.storage)),
            *("--seconds-between-status-checks", "1", "--latency-wait", "2"),
            *arguments,
        ]

    @property
    def variables(self) -> dict[str, str]:
        import os

        return {**os.environ, **self.lepton.environment, **self.environment}

    def run(self, *arguments: str, timeout: float | None = None) -> Finished:
        ended = subprocess.run(
            self.command(*arguments),
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

    def started(self, *arguments: str) -> "subprocess.Popen[str]":
        """snakemake beside the test; its output is in a pipe."""
        return subprocess.Popen(
            self.command(*arguments),
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
class LeptonProject(Project):
    """The pipeline with profiles/lepton; its working directory is on the jobs' storage."""

    lepton: LeptonService = field(kw_only=True)
    endpoint: ScriptedEndpoint = field(kw_only=True)
    profile: str | None = str(ROOT / "profiles" / "lepton")

    def command(self, *arguments: str) -> list[str]:
        quick = ("--seconds-between-status-checks", "1", "--latency-wait", "2")
        return super().command(*quick, *arguments)

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, **self.lepton.environment}

    def benchmark_folder(self) -> Path:
        """The rig's benchmark, on the storage."""
        folder = self.folder / "benchmark"
        if not folder.exists():
            shutil.copytree(BENCHMARK, folder)
        return folder

    def execution(self, **settings: Any) -> dict[str, Any]:
        """`execution` of type lepton for this storage; `tasks` is laid over its platform's."""
        tasks = {
            "mounts": [{"from": STORAGE, "path": "/", "mount_path": str(self.folder)}],
            **settings.pop("tasks", {}),
        }
        return {
            "type": "lepton",
            "output_dir": "out",
            "min_free_gb": 0,
            "lepton_platform": {"tasks": tasks},
            **settings,
        }

    def target(self, name: str, *arguments: str) -> Finished:
        """A utility target in another terminal."""
        config = ["--configfile", str(self.config)]
        return self.run_warm(SNAKEMAKE, "-s", str(self.snakefile), name, *config, *arguments)
