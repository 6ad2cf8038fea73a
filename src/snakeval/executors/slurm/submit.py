"""Submitting a batch script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snakeval.job import slurm_calls
from snakeval.job.slurm_calls import Full, NoAnswer, Refused

__all__ = ["FOLDER", "Full", "NoAnswer", "Refused", "sbatch"]

FOLDER = "SNAKEVAL_SCRIPT_DIR"
"""The variable with which a job is told where the folder of its script is."""


def sbatch(
    command: Sequence[str],
    script: str = "",
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Runs sbatch; returns the job's id. Raises Refused, Full, NoAnswer with Slurm's own words.

    script     the text of the batch script, where the command names no file
    folder     where the script lies, for the job
    variables  for the job
    """
    told = {FOLDER: str(folder.absolute())} if folder else {}
    told[slurm_calls.CLUSTER] = ""  # a job is where it is
    said = slurm_calls.ask(command, script=script, variables={**told, **(variables or {})})
    return said.strip().splitlines()[-1].partition(";")[0]
