"""A look at a node before the first benchmark is submitted.

Only a job can tell what a node sees. A small one (one CPU, a minute) looks for the run folder, the
Python environment and the container runtime, and meets the controller in the run folder, so that
locks between the two machines are tried and not assumed. On a cluster that is full it is not
waited for. What was found is kept in the run folder (`nodes.json`); the next start looks only at
what has changed.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakeval.errors import InputError, Problem
from snakeval.executors.slurm import queue
from snakeval.executors.slurm.submit import sbatch
from snakeval.job import shared_folder
from snakeval.job.files import mapping_in, now, read_json, write_atomically
from snakeval.job.slurm_calls import Failed
from snakeval.run_folder.layout import RunPaths

PATIENCE = float(os.environ.get("SNAKEVAL_LOOK", "30"))
"""Seconds that the look waits for a free node."""
RUNS_FOR = 90.0
"""Seconds that it takes at most once it runs."""

PLACING = {
    *("-A", "--account", "-p", "--partition", "-q", "--qos", "-C", "--constraint"),
    *("-w", "--nodelist", "-x", "--exclude", "--reservation", "--clusters", "-M"),
}
"""Flags of sbatch that decide on which nodes a job may run, and who pays."""

# Exit codes: 64, and one bit for each thing that is missing.
NO_FOLDER, NO_PYTHON, NO_RUNTIME, NO_ENGINE, NOT_MET = 1, 2, 4, 8, 16
LACKS = 64

_SCRIPT = """\
#!/usr/bin/env bash
run={run} python={python} runtime={runtime}
lacks=0
[ -d "$run/lib" ] || lacks=$((lacks | {no_folder}))
[ -x "$python" ] || lacks=$((lacks | {no_python}))
case $runtime in
    '' | process) ;;
    pyxis) srun --help 2>&1 | grep -q container-image || lacks=$((lacks | {no_runtime})) ;;
    docker)
        if ! command -v docker >/dev/null; then
            lacks=$((lacks | {no_runtime}))
        elif ! docker version >/dev/null 2>&1; then
            lacks=$((lacks | {no_engine}))
        fi
        ;;
    *) command -v "$runtime" >/dev/null || lacks=$((lacks | {no_runtime})) ;;
esac
[ "$lacks" = 0 ] || exit $(({lacks} + lacks))
[ -z {meeting} ] || "$python" -B "$run/lib/shared_folder.py" {meeting} node controller ||
    exit $(({lacks} + {not_met}))
"""


@dataclass(frozen=True)
class Need:
    """What a job needs of the nodes that it may run on.

    placing  the flags that choose the nodes
    """

    placing: tuple[str, ...]
    runtime: str

    @property
    def key(self) -> str:
        return f"{sys.executable} {self.runtime} {shlex.join(self.placing)}"


def placing(described: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Of the flags of a job (see `scripts.flags`) those that choose its nodes."""
    return tuple(
        word for words in described if words[0].partition("=")[0] in PLACING for word in words
    )


def look(run: RunPaths, needs: Sequence[Need], log: Any) -> None:
    """Looks at one node for each need that no earlier start has looked at.

    Raises InputError with everything that is missing there; then nothing is to be submitted.
    """
    known = _known(run)
    unseen = [need for need in dict.fromkeys(needs) if need.key not in known["seen"]]
    if not unseen:
        return
    log.info("looking at a node first: the run folder, the Python environment, the runtime, locks")
    found: list[Problem] = []
    with _meeting_place(run) as meeting:
        for need in unseen:
            try:
                tries_locks = "locks" not in known
                looked = _look(run, need, meeting if tries_locks else None)
            except (Failed, queue.QueryFailed, TimeoutError) as reason:
                log.warning(
                    f"no node was looked at ({reason}): what is missing there is told by the jobs, "
                    "and whether locks work between the machines is not known"
                )
                continue
            found += looked.problems(run, need)
            if looked.code == 0 or looked.code == LACKS + NOT_MET:
                known["seen"][need.key] = looked.node
                if tries_locks:
                    known["locks"] = looked.locks
                _tell(looked, log)
    if found:
        raise InputError(found)
    write_atomically(run.nodes, json.dumps(known, indent=1) + "\n")


