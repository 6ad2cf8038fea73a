"""What is looked at before jobs are submitted: flags, and what Slurm itself says to them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from snakeval.config.execution import SlurmExecution
from snakeval.errors import Problem
from snakeval.executors.slurm.resources import owned_flags
from snakeval.plan.run import Run

NO_SBATCH = Problem(
    "sbatch",
    "is not on the PATH: this machine cannot submit Slurm jobs",
    "start on a login node of the cluster (`module load slurm` on some), or use "
    "--profile profiles/local",
)
WAITS = ("not available", "Required node")
"""Words of `sbatch --test-only` about a job that would only have to wait."""


def flags(runs: Sequence[Run]) -> list[Problem]:
    """Extra flags of sbatch that are set by other keys, or by the pipeline itself."""
    found = []
    for run in runs:
        execution = run.config.execution
        if isinstance(execution, SlurmExecution):
            for where, given in (
                ("execution", execution.sbatch_extra_flags),
                ("execution.deployment", execution.deployment.sbatch_extra_flags),
            ):
                for name, key in owned_flags(given).items():
                    found.append(
                        Problem(
                            f"{where}.sbatch_extra_flags.{name}",
                            "is set by snakeval itself",
                            f"write {key}" if key else "leave it out",
                        )
                    )
    return found


def asked_for(command: Sequence[str]) -> list[str]:
    """The part of an sbatch command that Slurm may refuse: without names, logs and comments."""
    words, skip = [], False
    for word in command[1:]:
        if skip:
            skip = False
        elif word in ("--output", "--job-name", "--comment", "-D", "--parsable"):
            skip = word != "--parsable"
        else:
            words.append(word)
    return words


def refusal(words: Sequence[str], what: str) -> Problem | None:
    """What Slurm says to a job that asks for this, without submitting it."""
    answer = subprocess.run(
        ["sbatch", "--test-only", *words, "--wrap", "true"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if answer.returncode == 0:
        return None
    said = "; ".join(
        line.removeprefix("sbatch: error: ").strip()
        for line in answer.stderr.strip().splitlines()
        if line.strip()
    )
    return Problem(
        f"sbatch ({what})",
        f"Slurm refuses the job: {said or f'exit code {answer.returncode}'}",
        f"correct execution (account, partition, walltime, ...) or the profile; asked for: "
        f"{shlex.join(words)}",
        warning=any(word in said for word in WAITS) and "configuration" not in said,
    )
