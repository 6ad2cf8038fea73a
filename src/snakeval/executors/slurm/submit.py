"""Submitting a batch script: once, and for as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from snakeval.executors.slurm import queue
from snakeval.job import slurm_calls
from snakeval.job.slurm_calls import Full, NoAnswer, Refused

__all__ = ["FOLDER", "Full", "NoAnswer", "Refused", "looked_for", "sbatch", "until_taken"]

FOLDER = "SNAKEVAL_SCRIPT_DIR"
"""The variable with which a job is told where the folder of its script is."""
LOOK_AGAIN = 5.0
"""Seconds between two looks for a job, and between two tries while there is no room."""
LOOKS = 2
"""Looks at the queue that a submission without an answer takes before the next one: a controller
that was busy may have heard it, and make the job while it answers the first look."""


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


def until_taken(
    submit: Callable[[], str], heard: Callable[[], str], what: str, tell: Callable[[str], None]
) -> str:
    """A job's id, as soon as there is room for it, and an answer.

    submit  tries once
    heard   the job that a try without an answer has left; empty: there is none
    what    of which job is told
    Raises Refused; NoAnswer and QueryFailed when `controller_patience` is over.
    """
    full, unsure = "", False

    def attempt() -> str:
        nonlocal unsure
        if unsure and (found := looked_for(heard)):
            return found
        try:
            return submit()
        except NoAnswer:
            unsure = True
            raise

    while True:
        try:
            return queue.until_answered(attempt, tell)
        except Full as error:
            if str(error) != full:
                full = str(error)
                tell(f"{what}: Slurm takes no more jobs now ({full}); waiting for room")
            time.sleep(LOOK_AGAIN)


def looked_for(heard: Callable[[], str]) -> str:
    """What one of `LOOKS` looks finds. Raises what a look raises."""
    for _ in range(LOOKS):
        if found := heard():
            return found
        time.sleep(LOOK_AGAIN)
    return ""
