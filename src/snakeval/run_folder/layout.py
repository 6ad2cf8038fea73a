"""Every path of a run folder, written once.

A run folder holds no absolute path of itself: it can be moved, copied (`cp -a`, `rsync -a`) and
archived, and what is finished stays finished. `run.sh` and the files in `lib/` rely on the same
names; `tests/unit/test_layout.py` holds them together.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from snakeval.job import record

RUN_ID = re.compile(r"^\d{4}(-\d{2}){5}-[0-9a-f]{8}$")
"""`<time of the first start, UTC>-<8 hex digits of the run's identity>`."""

RUN_FOLDER_NAMES = {"deployments", "exports", "huggingface", "lib", "record", "results"}
"""Folders of a run that belong to no task."""


@dataclass(frozen=True)
class TaskPaths:
    """The paths of one task; `dir` is `<run>/<task>`."""

    dir: Path

    @property
    def spec(self) -> Path:
        return self.dir / "task.yaml"

    @property
    def script(self) -> Path:
        return self.dir / "run.sh"

    @property
    def status(self) -> Path:
        return self.dir / "status.json"

    @property
    def job(self) -> Path:
        """The job that was created last, noted by the controller (`jobs.note`)."""
        return self.dir / "job.json"

    @property
    def cancelled(self) -> Path:
        """Left before a task is cancelled: which start it is not to come back in."""
        return self.dir / "cancelled"

    @property
    def artifacts(self) -> Path:
        return self.dir / "artifacts"

    @property
    def lease(self) -> Path:
        return self.dir / "lease"

    @property
    def logs(self) -> Path:
        return self.dir / "logs"

    @property
    def log(self) -> Path:
        """The log of the latest attempt."""
        return self.logs / "evaluate.log"

    def work(self, digest: str) -> Path:
        return self.dir / "work" / digest

    def published(self, digest: str) -> Path:
        return self.dir / "published" / digest

    def record(self, digest: str) -> Path:
        """Ours, about one spec. No container sees it writable; its files: `job/record.py`."""
        return self.dir / "record" / digest

    def complete(self, digest: str) -> Path:
        """The mark of a result that was checked."""
        return self.record(digest) / record.COMPLETE

    def check(self, digest: str) -> Path:
        return self.record(digest) / record.CHECK

    def check_spec(self, digest: str) -> Path:
        """What the check must know of the task to read its result."""
        return self.record(digest) / record.SPEC

    def mark_of_version_1(self, digest: str) -> Path:
        """In the folder that the harness may write: never believed without a check."""
        return self.work(digest) / "snakeval" / "complete"

    def is_complete(self, digest: str) -> bool:
        """Whether there is a result that was checked, and its work folder."""
        return self.complete(digest).exists() and self.work(digest).is_dir()

    def next_superseded(self, digest: str) -> str:
        """A free name beside `work/<digest>` and `record/<digest>` for the folders that a fresh
        start puts aside."""
        number = 1
        while any(of(f"{digest}.{number}").exists() for of in (self.work, self.record)):
            number += 1
        return f"{digest}.{number}"


@dataclass(frozen=True)
class ServerPaths:
    """The paths of one deployment; `dir` is `<run>/deployments/<name>`."""

    dir: Path

    @property
    def script(self) -> Path:
        return self.dir / "server.sh"

    @property
    def endpoint(self) -> Path:
        """The live address; there only while the server is healthy."""
        return self.dir / "endpoint.json"

    @property
    def lease(self) -> Path:
        return self.dir / "lease"

    @property
    def batch_script(self) -> Path:
        """Runs `server.sh` as a job of a cluster."""
        return self.dir / "sbatch_server.sh"

    @property
    def job(self) -> Path:
        """The job that was created last (`jobs.note`), where the server is one."""
        return self.dir / "job.json"

    @property
    def executor(self) -> Path:
        """With which executor the server was brought up: its name."""
        return self.dir / "place"

    @property
    def tasks(self) -> Path:
        """The benchmarks of the latest start that need the server."""
        return self.dir / "tasks.json"

    @property
    def users(self) -> Path:
        return self.dir / "users"

    @property
    def stop(self) -> Path:
        """A request to the supervisor: `unused` or `now`."""
        return self.dir / "stop"

    @property
    def status(self) -> Path:
        return self.dir / "status.json"

    @property
    def logs(self) -> Path:
        return self.dir / "logs"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    def up(self, start: str) -> Path:
        """Says that the server was up for one start; no other start takes it for a live one."""
        return self.dir / f"up.{start}"


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
