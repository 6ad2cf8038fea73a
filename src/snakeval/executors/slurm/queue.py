"""What Slurm says about jobs: one query for all of them, however many there are."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from snakeval.executors.base import CannotAsk
from snakeval.job import slurm_calls
from snakeval.run_folder.layout import RunPaths

Found = TypeVar("Found")

PATIENCE = slurm_calls.PATIENCE
"""Seconds that a query may take."""
CONTROLLER_PATIENCE = "SNAKEVAL_CONTROLLER_PATIENCE"
"""The variable with `execution.controller_patience` in seconds, for what a start starts."""
FRESH = 2.0
"""Seconds for which an answer of squeue serves all who ask."""
LOOKS_AGAIN = 10.0
"""Seconds between two tries to reach a controller that does not answer."""

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

AT_WORK = {"COMPLETING", "RESIZING", "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
"""States of a live job that has nodes; in others it waits (PENDING, CONFIGURING, REQUEUE_HOLD,
SPECIAL_EXIT, RESV_DEL_HOLD, ...)."""

_FIELDS = "%i|%T|%r|%N|%M|%j|%o"


class QueryFailed(CannotAsk):
    """Slurm could not be asked."""


def patience() -> float:
    """Seconds for which a controller that does not answer is asked again."""
    return float(os.environ.get(CONTROLLER_PATIENCE) or 0)


def until_answered(ask: Callable[[], Found], tell: Callable[[str], None]) -> Found:
    """Asks again, for as long as `controller_patience` says, where nobody answers.

    tell  is told once why it is waited, and once when it is over
    Raises what `ask` raises: QueryFailed or NoAnswer only when the patience has an end.
    """
    deadline, told = time.monotonic() + patience(), False
    while True:
        try:
            found = ask()
        except (QueryFailed, slurm_calls.NoAnswer) as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                tell(f"Slurm does not answer ({error}); asked again for up to {patience():g} s")
            told = True
            time.sleep(min(LOOKS_AGAIN, max(0.0, deadline - time.monotonic())))
        else:
            if told:
                tell("Slurm answers again")
            return found


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
    def waiting(self) -> bool:
        return self.live and self.state not in AT_WORK

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
    answer = _ask(
        ["squeue", "--all", "--noheader", f"--user={user()}", f"--format={_FIELDS}", *states]
    )
    found = []
    for line in answer.splitlines():
        parts = line.split("|", 6)
        if len(parts) == 7:
            number, state, reason, nodes, elapsed, name, script = parts
            found.append(Job(number, state, reason, nodes, elapsed, name, Path(script.strip())))
    return found


class Recent:
    """This user's jobs, ended ones too, for many who ask at once: one query."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked, self._jobs = float("-inf"), list[Job]()

    def jobs(self) -> list[Job]:
        """At most `FRESH` seconds old. Raises QueryFailed."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                self._jobs = jobs(ended=True)
                self._asked = time.monotonic()
            return self._jobs


def about(script: Path | None) -> AbstractContextManager[None]:
    """Slurm is asked meanwhile about the cluster that a batch script is for; None, or one that is
    not there: about that of this start."""
    try:
        text = script.read_text(encoding="utf-8", errors="replace") if script else None
    except OSError:
        text = None
    if text is None:
        return slurm_calls.about(None)
    found = re.search(r"^#SBATCH --clusters[= ](\S+)", text, re.MULTILINE)
    return slurm_calls.about(found.group(1) if found else "")


def about_run(run: RunPaths) -> AbstractContextManager[None]:
    """As `about`, by any of a run's scripts."""
    return about(next(run.dir.glob("sbatch_*.sh"), None))


def jobs_of(run: RunPaths, known: Iterable[Job]) -> dict[str, list[Job]]:
    """Of some jobs those of a run: task -> its jobs, oldest first. "" stands for the controller.

    A job belongs to a run by the place of its script, whoever submitted it.
    """
    here = run.dir.resolve()
    found: dict[str, list[Job]] = {}
    for job in sorted(known, key=_number):
        name = job.script.name
        if name.startswith("sbatch_") and job.script.parent.resolve() == here:
            is_controller = name == run.controller_job.name  # a run's folder may be a relative path
            task = "" if is_controller else name[len("sbatch_") : -len(".sh")]
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
    return states_among(jobs(ended=True), ids)


def states_among(
    known: Iterable[Job], ids: Sequence[str], names: Mapping[str, str] | None = None
) -> dict[str, str]:
    """As `states`, of jobs that squeue has shown already.

    names  of jobs, by id: where Slurm has lost its state it counts from one again, and another job
           may have such an id now
    A job that neither knows is left out; one that only an accounting that does not answer may know
    is UNKNOWN.
    """
    wanted, names = set(ids), names or {}
    shown = {job.id: job for job in known if job.id in wanted}
    found = {
        number: job.state
        for number, job in shown.items()
        if names.get(number, job.name) == job.name
    }
    forgotten = sorted(wanted - set(shown))
    if forgotten and shutil.which("sacct"):
        return found | _accounted(forgotten, names)
    return found


UNKNOWN = "UNKNOWN"
"""The state of a job about which nobody can be asked now."""


def _accounted(ids: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """States of ended jobs as the accounting has them.

    Left out is what Slurm has lost with its own state: what the accounting has as live and the
    queue does not have, and what it calls cancelled by nobody (seen with 22.05; a person's scancel
    is `CANCELLED by 1000`).
    """
    columns = "--format=JobIDRaw,State,JobName"
    command = ["sacct", "-X", "--noheader", "--parsable2", columns, "--jobs=" + ",".join(ids)]
    try:
        answer = slurm_calls.ask(command, PATIENCE)
    except slurm_calls.NoAnswer:
        return dict.fromkeys(ids, UNKNOWN)
    except slurm_calls.Failed:  # a cluster without accounting
        return {}
    found = {}
    for line in answer.splitlines():
        job, _, rest = line.partition("|")
        said, _, name = rest.partition("|")
        state = (said.split() or [""])[0].rstrip("+")
        if state in ENDED and said != "CANCELLED" and names.get(job, name) == name:
            found[job] = state
    return found


def steps(job: str) -> list[tuple[str, str]]:
    """The live steps of a job: their ids and names. Raises QueryFailed."""
    answer = _ask(["squeue", "--all", "--noheader", "--steps", f"--jobs={job}", "--format=%i|%j"])
    found = [line.strip().partition("|") for line in answer.splitlines()]
    return [(step, name) for step, _, name in found]


def details(job: str) -> dict[str, str]:
    """What `scontrol` says about a job, as far as its values have no blanks. Raises QueryFailed."""
    answer = _ask(["scontrol", "--all", "--oneliner", "show", "job", job])
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
        return slurm_calls.ask(command, PATIENCE)
    except slurm_calls.Failed as error:
        raise QueryFailed(str(error)) from None
