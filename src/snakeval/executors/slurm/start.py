"""A real start on Slurm: the batch scripts are written, live jobs of earlier starts are found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from snakeval.errors import InputError, Problem
from snakeval.executors import base
from snakeval.executors.profile import DEFAULT_RUNTIME
from snakeval.executors.slurm import checks, command, nodes, queue, scripts
from snakeval.executors.slurm.placement import hosting, remarks
from snakeval.executors.slurm.resources import controller_patience
from snakeval.executors.slurm.server_job import described
from snakeval.executors.slurm.submission import Followed, Submission
from snakeval.executors.slurm.submit import NoAnswer, Refused, sbatch, until_taken
from snakeval.job import slurm_calls
from snakeval.job.files import mapping_in, read_json
from snakeval.plan.code import ROOT, code_digest
from snakeval.plan.pending import runtime_of
from snakeval.plan.run import Run, Task
from snakeval.run_folder.layout import RunPaths


class Start(base.Start):
    """One real start with `executor: slurm`."""

    def __init__(self, planned: base.Planned) -> None:
        self._defaults = planned.defaults
        self._jobs = planned.jobs
        self._runs = planned.runs
        self._followed = {
            output: Followed(run, task) for output, (run, task) in planned.tasks.items()
        }
        self._executor: Submission = planned.plugin
        self._executor.follow(self._followed, planned.start)
        os.environ[queue.CONTROLLER_PATIENCE] = str(max(map(controller_patience, self._runs)))
        self._controllers: set[str] = set()
        self._clusters = {str(job.resources.get("clusters") or "") for job in self._jobs.values()}
        os.environ[slurm_calls.CLUSTER] = min(self._clusters, default="")

    def check(self) -> list[Problem]:
        """What keeps these jobs from being submitted, in Slurm's own words."""
        if shutil.which("sbatch") is None:
            files = self._executor.workflow.config_settings.configfiles
            return [checks.no_sbatch(self._runs, [str(file) for file in files])]
        if len(self._clusters) > 1:
            what = f"one start is about one cluster, and several are named: {self._named_clusters}"
            return [Problem("execution.cluster", what, "a start, and a config, for each")]
        try:
            refused = queue.until_answered(self._refusals, self._executor.logger.warning)
        except NoAnswer as error:
            return [checks.silent(error)]
        planned = [(each.run, each.task) for each in self._followed.values()]
        told = remarks(planned, self._defaults.get("runtime"))
        return [
            *checks.names(self._runs),
            *checks.flags(self._runs),
            *refused,
            *told,
            *_other_code(),
        ]

    @property
    def _named_clusters(self) -> str:
        return ", ".join(sorted(name or "this machine's own" for name in self._clusters))

    def _refusals(self) -> list[Problem]:
        """What Slurm says to the jobs. Raises NoAnswer."""
        tried: dict[tuple[str, ...], Problem | None] = {}
        for output, followed in self._followed.items():
            words = command.asked_for(self._command(output))
            if tuple(words) not in tried:
                tried[tuple(words)] = checks.refusal(words, followed.task.name)
        for run, name in {
            (id(each.run), name): (each.run, name)
            for each in self._followed.values()
            for name in each.task.servers
            if not each.run.servers[name].hosted_by
        }.values():
            groups = described(run, run.servers[name], self._defaults)
            words = command.asked_for(["sbatch", *(word for group in groups for word in group)])
            tried[tuple(words)] = checks.refusal(words, f"server {name}")
        return [problem for problem in tried.values() if problem]

    def look(self) -> None:
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
        of_runs: dict[Path, tuple[Run, list[list[list[str]]]]] = {}
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
            of_runs.setdefault(run.paths.controller_job, (run, []))[1].append(described)
        cwd = Path(self._executor.workflow.workdir_init)
        for path, (run, asked) in of_runs.items():
            runs = [run, *(each for each in self._runs if each is not run)]
            _write(path, scripts.controller_script(runs, asked, cwd))
        self._find_live()

    can_hand_over = True

    def hand_over(self) -> str:
        """Gives the runs to a batch job of its own: that of the first one that has work to do."""
        paths = next(iter(self._followed.values())).run.paths
        log = f"--output={paths.dir.absolute()}/controller-%j.log"
        script = str(paths.controller_job.absolute())
        command = ["sbatch", "--parsable", "--export=ALL", log, script]
        try:
            return until_taken(
                lambda: sbatch(command, folder=paths.dir),
                lambda: self._unheard_of(paths),
                "the controller's job",
                self._executor.logger.warning,
            )
        except (Refused, NoAnswer, queue.QueryFailed) as refusal:
            raise InputError([Problem(str(paths.controller_job), str(refusal))]) from None

    def _unheard_of(self, paths: RunPaths) -> str:
        """The controller's job that a submission without an answer has made. Raises QueryFailed."""
        jobs = queue.jobs_of(paths, queue.jobs(ended=True)).get("", ())
        return next((job.id for job in jobs if job.id not in self._controllers), "")

    def _find_live(self) -> None:
        """One query; a job of another spec of the same task is not this task's.

        Raises InputError where Slurm does not say which jobs are live: nothing is submitted then.
        """
        try:
            known = queue.until_answered(
                lambda: queue.jobs(ended=True), self._executor.logger.warning
            )
        except queue.QueryFailed as error:
            raise InputError([checks.silent(error)]) from None
        for run in self._runs:
            of_tasks = queue.jobs_of(run.paths, known)
            self._controllers |= {job.id for job in of_tasks.get("", ())}
            self._withdraw(run, of_tasks)
            for followed in self._followed.values():
                if followed.run is run:
                    jobs = of_tasks.get(followed.task.name, [])
                    followed.known = {job.id for job in jobs}
                    followed.live = next(
                        (job for job in jobs if job.live and job.digest == followed.task.digest),
                        None,
                    )

    def _withdraw(self, run: Run, of_tasks: Mapping[str, Sequence[queue.Job]]) -> None:
        """Cancels jobs that wait in the queue for a spec that a task no longer has."""
        old = {
            job.id: f"{task.label}: job {job.id} waited for an earlier spec; it is withdrawn"
            for task in run.tasks
            for job in of_tasks.get(task.name, ())
            if job.waiting and job.digest != task.digest
        }
        if not old:
            return
        refused = queue.cancel(list(old))
        for said in old.values():
            self._executor.logger.info(said)
        if refused:
            self._executor.logger.warning(f"they could not be cancelled: {refused}")

    def _command(self, output: str) -> list[str]:
        return command.words_of(
            self._executor.describe(self._jobs[output]), self._jobs[output].resources
        )


def _other_code() -> list[Problem]:
    """In a job that drives a run: whether the clone is no longer what the run was given with."""
    given = os.environ.get(scripts.CODE)
    if given in (None, code_digest()):
        return []
    what = f"has changed since this run was given to a job (code {given} then, {code_digest()} now)"
    fix = "the run goes on with the code as it is now; a clone of its own for each keeps them apart"
    return [Problem(str(ROOT), what, fix, warning=True)]


def _image(run: Run, task: Task) -> str:
    """The image as the run has pinned it."""
    if not task.image:
        return ""
    return str(mapping_in(read_json(run.paths.record), "images").get(task.image, task.image))


def _write(path: Path, text: str) -> None:
    from snakeval.job.files import make_executable, write_atomically

    write_atomically(path, text)
    make_executable(path)
