"""Submitting a batch script, and the note of it that stays in the run folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from snakeval.job.files import now, write_atomically


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


def note(file: Path, slurm_id: str, digest: str, start: str, cause: str = "") -> None:
    """`job.json`: the job that was submitted last for a task or a server, and why it came to
    nothing."""
    content = {"job": slurm_id, "digest": digest, "start": start, "noted": now()}
    if cause:
        content["cause"] = cause
    write_atomically(file, json.dumps(content, indent=1) + "\n")