@dataclass
class Looked:
    """What a look has found.

    code   of the job: 0, or `LACKS` and bits
    locks  see `_locks`; empty when they were not tried
    """

    node: str
    code: int
    locks: dict[str, Any]

    def problems(self, run: RunPaths, need: Need) -> Iterator[Problem]:
        if self.code < LACKS or self.code >= LACKS * 2:
            return  # nothing that the script says: a node that failed, a limit
        lacks = self.code - LACKS
        if lacks & NO_FOLDER:
            yield Problem(
                "execution.output_dir",
                f"{run.dir.absolute()} is not seen by the nodes (looked at on {self.node})",
                "choose a folder on a file system that all nodes share",
            )
        if lacks & NO_PYTHON:
            yield Problem(
                "Python environment",
                f"{sys.executable} is not seen by the nodes (looked at on {self.node})",
                "install it (`make .venv/run`) on a file system that all nodes share",
            )
        if lacks & (NO_RUNTIME | NO_ENGINE):
            what = "does not answer" if lacks & NO_ENGINE else "is missing"
            yield Problem(
                "container_runtime",
                f"{need.runtime} {what} on the nodes (looked at on {self.node})",
                "name a runtime that the nodes have (container_runtime in the profile, or "
                "--set-resources evaluate:container_runtime=...), a partition whose nodes have "
                "it, or load its module first",
            )


def _look(run: RunPaths, need: Need, meeting: Path | None) -> Looked:
    """Raises Failed, QueryFailed, and TimeoutError when no node is free."""
    job = _submit(run, need, meeting)
    try:
        return _follow(job, meeting)
    except BaseException:  # a Ctrl-C, too
        queue.cancel([job])
        raise


def _follow(job: str, meeting: Path | None) -> Looked:
    """Waits for the small job, and meets it."""
    deadline, interval = time.monotonic() + PATIENCE, 0.1
    locks: dict[str, Any] = {}
    running = False
    while True:
        fields = queue.details(job)
        state, node = fields.get("JobState", ""), fields.get("BatchHost", "")
        if state in queue.ENDED:
            code = int(fields.get("ExitCode", "0:0").partition(":")[0])
            return Looked(node, code, locks)
        if not running and state in ("RUNNING", "COMPLETING"):
            running, deadline = True, time.monotonic() + RUNS_FOR
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"job {job} did not end within {RUNS_FOR:g} s"
                if running
                else f"none was free within {PATIENCE:g} s"
            )
        if meeting and not locks and "here-node" in _listed(meeting):
            locks = _locks(meeting, node)
        time.sleep(interval)
        interval = min(1.0, interval * 1.3)


def _submit(run: RunPaths, need: Need, meeting: Path | None) -> str:
    command = [
        *("sbatch", "--parsable", "--export=ALL", *need.placing),
        *("--job-name", f"look.{run.id}", "--comment", f"snakeval {run.id} look at a node"),
        *("--output=/dev/null", "--chdir=/tmp", "--time=2", "--ntasks=1", "--cpus-per-task=1"),
        *("--mem=200", "--no-requeue"),
    ]
    return sbatch(command, script(run, need, meeting))


def script(run: RunPaths, need: Need, meeting: Path | None) -> str:
    """The small job; it needs nothing but bash to say what is missing."""
    return _SCRIPT.format(
        run=shlex.quote(str(run.dir.absolute())),
        python=shlex.quote(sys.executable),
        runtime=shlex.quote(need.runtime),
        meeting=shlex.quote(str(meeting or "")),
        no_folder=NO_FOLDER,
        no_python=NO_PYTHON,
        no_runtime=NO_RUNTIME,
        no_engine=NO_ENGINE,
        not_met=NOT_MET,
        lacks=LACKS,
    )


def _locks(meeting: Path, node: str) -> dict[str, Any]:
    """Whether locks hold between this machine and a node: `wrong` is a sentence, or empty."""
    here = platform.node()
    wrong, beat = shared_folder.met(meeting, "controller", "node")
    return {
        "tried": now(),
        "between": [here, node],
        "same_machine": here.partition(".")[0] == node.partition(".")[0],
        "wrong": wrong,
        "heartbeat_seconds": beat,
    }


def _tell(looked: Looked, log: Any) -> None:
    locks, node = looked.locks, looked.node
    wrong = locks.get("wrong", "")
    if looked.code == LACKS + NOT_MET:
        wrong = wrong or "what this machine writes was not seen there in time"
    if wrong:
        log.warning(
            f"locks do not work between this machine and {node} ({wrong}): two jobs of one "
            "benchmark would not notice each other. Submit nothing by hand beside the pipeline, "
            "and start again only when no job of the run is left"
        )
    elif not locks:
        log.info(f"{node} has what is needed")
    elif locks["same_machine"]:
        log.info(f"{node} has what is needed; it is this machine, so no locks were tried")
    else:
        log.info(
            f"{node} has what is needed, and locks hold between it and this machine "
            f"({shared_folder.ROUNDS} folders, heartbeat seen in {locks['heartbeat_seconds']:g} s)"
        )


@contextmanager
def _meeting_place(run: RunPaths) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".meeting-", dir=run.dir)).absolute()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listed(folder: Path) -> set[str]:
    shared_folder.refresh(folder, "controller")
    return {entry.name for entry in folder.iterdir()}


def _known(run: RunPaths) -> dict[str, Any]:
    content = read_json(run.nodes)
    return {**content, "seen": mapping_in(content, "seen")}
