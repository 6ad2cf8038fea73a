"""What Slurm says about jobs: one query for all of them, however many there are."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snakeval.executors.base import CannotAsk
from snakeval.run_folder.layout import RunPaths

PATIENCE = 60.0
"""Seconds that a query may take; a busy controller answers late."""

ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States from which a job does not come back by itself."""

_FIELDS = "%i|%T|%r|%N|%M|%j|%o"


class QueryFailed(CannotAsk):
    """Slurm could not be asked."""


@dataclass(frozen=True)
class Job:
    """A job as `squeue` shows it.

    elapsed  Slurm's own notation of the time it has run
    script   the batch script it was submitted with
    """

    id: str
    state: str
    reason: str
    nodes: str
    elapsed: str
    name: str
    script: Path

    @property
    def live(self) -> bool:
        return self.state not in ENDED

    @property
    def digest(self) -> str:
        """The spec that the job was submitted for: the jobs' names end in it."""
        return self.name.rpartition(".")[2]


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return str(os.getuid())


def jobs(*, ended: bool = False) -> list[Job]:
    """This user's jobs, with `ended` also those that Slurm has not forgotten yet.

    Raises QueryFailed.
    """
    states = ["--states=all"] if ended else []
    answer = _ask(["squeue", "--noheader", f"--user={user()}", f"--format={_FIELDS}", *states])
    found = []
    for line in answer.splitlines():
        parts = line.split("|", 6)
        if len(parts) == 7:
            number, state, reason, nodes, elapsed, name, script = parts
            found.append(Job(number, state, reason, nodes, elapsed, name, Path(script.strip())))
    return found


def jobs_of(run: RunPaths, known: Iterable[Job]) -> dict[str, list[Job]]:
    """Of some jobs those of a run: task -> its jobs, oldest first. "" stands for the controller.

    A job belongs to a run by the place of its script, whoever submitted it.
    """
    here = run.dir.resolve()
    found: dict[str, list[Job]] = {}
    for job in sorted(known, key=_number):
        name = job.script.name
        if name.startswith("sbatch_") and job.script.parent.resolve() == here:
            task = "" if job.script == run.controller_job else name[len("sbatch_") : -len(".sh")]
            found.setdefault(task, []).append(job)
    return found


def _number(job: Job) -> int:
    """What a job's id begins with: others of this user may be `12_3` (an array) or `12+0`."""
    found = re.match(r"\d+", job.id)
    return int(found.group()) if found else 0


def states(ids: Sequence[str]) -> dict[str, str]:
    """The state of each job that Slurm still knows. Raises QueryFailed.

    squeue is asked first; what it has forgotten (MinJobAge), the accounting may know.
    """
    wanted = set(ids)
    found = {job.id: job.state for job in jobs(ended=True) if job.id in wanted}
    forgotten = sorted(wanted - set(found))
    if forgotten and shutil.which("sacct"):
        try:
            answer = _ask(
                [
                    *("sacct", "-X", "--noheader", "--parsable2", "--format=JobIDRaw,State"),
                    "--jobs=" + ",".join(forgotten),
                ]
            )
        except QueryFailed:  # a cluster without accounting
            return found
        for line in answer.splitlines():
            job, _, state = line.partition("|")
            if state:
                found[job] = state.split()[0].rstrip("+")
    return found


def steps(job: str) -> list[tuple[str, str]]:
    """The live steps of a job: their ids and names. Raises QueryFailed."""
    answer = _ask(["squeue", "--noheader", "--steps", f"--jobs={job}", "--format=%i|%j"])
    found = [line.strip().partition("|") for line in answer.splitlines()]
    return [(step, name) for step, _, name in found]


def details(job: str) -> dict[str, str]:
    """What `scontrol` says about a job, as far as its values have no blanks. Raises QueryFailed."""
    answer = _ask(["scontrol", "--oneliner", "show", "job", job])
    return dict(re.findall(r"(\S+?)=(\S*)", answer))


def cancel(ids: Sequence[str]) -> str | None:
    """Cancels jobs and steps; what Slurm said against it, or None."""
    steps = [each for each in ids if "." in each]
    jobs = [each for each in ids if "." not in each]
    # A step that is cancelled is killed at once, without a TERM before.
    for flags, wanted in (([], jobs), (["--signal=TERM"], steps)):
        for begin in range(0, len(wanted), 500):
            try:
                _ask(["scancel", *flags, *wanted[begin : begin + 500]])
            except QueryFailed as error:
                if "Invalid job id" not in str(error):  # ended meanwhile
                    return str(error)
    return None


def _ask(command: list[str]) -> str:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueryFailed(f"{command[0]}: {error}") from None
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        raise QueryFailed(f"{command[0]}: {said[-1]}")
    return answer.stdout
