"""What is looked at before jobs are submitted: flags, and what Slurm itself says to them."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

from snakeval.config.execution.slurm import SlurmExecution
from snakeval.config.model import Config
from snakeval.errors import Problem
from snakeval.executors.login import ON_LOGIN_NODE, Login
from snakeval.executors.slurm import server_job
from snakeval.executors.slurm.placement import hosting
from snakeval.executors.slurm.resources import Resource, owned_flags
from snakeval.job import slurm_calls
from snakeval.plan.run import Run, Task

NO_SBATCH = Problem(
    "sbatch",
    "is not on the PATH: this machine cannot submit Slurm jobs",
    "start on a login node of the cluster (`module load slurm` on some), or use "
    "--profile profiles/local",
)


def login_node(config: Config) -> Login | None:
    """The login node that the config names, where this machine has no Slurm."""
    execution = config.execution
    if not isinstance(execution, SlurmExecution) or not execution.hostname:
        return None
    if os.environ.get(ON_LOGIN_NODE) or shutil.which("sbatch"):
        return None
    user = f"{execution.username}@" if execution.username else ""
    own = execution.login_clone or ""
    return Login(f"{user}{execution.hostname}", execution.login_folder, own)


def no_sbatch(runs: Sequence[Run], files: Sequence[str]) -> Problem:
    """Told where no job can be submitted; with the ssh command, where the config says whereto.

    files  of the config
    """
    login = next((each for run in runs if (each := login_node(run.config))), None)
    if login is None or not files:
        return NO_SBATCH
    words = [word for file in files for word in ("--config", file)]
    return Problem(
        NO_SBATCH.where,
        NO_SBATCH.what,
        f"`{shlex.join(['snakeval', 'run', *words])}` brings it to {login.target} and starts it "
        f"there; once it is there, by hand: {login.by_hand(files)}",
    )


ASKED_FOR = 5.0
"""Seconds that Slurm may take to answer in a dry run."""
WAITS = ("not available", "Required node")
"""Words of `sbatch --test-only` about a job that would only have to wait."""
AWAY = ("blocked", "down", "drain", "fail", "inval", "maint", "reboot", "unk")
"""Beginnings of the states of nodes that take no job now, as sinfo has them."""


def names(runs: Sequence[Run]) -> list[Problem]:
    """A benchmark whose batch script would be that of the run's own job."""
    return [
        Problem(
            f"benchmark '{task.label}'",
            f"on Slurm {run.paths.controller_job.name} is the run's own job",
            "call it otherwise, in `harnesses`",
        )
        for run in runs
        for task in run.tasks
        if run.paths.batch_script(task.name) == run.paths.controller_job
    ]


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


def refusal(
    words: Sequence[str], what: str, patience: float = slurm_calls.PATIENCE
) -> Problem | None:
    """What Slurm says to a job that asks for this, without submitting it. Raises NoAnswer.

    patience  seconds
    """
    try:
        slurm_calls.ask(["sbatch", "--test-only", *words, "--wrap", "true"], patience)
    except slurm_calls.Full as error:
        said = f"Slurm takes no more jobs now: {_words(error)}"
        return Problem(f"sbatch ({what})", said, "jobs are submitted as room comes", warning=True)
    except slurm_calls.Refused as error:
        said = _words(error)
        if why := _only_waits(said, words):
            said = f"the job will wait: {said}"
            return Problem(f"sbatch ({what})", said, why, warning=True)
        return Problem(
            f"sbatch ({what})",
            f"Slurm refuses the job: {said}",
            "correct execution (account, partition, walltime, ...) or the profile; asked for: "
            + shlex.join(words),
        )
    return None


def _words(error: Exception) -> str:
    return str(error).removeprefix("sbatch: ")


def _only_waits(said: str, words: Sequence[str]) -> str:
    """What a job waits for to which `--test-only` says no, and which sbatch takes nevertheless;
    empty: it is refused. Raises NoAnswer.

    Of nodes that are away Slurm says the same as of nodes that do not exist.
    """
    if "configuration is not available" in said:
        away = _nodes_away(words)
        return f"for nodes: {away} are away now (`sinfo -R` says why)" if away else ""
    if "Invalid time" in said and any(word.startswith("--reservation") for word in words):
        return "for its reservation to begin, if that is still to come"
    return "Slurm starts it when it can" if any(word in said for word in WAITS) else ""


def _nodes_away(words: Sequence[str]) -> int:
    """How many nodes of the job's partition take no job now. Raises NoAnswer."""
    command = ["sinfo", "--all", "--noheader", "--Node", "--format=%T"]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("-p", "--partition"):
            command.append(f"--partition={following}")
        elif word.startswith("--partition="):
            command.append(word)
    try:
        states = slurm_calls.ask(command).split()
    except (slurm_calls.Refused, slurm_calls.Full):
        return 0
    return sum(state.startswith(AWAY) for state in states)


def in_a_dry_run(
    planned: Iterable[tuple[Run, Task]], defaults: Mapping[str, Resource]
) -> Iterator[Problem]:
    """What a start would be refused for; Slurm's own words, where it is at hand. Nothing is
    submitted, and a controller that does not answer is asked once.

    defaults  the profile's `default-resources`
    """
    tasks = list(planned)
    runs = list({id(run): run for run, _ in tasks}.values())
    yield from (*names(runs), *flags(runs))
    if shutil.which("sbatch") is None:
        return
    from snakeval.executors.slurm import command  # needs the plugin, which takes time to import

    asked: dict[tuple[str, ...], str] = {}
    for run, task in tasks:
        if hosting(run, task) is None:
            job = command.planned(run, task, defaults)
            described = command.described(job, run, task, workdir="")
            words = command.asked_for(command.words_of(described, job.resources))
            asked.setdefault(tuple(words), task.label)
        for server in (run.servers[name] for name in task.servers):
            if not server.hosted_by:
                groups = server_job.described(run, server, defaults)
                words = command.asked_for(["sbatch", *(word for group in groups for word in group)])
                asked.setdefault(tuple(words), f"server {server.name}")
    try:
        # The cluster that is meant stands in the words.
        yield from filter(None, (refusal(words, what, ASKED_FOR) for words, what in asked.items()))
    except slurm_calls.NoAnswer as error:
        what = f"was asked what it says to the jobs, and does not answer: {error}"
        yield Problem("Slurm", what, "a start waits for it", warning=True)


def silent(error: Exception) -> Problem:
    """Slurm has not answered for as long as `controller_patience` says."""
    return Problem(
        "Slurm",
        f"does not answer: {error}",
        "start again when it does; execution.controller_patience is how long is waited",
    )
