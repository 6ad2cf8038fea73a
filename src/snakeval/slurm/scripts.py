"""The batch scripts of a run: what the pipeline submits, and what a person submits by hand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from snakeval import __version__
from snakeval.plan import Run, Task
from snakeval.slurm.resources import lead, limit_of, max_walltime

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
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {shlex.join(words)}" for words in described),
        "#",
        f"# run:       {run.paths.id}",
        f"# task:      {task.name} ({task.benchmark.id}), spec {task.digest}",
        f"# model:     {task.endpoint.model_id}",
        f"# image:     {image or 'none: a process of the Python environment'}",
        f"# created:   {_now()} by snakeval {__version__}",
        f"# By hand:   sbatch sbatch_{task.name}.sh",
        "# After a time limit, a preemption or a requeue it continues (see run.sh).",
        "",
        _HERE.format(task=shlex.quote(f"{task.name}/run.sh")),
        f"export SNAKEVAL_LEAD={lead(_limit(described))}   # seconds of notice before the limit",
        f"export SNAKEVAL_MAX_WALLTIME={limit or ''}   # seconds of all attempts together",
        f'exec bash "$run"/{shlex.quote(task.name)}/run.sh {task.digest}',
        "",
    ]
    return "\n".join(lines)


# sbatch copies the script away; Slurm says where it was, also after the run folder has moved.
_HERE = """\
run=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/^ *Command=//p')
run=$(dirname "${{run:-.}}")
[ -e "$run"/{task} ] || run=$SLURM_SUBMIT_DIR
[ -e "$run"/{task} ] || {{
    echo "the run folder is not on this node ($(uname -n)): $run" >&2
    echo "execution.output_dir must be a folder that all nodes see" >&2
    exit 1
}}"""


def _limit(described: Sequence[Sequence[str]]) -> int | None:
    for words in described:
        if words[0] in ("-t", "--time") and len(words) > 1:
            return limit_of({"runtime": int(words[1]) if words[1].isdigit() else words[1]})
    return None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
