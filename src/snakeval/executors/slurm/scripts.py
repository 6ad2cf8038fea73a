"""The batch scripts of a run: what the pipeline submits, and what a person submits by hand."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakeval.config.execution.slurm import ControllerJob, SlurmExecution
from snakeval.executors.slurm.header import header
from snakeval.executors.slurm.resources import (
    NAME,
    lead,
    limit_of,
    max_walltime,
    notation,
    seconds,
)
from snakeval.plan.code import code_digest
from snakeval.plan.make import DRIVES
from snakeval.plan.run import Run, Task

CODE = "SNAKEVAL_CODE"
"""The variable with the digest of the pipeline's code when a run was given to a job."""

PER_SUBMISSION = ("--parsable", "--output", "--export", "-D")
"""Flags that are about one submission; they do not stand in the script."""


def name_of(task: Task) -> str:
    """The name of a task's jobs, which ends in the digest of the spec they are for."""
    return f"{task.name}.{task.digest}"


def comment_of(run: Run, task: Task) -> str:
    """`execution.sbatch_comment`, else what the job is."""
    given = getattr(run.config.execution, "sbatch_comment", None)
    return given or f"snakeval {run.paths.id} {task.name}"


def flags(command: str, resources: Mapping[str, Any]) -> list[list[str]]:
    """The flags of an sbatch command that describe the job, each with its value.

    command  as the executor plugin makes it from the job's resources
    """
    grouped: list[list[str]] = []
    for word in shlex.split(command)[1:]:
        if word.startswith("-") or not grouped:
            grouped.append([word])
        else:
            grouped[-1].append(word)
    kept = [words for words in grouped if words[0].partition("=")[0] not in PER_SUBMISSION]
    names = {words[0].partition("=")[0] for words in kept}
    if "--signal" not in names:
        kept.append([f"--signal=B:TERM@{lead(limit_of(resources))}"])
    return [*kept, ["--open-mode=append"]]  # a requeued job goes on in the same log


def batch_script(run: Run, task: Task, described: Sequence[Sequence[str]], image: str) -> str:
    """`sbatch_<task>.sh`: runs the task's `run.sh` on a node. No path of the run is in it.

    described  see `flags`
    """
    limit = max_walltime(run)
    facts = [
        f"run:       {run.paths.id}",
        f"task:      {task.name} ({task.benchmark.id}), spec {task.digest}",
        f"model:     {task.endpoint.model_id}",
        f"image:     {image or 'none: a process of the Python environment'}",
        f"By hand:   sbatch sbatch_{task.name}.sh",
        "After a time limit, a preemption or a requeue it continues (see run.sh).",
    ]
    lines = [
        *header(described, facts, f"{task.name}/run.sh", "run"),
        f"export SNAKEVAL_EXECUTOR={NAME}",
        f"export SNAKEVAL_LEAD={lead(_limit(described))}   # seconds of notice before the limit",
        f"export SNAKEVAL_MAX_WALLTIME={limit or ''}   # seconds of all attempts together",
        f'exec bash "$run"/{shlex.quote(task.name)}/run.sh {task.digest} "${{SNAKEVAL_ATTEMPT:-}}"',
        "",
    ]
    return "\n".join(lines)


def controller_script(
    runs: Sequence[Run], described: Sequence[Sequence[Sequence[str]]], cwd: Path
) -> str:
    """`sbatch_controller.sh`: the pipeline itself as a job, which hands over before its limit.

    It holds on to what this start was: the runs' own folders with the configs in them, and this
    command line, whatever is edited meanwhile.

    runs       of this start, the script's own first
    described  the flags of their tasks: account and partition are the first one's; the time limit
               is `execution.controller.walltime`, else the longest of a benchmark's
    cwd        where this start was made: paths of the command line are relative to it
    """
    run = runs[0]
    own = _own_resources(run)
    kept = [
        words
        for words in described[0]
        if words[0].partition("=")[0] in ("-A", "-p", "--clusters", "--qos", "--reservation")
    ]
    if own.partition:
        kept = [words for words in kept if words[0] != "-p"] + [["-p", own.partition]]
    limit = seconds(own.walltime) if own.walltime else max(map(_seconds, described))
    flags = [
        ["--job-name", f"controller.{run.paths.id}"],
        *kept,
        *([["-t", notation(limit)]] if limit else []),
        ["--ntasks=1", f"--cpus-per-task={own.cpus}", f"--mem={own.mem_mb}"],
        [f"--signal=B:USR1@{lead(limit or None)}", "--requeue", "--open-mode=append"],
        ["--comment", f"snakeval {run.paths.id} controller"],
    ]
    facts = [
        f"run:       {run.paths.id}",
        "By hand:   sbatch sbatch_controller.sh",
        "Drives the run as `snakemake` on a login node does, with the config that lies here.",
        "Before its time limit it hands over to itself; the benchmarks' jobs go on meanwhile.",
    ]
    others = [f'"$(dirname "$run")"/{shlex.quote(each.paths.id)}' for each in runs[1:]]
    lines = [
        *header(flags, facts, "run.json", "run"),
        f"cd {shlex.quote(str(cwd))} || exit 1",
        f"python={shlex.quote(sys.executable)}",
        f"export {CODE}={os.environ.get(CODE) or code_digest()}   # of the pipeline at its start",
        f'export {DRIVES}="$run"{"".join(f":{each}" for each in others)}',
        f'{shlex.join(command_line(sys.argv))} --configfile "$run/config.yaml" &',
        _CONTROLLER,
    ]
    return "\n".join(lines)


def _own_resources(run: Run) -> ControllerJob:
    execution = run.config.execution
    return execution.controller if isinstance(execution, SlurmExecution) else ControllerJob()


def _seconds(described: Sequence[Sequence[str]]) -> int:
    """A job's time limit; 0: the partition's."""
    return _limit(described) or 0


def command_line(arguments: Sequence[str]) -> list[str]:
    """This start's command without its config, which lies in the run folder; the choice of tasks
    stays."""
    words: list[str] = []
    chosen: list[str] = []
    option = ""
    for word in arguments[1:]:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            option = name if name in _OF_THE_CONFIG else ""
        if not option:
            words.append(word)
        elif (value if word.startswith("-") else word).startswith("tasks="):
            chosen.append(value if word.startswith("-") else word)
        if equals and word.startswith("-"):
            option = ""
    return [
        sys.executable,
        *("-m", "snakemake", *words),
        *(("--config", *chosen) if chosen else ()),
    ]


_OF_THE_CONFIG = ("--config", "-C", "--configfile", "--configfiles")

_CONTROLLER = """\
snakemake=$!

# Killed, so that it cancels no job: the next start finds them, and waits for them.
let_go() {
    trap '' TERM USR1
    kill -KILL "$snakemake" 2>/dev/null
    wait "$snakemake" 2>/dev/null
    rm -f "$run/controller.json"
}
hand_over() {
    let_go
    echo "the time limit is near: handing over"
    "$python" -B "$run/lib/slurm_job.py" hand_over "$run/sbatch_controller.sh"
    exit 0
}
end() {
    let_go
    echo "ended; the benchmarks' jobs go on: start again, or snakemake kill"
    exit 143
}
trap hand_over USR1
trap end TERM
while kill -0 "$snakemake" 2>/dev/null; do wait "$snakemake"; code=$?; done
exit "${code:-0}"
"""


def _limit(described: Sequence[Sequence[str]]) -> int | None:
    for words in described:
        if words[0] in ("-t", "--time") and len(words) > 1:
            return limit_of({"runtime": int(words[1]) if words[1].isdigit() else words[1]})
    return None
