"""Submitting a batch script."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class Refused(Exception):
    """A job is not submitted, and why."""


def sbatch(command: Sequence[str], script: str = "") -> str:
    """Runs sbatch; returns the job's id. Raises Refused with Slurm's own message.

    script  the text of the batch script, where the command names no file
    """
    answer = subprocess.run(command, capture_output=True, text=True, input=script, check=False)
    if answer.returncode:
        raise Refused(f"sbatch: {' '.join(answer.stderr.split())}")
    return answer.stdout.strip().splitlines()[-1].partition(";")[0]
