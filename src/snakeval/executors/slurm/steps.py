"""Benchmarks inside their server's allocation: steps of its job (which ones: `placement.py`).

For clusters that give whole nodes with GPUs only. The step is an `srun` in a session of its own: it
goes on when the controller dies, as a job would.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from snakeval.config.execution.slurm import SlurmExecution
from snakeval.executors.slurm import queue, scripts
from snakeval.executors.slurm import server as slurm
from snakeval.executors.slurm.resources import NAME
from snakeval.executors.slurm.submit import Refused
from snakeval.job import slurm_calls, slurm_job
from snakeval.plan.run import Run, Task
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import ServerPaths


class Step:
    """A benchmark at work, or one that waits for its server's job."""

    def __init__(self, run: Run, task: Task, server: ServerPaths, attempt: int) -> None:
        self.job = ""
        self._run, self._task, self._server, self._attempt = run, task, server, attempt
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, recent: queue.Recent) -> bool:
        """Whether it has begun; it waits while the server's job does.

        Raises Refused when there will be no such job.
        """
        try:
            job = slurm.live_job(self._server, recent.jobs())
        except queue.QueryFailed:
            return False
        if job is None and state.record_of(self._server).get("state") in ("stopped", "failed"):
            raise Refused(
                state.why_down(self._server) or f"the server '{self._server.dir.name}' has ended"
            )
        owner = state.supervisor_of(self._server)
        if job is None or job.state != "RUNNING" or owner is None or owner.job != job.id:
            return False
        self.job = job.id
        self._task.paths.logs.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "SNAKEVAL_LEAD"}
        environment["SNAKEVAL_EXECUTOR"] = NAME
        # srun does not say it; without it a cancelled step looks like one of a requeued job.
        environment["SLURM_RESTART_COUNT"] = slurm_job.shown(job.id).get("Restarts", "0")
        with log_of(self._task, job.id).open("ab") as log:
            self._process = subprocess.Popen(
                command(self._run, self._task, job.id, self._attempt),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        return True

    def is_displaced(self) -> bool:
        """Whether its server's job has lost its allocation."""
        try:
            job = slurm.live_job(self._server)
        except queue.QueryFailed:
            return state.record_of(self._server).get("state") == "requeued"
        return job is None or job.id != self.job or job.state != "RUNNING"

    def again(self) -> Step:
        """The same benchmark in the server's next job."""
        return Step(self._run, self._task, self._server, self._attempt)

    @property
    def begun(self) -> bool:
        return self._process is not None

    def ended(self) -> int | None:
        """Its exit code."""
        return self._process.poll() if self._process else None


def command(run: Run, task: Task, job: str, attempt: int) -> list[str]:
    """The srun of a step: beside the server, on its first node."""
    execution = run.config.execution
    seen = isinstance(execution, SlurmExecution) and execution.evaluation_gpu_visible
    return [
        *slurm_calls.with_cluster(["srun"]),
        *(f"--jobid={job}", "--overlap", "--nodes=1", "--ntasks=1", "--relative=0"),
        *(f"--job-name={scripts.name_of(task)}", "--unbuffered", "--mem=0"),
        *(() if seen else ("--gres=none",)),
        *("bash", str(task.paths.script.absolute()), task.digest, str(attempt)),
    ]


def log_of(task: Task, job: str) -> Path:
    return task.paths.logs / f"slurm-{job}.log"
