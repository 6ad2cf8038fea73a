"""What the job of a benchmark asks for: the launcher's `execution` fields as Snakemake resources.

The names of the resources are those of snakemake-executor-plugin-slurm, so that a profile's
`default-resources` and `--set-resources` mean the same things.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from snakeval.config.execution.slurm import SlurmExecution
from snakeval.config.sections import seconds_of
from snakeval.plan.run import Run, Task

Resource = int | str

NAME = "slurm"
"""Snakemake's name of the executor, and of the plugin that these resources are for."""

OWNED = {
    "account": "execution.account",
    "array": None,
    "chdir": None,
    "cluster": "execution.cluster",
    "clusters": "execution.cluster",
    "comment": "execution.sbatch_comment",
    "error": None,
    "export": None,
    "export-file": None,
    "job-name": None,
    "output": None,
    "parsable": None,
    "partition": "execution.partition or cpu_partition",
    "test-only": None,
    "time": "execution.walltime",
    "wait": None,
    "wrap": None,
}
"""Flags of sbatch that are set here, and the key of the config that sets them (None: nobody's)."""


seconds = seconds_of


def elapsed(shown: str) -> float | None:
    """Seconds of the time that a job has run, as squeue shows it; None: it shows none."""
    try:
        return float(seconds(shown)) if ":" in shown else None
    except ValueError:
        return None


def notation(duration: float) -> str:
    """`1-02:03:04`, `2:03:04`: seconds as Slurm writes them."""
    minutes, rest = divmod(int(duration), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours:02}:{minutes:02}:{rest:02}"
    return f"{days}-{clock}" if days else clock


def resources_of(run: Run, task: Task) -> dict[str, Resource]:
    """The resources that the config asks for; the profile's defaults stand for the others, also
    for those that our model of the config has a default for.

    The model is elsewhere, so no GPU is asked for, whatever `execution.gres` says; what a task
    itself names under `resources` is asked for as it stands.
    """
    execution, own = run.config.execution, task.resources
    found: dict[str, Resource | None] = {}
    if isinstance(execution, SlurmExecution):
        written = "partition" in execution.model_fields_set
        walltime = written_walltime(run)
        found = {
            "clusters": execution.cluster,
            "slurm_account": execution.account,
            "slurm_partition": execution.cpu_partition or (execution.partition if written else ""),
            "runtime": _minutes(walltime) if walltime else None,
            "slurm_extra": extra_flags(execution.sbatch_extra_flags),
        }
    found |= {
        name: value
        for name, value in {
            "slurm_account": own.account,
            "slurm_partition": own.partition,
            "runtime": _minutes(seconds(own.walltime)) if own.walltime else None,
            "mem_mb": own.mem_mb,
            "cpus_per_task": own.cpus,
            "gres": own.gres,
        }.items()
        if value is not None
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def written_walltime(run: Run) -> int | None:
    """Seconds of `execution.walltime`, where the config has it; else the profile's limit holds."""
    execution = run.config.execution
    if isinstance(execution, SlurmExecution) and "walltime" in execution.model_fields_set:
        return seconds(execution.walltime)
    return None


def _minutes(duration: int) -> int:
    return max(1, -(-duration // 60))


def extra_flags(flags: Mapping[str, Any]) -> str:
    """`sbatch_extra_flags` as words of a command line: true is a bare flag, false or null none."""
    words = []
    for name, value in flags.items():
        flag = f"--{str(name).lstrip('-').replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(shlex.quote(f"{flag}={value}"))
    return " ".join(words)


def flag_names(flags: Mapping[str, Any]) -> list[str]:
    """The names of those of the extra flags that are not left out, as sbatch has them."""
    kept = [name for name, value in flags.items() if value is not None and value is not False]
    return [str(name).lstrip("-").replace("_", "-") for name in kept]


def asks_for_whole_nodes(flags: Mapping[str, Any]) -> bool:
    """Whether extra flags of sbatch have `exclusive`."""
    return "exclusive" in flag_names(flags)


def owned_flags(flags: Mapping[str, Any]) -> dict[str, str | None]:
    """Those of the extra flags that are not the user's to set, and the key that sets them."""
    names = {name: str(name).lstrip("-").replace("_", "-") for name in flags}
    return {name: OWNED[flag] for name, flag in names.items() if flag in OWNED}


def max_walltime(run: Run) -> int | None:
    """Seconds that all attempts of a benchmark may take together; None: without an end, which
    only a config can want (`max_walltime: null`)."""
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution):
        execution = SlurmExecution()  # the profile alone says that it is Slurm
    return seconds(execution.max_walltime) if execution.max_walltime else None


def controller_patience(run: Run) -> int:
    """Seconds for which a controller of Slurm's that does not answer is tried again."""
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution):
        execution = SlurmExecution()  # the profile alone says that it is Slurm
    return seconds(execution.controller_patience)


def lead(limit: float | None) -> int:
    """Seconds before a job's time limit at which it is told: 120, less where the limit is short.

    limit  seconds
    """
    return 120 if limit is None else max(10, min(120, int(limit // 10)))


def limit_of(resources: Mapping[str, Any]) -> int | None:
    """The time limit in seconds that a job's resources come to; None: the partition's."""
    value = resources.get("runtime")
    if isinstance(value, int | float) and value > 0:
        return int(value * 60)
    match = re.fullmatch(r"(\d+)([smhd])", str(value or ""))
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return int(match.group(1)) * units[match.group(2)] if match else None
