"""Every path of a run folder, written once.

A run folder holds no absolute path of itself: it can be moved, copied (`cp -a`, `rsync -a`) and
archived, and what is finished stays finished. Those of a task and of a deployment are in
`job/paths.py`, since the files in `lib/` need them too; `run.sh` relies on the same names, and
`tests/unit/test_layout.py` holds them together.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from snakeval.job.paths import ServerPaths, TaskPaths

__all__ = [
    "RUN_ID",
    "RunPaths",
    "ServerPaths",
    "TaskPaths",
    "from_here",
    "run_configs_home",
    "runs_in",
]

RUN_ID = re.compile(r"^\d{4}(-\d{2}){5}-[0-9a-f]{8}$")
"""`<time of the first start, UTC>-<8 hex digits of the run's identity>`."""

RUN_FOLDER_NAMES = {"deployments", "exports", "huggingface", "lib", "record", "results"}
"""Folders of a run that belong to no task."""


@dataclass(frozen=True)
class RunPaths:
    """The paths of one run; `dir` is `<output_dir>/<run id>`."""

    dir: Path

    @property
    def id(self) -> str:
        return self.dir.name

    @property
    def record(self) -> Path:
        return self.dir / "run.json"

    @property
    def config(self) -> Path:
        return self.dir / "config.yaml"

    @property
    def controller(self) -> Path:
        return self.dir / "controller.json"

    @property
    def run_all(self) -> Path:
        return self.dir / "run_all.sh"

    @property
    def controller_job(self) -> Path:
        """The batch script that runs the pipeline itself as a job of a cluster."""
        return self.dir / "sbatch_controller.sh"

    @property
    def nodes(self) -> Path:
        """What a look at the cluster's nodes has found."""
        return self.dir / "nodes.json"

    @property
    def definitions(self) -> Path:
        """Copies of the user's definition files, where a job drives the run."""
        return self.dir / "record" / "definitions"

    def batch_script(self, task: str) -> Path:
        return self.dir / f"sbatch_{task}.sh"

    @property
    def lib(self) -> Path:
        """Copies of the files of `snakeval/job` that every task's `run.sh` calls."""
        return self.dir / "lib"

    @property
    def results(self) -> Path:
        return self.dir / "results"

    @property
    def results_csv(self) -> Path:
        return self.results / "results.csv"

    @property
    def results_json(self) -> Path:
        return self.results / "results.json"

    @property
    def samples(self) -> Path:
        """One row per sample and metric of every published task."""
        return self.results / "samples.parquet"

    def tables_stamp(self, members: str) -> Path:
        """Stands for "the tables show exactly these specs"; at most one exists (see results)."""
        return self.results / f"of-{members}"

    def exports_stamp(self, exported: str) -> Path:
        """Stands for "all of this was sent to all of these"; at most one exists."""
        return self.dir / "exports" / f"of-{exported}"

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.results / "report.html"

    def comparison(self, base: str) -> Path:
        """This run compared with another one, by that one's id."""
        return self.results / "compare" / f"{base}.json"

    def verdict(self, base: str) -> Path:
        """What the gate has said about this run, by the other one's id."""
        return self.results / "gate" / f"{base}.json"

    def exports(self, destination: str) -> Path:
        return self.dir / "exports" / destination

    def task(self, name: str) -> TaskPaths:
        return TaskPaths(self.dir / name)

    def server(self, name: str) -> ServerPaths:
        return ServerPaths(self.dir / "deployments" / name)


def run_configs_home() -> Path:
    """Where copies of the resolved configs lie, so that runs can be listed from anywhere."""
    return Path(os.environ.get("HOME") or "~").expanduser() / ".nv-eval" / "run_configs"


def runs_in(output_dir: Path) -> list[RunPaths]:
    """The run folders below `output_dir`, oldest first; empty when there is no such folder."""
    try:
        names = sorted(entry.name for entry in output_dir.iterdir() if RUN_ID.match(entry.name))
    except OSError:
        return []
    return [RunPaths(output_dir / name) for name in names]


def from_here(path: Path) -> Path:
    """A path as a person would write it here."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
