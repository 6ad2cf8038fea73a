"""A real start on Slurm: what is looked at before it, and the taking over of the executor."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakeval.config.execution import SlurmExecution
from snakeval.errors import InputError, Problem
from snakeval.executors.profile import DEFAULT_RUNTIME
from snakeval.executors.slurm import nodes, queue, scripts
from snakeval.executors.slurm.executor import Executor, Followed, command_words
from snakeval.executors.slurm.resources import owned_flags
from snakeval.executors.slurm.server_job import described
from snakeval.executors.slurm.steps import hosting
from snakeval.executors.slurm.submit import Refused, sbatch
from snakeval.plan.run import Run, Task
from snakeval.render.task import runtime_of

NO_SBATCH = Problem(
    "sbatch",
    "is not on the PATH: this machine cannot submit Slurm jobs",
    "start on a login node of the cluster (`module load slurm` on some), or use "
    "--profile profiles/local",
)
WAITS = ("not available", "Required node")
"""Words of `sbatch --test-only` about a job that would only have to wait."""


class SlurmStart:
    """One real start with `executor: slurm`.

    executor  the plugin's executor, which Snakemake has made
    jobs      the planned jobs of benchmarks, by their output
    defaults  the profile's `default-resources`
    """

    def __init__(
        self,
        executor: Any,
        runs: Sequence[Run],
        jobs: Mapping[str, Any],
        defaults: Mapping[str, int | str],
    ) -> None:
        self._defaults = defaults
        self._jobs = jobs
        self._runs = runs
        self._followed = {
            output: Followed(run, task)
            for run in runs
            for task in run.tasks
            if (output := str(task.paths.published(task.digest))) in jobs
        }
        start = os.environ.get("SNAKEVAL_START", "")
        self._executor = Executor.take_over(executor, self._followed, start)

    def problems(self) -> list[Problem]:
        """What keeps these jobs from being submitted, in Slurm's own words."""
        if shutil.which("sbatch") is None:
            return [NO_SBATCH]
        found = list(flags(self._runs))
        tried: dict[tuple[str, ...], Problem | None] = {}
        for output, followed in self._followed.items():
            words = _asked_for(self._command(output))
            if tuple(words) not in tried:
                tried[tuple(words)] = _refusal(words, followed.task.name)
        for run, name in {
            (id(each.run), name): (each.run, name)
            for each in self._followed.values()
            for name in each.task.servers
            if not each.run.servers[name].on_lepton
        }.values():
            groups = described(run, run.servers[name], self._defaults)
            words = _asked_for(["sbatch", *(word for group in groups for word in group)])
            tried[tuple(words)] = _refusal(words, f"server {name}")
        return found + [problem for problem in tried.values() if problem]

    def look_at_nodes(self) -> None:
        """Looks for what the jobs need on a node. Raises InputError; nothing is submitted then."""
        for run in self._runs:
            needs = []
            for output, followed in self._followed.items():
                if followed.run is run and not hosting(run, followed.task):
                    job = self._jobs[output]
                    asked = scripts.flags(self._executor.describe(job), job.resources)
                    runtime = str(job.resources.get("container_runtime", DEFAULT_RUNTIME))
                    runtime = runtime_of(followed.task, runtime)
                    needs.append(nodes.Need(nodes.placing(asked), runtime))
            nodes.look(run.paths, needs, self._executor.logger)

    def begin(self) -> None:
        """Writes the batch scripts, and finds the live jobs of earlier starts."""
        of_runs: dict[Path, tuple[Run, list[list[str]]]] = {}
        for output, followed in self._followed.items():
            run, task = followed.run, followed.task
            task.paths.cancelled.unlink(missing_ok=True)  # in an earlier start
            described = scripts.flags(
                self._executor.describe(self._jobs[output]), self._jobs[output].resources
            )
            _write(
                run.paths.batch_script(task.name),
                scripts.batch_script(run, task, described, _image(run, task)),
            )
            of_runs.setdefault(run.paths.controller_job, (run, described))
        cwd = Path(self._executor.workflow.workdir_init)
        for path, (run, described) in of_runs.items():
            _write(path, scripts.controller_script(run, described, cwd))
        for run in self._runs:
            self._find_live(run)

    def submit_controller(self) -> str:
        """Gives the run to a job of its own; returns the job's id. Raises InputError."""
        run = self._runs[0]
        try:
            return sbatch(
                [
                    *("sbatch", "--parsable", "--export=ALL"),
                    f"--output={run.paths.dir.absolute()}/controller-%j.log",
                    str(run.paths.controller_job.absolute()),
                ]
            )
        except Refused as refusal:
            raise InputError([Problem(str(run.paths.controller_job), str(refusal))]) from None

    def _find_live(self, run: Run) -> None:
        """One query; a job of another spec of the same task is not this task's."""
        try:
            live = queue.jobs_of(run.paths, queue.jobs())
        except queue.QueryFailed as error:
            self._executor.logger.warning(
                f"Slurm does not say which jobs are live ({error}): a job of an earlier start may "
                "be submitted a second time; the second one waits, and adopts its result"
            )
            return
        for followed in self._followed.values():
            if followed.run is run:
                jobs = live.get(followed.task.name, [])
                followed.live = next(
                    (job for job in jobs if job.live and job.digest == followed.task.digest), None
                )

    def _command(self, output: str) -> list[str]:
        return command_words(
            self._executor.describe(self._jobs[output]), self._jobs[output].resources
        )


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


def _asked_for(command: Sequence[str]) -> list[str]:
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


def _refusal(words: Sequence[str], what: str) -> Problem | None:
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


def _image(run: Run, task: Task) -> str:
    """The image as the run has pinned it."""
    if not task.image:
        return ""
    try:
        record = json.loads(run.paths.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return task.image
    return str(record.get("images", {}).get(task.image, task.image))


def _write(path: Path, text: str) -> None:
    from snakeval.job.files import write_atomically

    write_atomically(path, text)
    path.chmod(0o755)
