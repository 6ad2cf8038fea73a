"""Projects whose jobs are run by the Kubernetes of the loopback address."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig.endpoint import ScriptedEndpoint
from rig.image import BENCHMARK
from rig.kubernetes_service import KubernetesService
from rig.pipeline import ROOT, Finished, Project, as_in_a_terminal
from rig.warm_snakemake import SNAKEMAKE

CLAIM = "rig-claim"
QUICK = ("--seconds-between-status-checks", "1", "--latency-wait", "2")


@dataclass
class Workflow:
    """A plain Snakefile in a folder on the volume, run with `--executor kubernetes-jobs`."""

    folder: Path
    cluster: KubernetesService
    storage: Path

    def write(self, snakefile: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "Snakefile").write_text(snakefile)

    def started(self, *arguments: str) -> "subprocess.Popen[str]":
        """snakemake beside the test; its output is in a pipe."""
        return subprocess.Popen(
            [
                *(SNAKEMAKE, "--jobs", "4", "--executor", "kubernetes-jobs", *QUICK),
                *("--kubernetes-jobs-image", "rig"),
                *("--kubernetes-jobs-volumes", f"{CLAIM}:/:{self.storage}", *arguments),
            ],
            cwd=self.folder,
            env={**os.environ, **self.cluster.environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=as_in_a_terminal,
        )

    def run(self, *arguments: str) -> Finished:
        process = self.started(*arguments)
        output, _ = process.communicate()
        return Finished(process.returncode, output)


@dataclass
class KubernetesProject(Project):
    """The pipeline with profiles/kubernetes; its working directory is on the jobs' volume."""

    cluster: KubernetesService = field(kw_only=True)
    endpoint: ScriptedEndpoint = field(kw_only=True)
    profile: str | None = str(ROOT / "profiles" / "kubernetes")

    def command(self, *arguments: str) -> list[str]:
        return super().command(*QUICK, *arguments)

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, **self.cluster.environment}

    def benchmark_folder(self) -> Path:
        """The rig's benchmark, on the volume."""
        folder = self.folder / "benchmark"
        if not folder.exists():
            shutil.copytree(BENCHMARK, folder)
        return folder

    def execution(self, **settings: Any) -> dict[str, Any]:
        """`execution` of type kubernetes for this volume."""
        return {
            "type": "kubernetes",
            "output_dir": "out",
            "min_free_gb": 0,
            "volumes": [{"claim": CLAIM, "mount_path": str(self.folder)}],
            **settings,
        }

    def target(self, name: str, *arguments: str) -> Finished:
        """A utility target in another terminal."""
        config = ["--configfile", str(self.config)]
        return self.run_warm(SNAKEMAKE, "-s", str(self.snakefile), name, *config, *arguments)
