"""Submits the batch scripts of benchmarks and follows their jobs.

The executor plugin for Slurm does the rest: its settings, its resources, the threads that submit.
Snakemake makes our subclass in its place, because it leaves no room for what is decided here:

- what is submitted is the task's own `sbatch_<task>.sh`, the same file that a person would submit;
- a live job of an earlier start is waited for, not submitted again;
- a time limit, a preemption or a failed node is no failure of the benchmark: it is submitted again
  until `max_walltime` is used up, whatever `retries` says (the plugin would wait for ever for a
  preempted job that does not come back, and for a job that Slurm has forgotten);
- a cancelled task does not come back in this start, whatever `retries` says;
- what Slurm refuses is not tried again; where it has no room, or gives no answer, a task waits here
  (followed under no job's number) and is submitted later. After a submission that nobody has
  answered the queue is looked at first: the job may be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm import Executor as Plugin
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakeval.executors.slurm import command, queue, scripts
from snakeval.executors.slurm import server as servers
from snakeval.executors.slurm.contact import Contact
from snakeval.executors.slurm.placement import hosting
from snakeval.executors.slurm.resources import NAME, max_walltime
from snakeval.executors.slurm.server_job import NAME as SERVER
from snakeval.executors.slurm.server_job import name_of
from snakeval.executors.slurm.steps import Step, log_of
from snakeval.executors.slurm.submit import LOOKS, Full, NoAnswer, Refused, sbatch
from snakeval.job import attempt, cancelled, slurm_calls, slurm_job
from snakeval.job.files import read_json
from snakeval.job.lease import holder_of
from snakeval.plan.run import Run, Task
from snakeval.run_folder.jobs import note
from snakeval.run_folder.layout import ServerPaths
from snakeval.run_folder.servers import supervisor_of

FORGOTTEN = "FORGOTTEN"
"""The state of a job that Slurm does not know any more, whoever has forgotten it."""
FORGOTTEN_AFTER = 120.0
"""Seconds without a word of Slurm about a job after which the run folder decides."""
OVER_AFTER = 300.0
"""Seconds for which a job is at work to Slurm and over to the run folder, after which the latter is
believed: a controller of Slurm's that is killed may forget an end that it has heard of."""
IN_VAIN = 10
"""Jobs in a row that Slurm may end before the benchmark has begun in them."""

BY_SLURM = {
    "BOOT_FAIL": "a node that did not start",
    "NODE_FAIL": "a failed node",
    "PREEMPTED": "a preemption",
    "REVOKED": "Slurm",
    "TIMEOUT": "its time limit",
}
"""Ends that are no fault of the benchmark, and not a person's wish."""


@dataclass
class Followed:
    """A task of this start.

    live     its live job of an earlier start, if there is one
    in_vain  jobs in a row that Slurm has ended before the benchmark began
    seen     when Slurm has said something about its job
    over     since when the run folder says that its job is over, and Slurm that it is at work
    known    the ids of its jobs, as far as this start has heard of them
    unsure   looks at the queue to be made before it is submitted: it may have a job already
    refusal  why Slurm does not take it
    """

    run: Run
    task: Task
    live: queue.Job | None = None
    cancelled: bool = False
    step: Step | None = None
    in_vain: int = 0
    seen: float = field(default_factory=time.monotonic)
    over: float | None = None
    known: set[str] = field(default_factory=set)
    unsure: int = 0
    refusal: str = ""

    @property
    def complete(self) -> bool:
        return self.task.published


