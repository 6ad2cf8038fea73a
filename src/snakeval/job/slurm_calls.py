"""The one way in which Slurm is asked: by the pipeline, by jobs and by servers alike.

Imported by what runs in jobs, from the run folder's `lib/`; standard library only, Python 3.9 or
newer.

What the user's variables say to Slurm's commands (`SBATCH_ACCOUNT`, `SLURM_TIME_FORMAT`,
`SQUEUE_STATES`) changes nothing here: what is asked for stands on the command line. And an answer
is one of four things: words, a refusal, "no room now", or none, after which nobody knows whether
the command was heard.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar

PATIENCE = 60.0
"""Seconds that a command may take; a busy controller answers late."""

PREFIXES = (
    *("SLURM_", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_"),
    *("SCANCEL_", "SPRIO_", "SSTAT_"),
)
"""Beginnings of the variables that are options of Slurm's commands."""
KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
"""Those without which no command finds the cluster, or is let in."""
SUBMITS = ("SBATCH_", "SALLOC_", "SLURM_CLUSTERS")
"""Those with which a person says where and how jobs run, and who is to be told that it is not so
here."""

CLUSTER = "SNAKEVAL_SLURM_CLUSTER"
"""The variable with the name of the cluster that a start's commands are about; jobs are on it, and
are not told."""
_asked: ContextVar[str | None] = ContextVar("_asked", default=None)

_NO_ANSWER = re.compile(
    r"unable to contact slurm|timed out|zero bytes were transmitted|connection (refused|reset)|"
    r"connect(ion)? failure|standby mode|transport endpoint|no route to host|"
    r"network is unreachable|configuration source|open persistent connection|"
    r"protocol authentication error|invalid authentication credential|is munged running|"
    r"broken pipe|unexpected message received|unable to connect",
    re.IGNORECASE,
)
"""Slurm's words where its controller, its database or munge is away or slow."""
_NO_ROOM = re.compile(
    r"SubmitJobs?\w*Limit|(Max|Grp)Jobs?\w*Limit|temporarily un(able|available)|"
    r"not available \(inactive or drain\)",
    re.IGNORECASE,
)
"""Slurm's words where it takes the same job later: AssocMaxSubmitJobLimit,
QOSMaxSubmitJobPerUserLimit, QOSMaxJobsPerUserLimit, MaxJobCount, a partition that is drained."""
_NO_WORDS_OF_A_LIMIT = re.compile(r"job submit limit", re.IGNORECASE)


class Failed(Exception):
    """A command came to nothing; the message is Slurm's own."""


class Refused(Failed):
    """Slurm does not take it, now or later."""


class Full(Failed):
    """Slurm takes no more jobs now; it will when others have ended."""


class NoAnswer(Failed):
    """Nobody knows: it may have been heard or not."""


def clean(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without what they say to Slurm's commands."""
    return {
        name: value
        for name, value in variables.items()
        if name in KEPT or not name.startswith(PREFIXES)
    }


def ignored(variables: Mapping[str, str]) -> list[str]:
    """Variables with which a person means to say how jobs run."""
    return sorted(name for name in variables if name.startswith(SUBMITS))


@contextlib.contextmanager
def about(cluster: str | None) -> Iterator[None]:
    """Commands are about this cluster meanwhile; empty: the one that slurm.conf is of; None: that
    of this start."""
    token = _asked.set(cluster)
    try:
        yield
    finally:
        _asked.reset(token)


def with_cluster(command: Sequence[str]) -> list[str]:
    """A command of Slurm's, about the cluster that is meant."""
    asked = _asked.get()
    cluster = os.environ.get(CLUSTER, "") if asked is None else asked
    return [command[0], *([f"--clusters={cluster}"] if cluster else []), *command[1:]]


def ask(
    command: Sequence[str],
    patience: float = PATIENCE,
    script: str = "",
    variables: Mapping[str, str] | None = None,
) -> str:
    """What a command of Slurm's prints. Raises Refused, Full, NoAnswer.

    patience   seconds
    script     what it reads
    variables  for the job that it submits, on top of this process's own
    """
    try:
        answer = subprocess.run(
            with_cluster(command),
            env={**clean(os.environ), **(variables or {})},
            input=script.encode(),
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]}: no answer within {patience:g} s") from None
    except OSError as error:
        raise Refused(f"{command[0]}: {error.strerror or error}") from None
    if answer.returncode:
        said = words(command[0], answer.stderr.decode(errors="replace"))
        raise kind_of(said)(f"{command[0]}: {said or f'exit code {answer.returncode}'}")
    return answer.stdout.decode(errors="replace")


def words(command: str, said: str) -> str:
    """A command's complaint in one line, without its own name before each part."""
    lines = [line.strip() for line in said.splitlines()]
    prefix = re.compile(rf"^(slurm_\w+ error: |{re.escape(command)}: )?(error: |fatal: )?")
    return "; ".join(prefix.sub("", line) for line in lines if line)


def kind_of(said: str) -> type[Failed]:
    """What a complaint means for the one who asked."""
    if _NO_ROOM.search(said):
        return Full
    if _NO_ANSWER.search(said):
        return NoAnswer
    if _NO_WORDS_OF_A_LIMIT.search(said) and "Limit;" not in said:
        return Full  # an older Slurm, which does not name the limit
    return Refused