class Submission(Plugin):  # type: ignore[misc] # the plugin has no type information
    """The plugin's executor, with benchmarks handled as said above."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # Before the thread that looks at jobs begins.
        self.followed: dict[str, Followed] = {}
        self.start = ""
        self.stopping = False
        self.contact = Contact(logger)
        self.recent = queue.Recent()
        self.servers_seen: dict[Path, float] = {}
        if ignored := slurm_calls.ignored(os.environ):
            logger.warning(
                f"{', '.join(ignored)} of your environment ignored: what jobs ask for is said by "
                "the config (execution) and the profile"
            )
        # The plugin, what it calls, and the jobs, too, see none of the user's options of Slurm's
        # commands; and it finds no job around it, over which it would warn.
        for name in os.environ.keys() - slurm_calls.clean(os.environ).keys():
            del os.environ[name]
        super().__init__(workflow, logger)

    def follow(self, followed: dict[str, Followed], start: str) -> None:
        """Says which benchmarks are planned, by the output of their jobs.

        start  the id of this start
        """
        self.followed, self.start = followed, start

    # --- submitting ------------------------------------------------------------------------------

    def describe(self, job: Any) -> str:
        """The sbatch command of a job, as the plugin makes it from the job's resources."""
        followed = self.followed[str(job.output[0])]
        return command.described(
            job,
            followed.run,
            followed.task,
            self.workflow.workdir_init,
            self.workflow.executor_settings,
            self._failed_nodes,
        )

    def run_job(self, job: Any) -> None:
        """In a thread of the plugin's: adopts a live job, or submits one."""
        followed = self.followed.get(str(job.output[0])) if job.output else None
        if followed is None:
            super().run_job(job)
            return
        try:
            if self.stopping:
                raise Refused("the start was stopped before it was submitted")
            refused = self._refused(followed)
            if refused:
                raise Refused(refused)
            if server := hosting(followed.run, followed.task):
                followed.step = Step(followed.run, followed.task, server, job.attempt)
                self._begin(followed)
                self._follow(job, followed.step.job)
                return
            live, followed.live = followed.live, None
            if live:
                self.logger.info(
                    f"{followed.task.called}: job {live.id} of an earlier start is "
                    f"{live.state.lower()}; waiting for it"
                )
            self._follow(job, live.id if live else self._place(job, followed))
        except Refused as refusal:
            self._not_submitted(job, followed, str(refusal))
        except Exception as error:
            self._not_submitted(job, followed, f"could not be submitted: {error}")

    def _not_submitted(self, job: Any, followed: Followed, why: str) -> None:
        self.logger.error(f"{followed.task.called}: {why}")
        self._report_job_error_threadsafe(SubmittedJobInfo(job), why)

    def _refused(self, followed: Followed) -> str:
        """Why a task is not to be submitted in this start; empty: nothing against it."""
        if followed.refusal or self.contact.given_up:
            return followed.refusal or self.contact.given_up
        if followed.cancelled or cancelled.marked(followed.task.paths.dir, self.start):
            return "was cancelled; the next start continues it"
        if followed.in_vain >= IN_VAIN:
            return f"{IN_VAIN} jobs in a row were ended by Slurm before the benchmark began"
        return slurm_job.used_up(
            attempt.read(followed.task.paths.dir), followed.task.digest, max_walltime(followed.run)
        )

    def _place(self, job: Any, followed: Followed) -> str:
        """Submits a task; its job's id, or nothing where it waits. Raises Refused."""
        if not self.contact.held:
            try:
                slurm_id = self._submit(job, followed)
            except (Full, NoAnswer) as why:
                followed.unsure = LOOKS if isinstance(why, NoAnswer) else 0
                self.contact.hold(why)
            except Refused as refusal:
                followed.refusal = str(refusal)
                self._note(followed, "", cause=followed.refusal)
                raise
            else:
                followed.known.add(slurm_id)
                followed.seen = time.monotonic()
                return slurm_id
        self._note(followed, "", waits=self.contact.held)
        return ""

    def _note(self, followed: Followed, slurm_id: str, cause: str = "", waits: str = "") -> None:
        task = followed.task
        note(task.paths.job, slurm_id, NAME, task.digest, self.start, cause=cause, waits=waits)

    def _submit(self, job: Any, followed: Followed) -> str:
        """Submits the task's script; returns the job's id. Raises Refused, Full, NoAnswer."""
        paths = followed.task.paths
        paths.logs.mkdir(parents=True, exist_ok=True)
        script = followed.run.paths.batch_script(followed.task.name).absolute()
        # Not an argument of the script: Slurm would show it as part of the script's name.
        slurm_id = sbatch(
            [*command.words_of(self.describe(job), job.resources), str(script)],
            folder=script.parent,
            variables={"SNAKEVAL_ATTEMPT": str(job.attempt)},
        )
        self._note(followed, slurm_id)
        self.logger.info(f"{followed.task.called}: submitted as job {slurm_id}")
        return slurm_id

    def _follow(self, job: Any, slurm_id: str) -> None:
        followed = self.followed[str(job.output[0])]
        followed.seen = time.monotonic()
        self._report_job_submission_threadsafe(self._info(job, slurm_id))

    def _info(self, job: Any, slurm_id: str) -> SubmittedJobInfo:
        log = self._log(self.followed[str(job.output[0])], slurm_id)
        return SubmittedJobInfo(job, external_jobid=slurm_id, aux={"slurm_logfile": log})

    @staticmethod
    def _log(followed: Followed, slurm_id: str) -> Path:
        return followed.task.paths.logs / f"slurm-{slurm_id}.log"

    # --- following -------------------------------------------------------------------------------

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One query for all jobs; yields those that go on."""
        ours = []
        for info in active_jobs:
            if _output(info) not in self.followed:
                continue
            if self.followed[_output(info)].step is None:
                ours.append(info)
            elif onward := await asyncio.to_thread(self._onward_step, info):
                yield onward
        await asyncio.to_thread(self._revive_servers)
        others = [info for info in active_jobs if _output(info) not in self.followed]
        if others:
            async for info in super().check_active_jobs(others):
                yield info
        for info in await asyncio.to_thread(self._after_a_look, ours):
            yield info

    def _after_a_look(self, ours: list[SubmittedJobInfo]) -> list[SubmittedJobInfo]:
        """What to follow of benchmarks' jobs after one query for all of them."""
        if not ours:
            return []
        try:
            known = queue.jobs(ended=True)
            names = {
                str(info.external_jobid): scripts.name_of(self.followed[_output(info)].task)
                for info in ours
                if info.external_jobid
            }
            states = queue.states_among(known, list(names), names)
        except queue.QueryFailed as error:
            self.contact.failed(error)
            return self._without_an_answer(ours)
        self.contact.answered()
        onward = [self._onward(info, states) for info in ours if info.external_jobid]
        onward += [self._try_again(info, known) for info in ours if not info.external_jobid]
        going = [info for info in onward if info]
        if self.contact.held and self.contact.full and not any(x.external_jobid for x in going):
            live = [job for job in known if job.live]
            own = {SERVER, *(each.run.paths.controller_job.name for each in self.followed.values())}
            if live and all(job.script.name in own for job in live):
                self.contact.held_by_our_own([job.id for job in live])
        return going

    def _without_an_answer(self, ours: list[SubmittedJobInfo]) -> list[SubmittedJobInfo]:
        for info in ours:
            self.followed[_output(info)].seen = time.monotonic()  # no silence of Slurm's about it
        if not self.contact.given_up:
            return ours
        for info in ours:
            job = f"; job {info.external_jobid} may go on" if info.external_jobid else ""
            name = self.followed[_output(info)].task.called
            self.logger.error(f"{name}: {self.contact.given_up}{job}; the next start continues")
            self.report_job_error(info, msg=self.contact.given_up)
        return []

    def _try_again(self, info: SubmittedJobInfo, known: list[queue.Job]) -> SubmittedJobInfo | None:
        """As `_onward`, of a task that waits: for room, or to know whether it has a job.

        known  what the queue has just shown
        """
        followed = self.followed[_output(info)]
        if found := self._unheard_of(followed, known):
            followed.known.add(found.id)
            self._note(followed, found.id)
            self.logger.info(
                f"{followed.task.called}: job {found.id} was submitted after all, unanswered; "
                f"it is {found.state.lower()}"
            )
            return self._info(info.job, found.id)
        followed.unsure = max(0, followed.unsure - 1)
        refused = "the start is being stopped" if self.stopping else self._refused(followed)
        if refused:
            self._failed(info, refused)
            return None
        if followed.unsure:
            return info
        return self._placed(info)

    def _placed(self, info: SubmittedJobInfo) -> SubmittedJobInfo | None:
        """Follows the task's next job; or the task alone, where it waits."""
        try:
            return self._info(info.job, self._place(info.job, self.followed[_output(info)]))
        except Refused as refusal:
            self._failed(info, str(refusal))
            return None

    @staticmethod
    def _unheard_of(followed: Followed, known: list[queue.Job]) -> queue.Job | None:
        """A job that somebody has submitted for a task, and of which this start does not know."""
        if not followed.unsure:
            return None
        jobs = queue.jobs_of(followed.run.paths, known).get(followed.task.name, [])
        new = [
            job
            for job in jobs
            if job.id not in followed.known and job.digest == followed.task.digest
        ]
        return next((job for job in new if job.live), new[-1] if new else None)

    def _revive_servers(self) -> None:
        """Submits another job for a server whose job Slurm has ended and does not let come back."""
        for paths in self._servers():
            number = str(read_json(paths.job).get("job", ""))
            try:
                ended = self._end_of(paths, number)
                successor = (
                    servers.revive(paths, {number: ended}) if ended and not self.stopping else ""
                )
            except (slurm_calls.Failed, queue.QueryFailed) as error:
                self.logger.error(f"server {paths.dir.name}: {error}")
            else:
                if successor:
                    self.servers_seen.pop(paths.dir, None)
                    self.logger.info(
                        f"server {paths.dir.name}: job {number} {ended}; job {successor} takes "
                        "its place"
                    )

    def _end_of(self, paths: ServerPaths, number: str) -> str:
        """How Slurm has ended a server's job, or that it has lost it; empty: it has not.
        Raises QueryFailed."""
        state = queue.states_among(self.recent.jobs(), [number], {number: name_of(paths)}).get(
            number
        )
        now = time.monotonic()
        if state is not None or supervisor_of(paths):
            self.servers_seen[paths.dir] = now
            return f"was ended by {BY_SLURM[state]}" if state in BY_SLURM else ""
        if now - self.servers_seen.setdefault(paths.dir, now) > FORGOTTEN_AFTER:
            return "is not known to Slurm any more"
        return ""

    def _servers(self) -> list[ServerPaths]:
        """The deployments that benchmarks of this start still need and that were submitted."""
        found = {
            (str(each.run.paths.dir), name): each.run.paths.server(name)
            for each in self.followed.values()
            if each.task.servers and not each.complete
            for name in each.task.servers
        }
        return [paths for paths in found.values() if paths.job.exists()]

    def _onward(self, info: SubmittedJobInfo, states: dict[str, str]) -> SubmittedJobInfo | None:
        """What to follow after a look at a job: the job, a job in its place, or nothing."""
        followed = self.followed[_output(info)]
        state = states.get(str(info.external_jobid))
        if state is not None or holder_of(followed.task.paths.lease):
            followed.seen = time.monotonic()
        elif time.monotonic() - followed.seen > FORGOTTEN_AFTER:
            state = FORGOTTEN  # the run folder decides
        if self._has_ended_unheard(followed, str(info.external_jobid), state):
            state = FORGOTTEN
        if state is None or (state != FORGOTTEN and state not in queue.ENDED):
            return info
        if followed.complete or state == "COMPLETED":
            self._publish(followed)
            self.report_job_success(info)
            self._log(followed, str(info.external_jobid)).unlink(missing_ok=True)
            return None
        return self._after(info, followed, state)

    def _has_ended_unheard(self, followed: Followed, job: str, state: str | None) -> bool:
        """Whether a job that is at work to Slurm is over; then it is cancelled."""
        folder, now = followed.task.paths.dir, time.monotonic()
        said = slurm_job.last_of(attempt.read(folder), job).get("state", "running")
        is_alike = state not in queue.AT_WORK or said == "running"
        if is_alike or holder_of(followed.task.paths.lease):
            followed.over = None
            return False
        followed.over = followed.over or now
        if now - followed.over < OVER_AFTER:
            return False
        self.logger.warning(
            f"{followed.task.called}: job {job} is {str(state).lower()} to Slurm, and has ended "
            f"{OVER_AFTER / 60:g} minutes ago; it is cancelled"
        )
        followed.over = None
        if refused := queue.cancel([job]):
            self.logger.error(f"job {job} could not be cancelled: {refused}")
        return True

    # --- steps inside a server's job -------------------------------------------------------------

    def _begin(self, followed: Followed) -> None:
        """Begins a step whose server's job runs. Raises Refused."""
        step = followed.step
        if step and not step.begun and step.begin(self.recent):
            self.logger.info(f"{followed.task.called}: a step of the server's job {step.job}")

    def _onward_step(self, info: SubmittedJobInfo) -> SubmittedJobInfo | None:
        """As `_onward`."""
        followed = self.followed[_output(info)]
        step = followed.step
        assert step is not None
        if not step.begun:
            try:
                self._begin(followed)
            except Refused as refusal:
                self._failed(info, str(refusal))
                return None
            return self._info(info.job, step.job) if step.begun else info
        if step.ended() is None:
            return info
        if followed.complete:
            self._publish(followed)
            self.report_job_success(info)
            log_of(followed.task, step.job).unlink(missing_ok=True)
            return None
        last = slurm_job.last_of(attempt.read(followed.task.paths.dir), step.job)
        if last.get("state") in ("interrupted", "running") or step.is_displaced():
            # Its allocation was taken away; the server comes back with another one.
            slurm_job.correct(followed.task.paths.dir, step.job, "interrupted")
            refused = "the start is being stopped" if self.stopping else self._refused(followed)
            if not refused:
                followed.step = step.again()
                return info
            self._failed(info, refused)
        elif last.get("state") == "cancelled":
            followed.cancelled = True
            cancelled.mark(followed.task.paths.dir, self.start)
            self._failed(info, "was cancelled; the next start continues it")
        else:
            self._failed(info, self._cause(info, followed, "FAILED", last))
        return None

    def _after(
        self, info: SubmittedJobInfo, followed: Followed, state: str
    ) -> SubmittedJobInfo | None:
        """A job has ended without a result."""
        record = attempt.read(followed.task.paths.dir)
        last = slurm_job.last_of(record, str(info.external_jobid))
        lost = state == FORGOTTEN and last.get("state") in (None, "running")
        if (
            state in BY_SLURM
            or lost
            or (state != "CANCELLED" and last.get("state") == "interrupted")
        ):
            # Slurm knows better than the script, to which every end is a TERM.
            slurm_job.correct(followed.task.paths.dir, str(info.external_jobid), "interrupted")
            followed.in_vain = 0 if last else followed.in_vain + 1
            refused = "the start is being stopped" if self.stopping else self._refused(followed)
            if not refused:
                ended = f"was ended by {BY_SLURM.get(state, 'Slurm')}"
                self.logger.info(
                    f"{followed.task.called}: job {info.external_jobid} "
                    f"{'is not known to Slurm any more' if lost else ended}; another one "
                    "continues it"
                )
                return self._placed(info)
            self._failed(info, refused)
        elif state == "CANCELLED" or last.get("state") == "cancelled":
            followed.cancelled = True
            cancelled.mark(followed.task.paths.dir, self.start)
            self._failed(info, f"job {info.external_jobid} was cancelled; the next start continues")
        else:
            self._failed(info, self._cause(info, followed, state, last))
        return None

    def _cause(
        self, info: SubmittedJobInfo, followed: Followed, state: str, last: dict[str, Any]
    ) -> str:
        """Why a job has failed: what the attempt has recorded, else what its log says."""
        if last.get("state") in ("failed", "cancelled") and last.get("cause"):
            return str(last["cause"])
        log = self._log(followed, str(info.external_jobid))
        what = f"job {info.external_jobid} ended as {state}"
        if last.get("state") == "running":
            return f"{what} (Slurm ended it before it could say why; see {log})"
        with contextlib.suppress(OSError):
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if said:
                return f"{what}: {said[-1]} (see {log})"
        return (
            f"{what} before it could write anything: do the nodes see {followed.run.paths.dir}? "
            "execution.output_dir must be on a file system that all nodes share"
        )

    def _failed(self, info: SubmittedJobInfo, why: str) -> None:
        followed = self.followed[_output(info)]
        record = attempt.read(followed.task.paths.dir)
        job = str(info.external_jobid or "")
        if not job or not slurm_job.last_of(record, job):  # else it has said so itself
            self._note(followed, job, cause=why)
        # Told here: with `quiet: [rules]` Snakemake keeps a job's error to itself.
        self.logger.error(f"{followed.task.called}: {why}")
        self.report_job_error(info, msg=why)

    @staticmethod
    def _publish(followed: Followed) -> None:
        """Links a finished result whose job was ended before it could."""
        if followed.complete and not followed.task.paths.published(followed.task.digest).exists():
            subprocess.run(
                ["bash", str(followed.task.paths.script), followed.task.digest],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )

    # --- stopping --------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ctrl-C: nothing more is submitted, and no job of these runs is left."""
        self.stopping = True
        self._job_submission_executor.shutdown(wait=True)
        try:
            known = queue.jobs()
        except queue.QueryFailed as error:
            self.logger.error(f"the jobs could not be cancelled: {error}; `snakemake kill` does it")
        else:
            ids = [
                job.id
                for run in {id(each.run): each.run for each in self.followed.values()}.values()
                for task, jobs in queue.jobs_of(run.paths, known).items()
                for job in jobs
                if task  # not the one that this very process may be running in
            ]
            working = {each.step.job for each in self.followed.values() if each.step}
            names = {scripts.name_of(each.task) for each in self.followed.values()}
            ids += [
                step for job in working if job for step, name in queue.steps(job) if name in names
            ]
            refused = queue.cancel(ids)
            if refused:
                self.logger.error(f"jobs could not be cancelled: {refused}")
        super().cancel()


def _output(info: SubmittedJobInfo) -> str:
    output = info.job.output
    return str(output[0]) if output else ""
