"""Snakemake's view: jobs are submitted, looked at and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_lepton import refusals, spec
from snakemake_executor_plugin_lepton.client import (
    Denied,
    Found,
    Lepton,
    Missing,
    Service,
    ServiceError,
    Unauthorized,
    Unreachable,
    create_once,
    in_words,
    patiently,
)
from snakemake_executor_plugin_lepton.hooks import Hooks
from snakemake_executor_plugin_lepton.registry import Registry, Tracked, tried
from snakemake_executor_plugin_lepton.states import Phase
from snakemake_executor_plugin_lepton.storage import (
    Staging,
    mount_for,
    seen_in_job,
    translated,
)
from snakemake_executor_plugin_lepton.watch import Exit, Verdict, Watch

AT_ONCE = 8
"""Calls to the service at once."""
TOLD_AFTER = 3
"""Looks in a row without an answer after which the person who waits is told."""
STOP_PATIENCE = 45.0
"""Seconds that jobs have to end after a Ctrl-C; run.sh needs 20."""
LOG_LINES = 30
FOLDER = ".snakemake-lepton"
"""The folder on the storage with what jobs read and write about themselves."""
LATER = "SNAKEMAKE_LEPTON_CHECKS"
"""`later`: the workflow asks for `problems` itself, and tells them with its own."""


class Executor(RemoteExecutor):  # type: ignore[misc] # has no type information
    """One Lepton job per Snakemake job, and none that nobody waits for.

    title          of the service, in messages
    flag           what this plugin's settings begin with
    later          the variable of `LATER`
    not_installed  told where the service's SDK is missing
    storage_folder the folder on the storage with what jobs read and write about themselves
    script         the name of `job.sh` there: whose job it was
    """

    title = "Lepton"
    flag = "lepton"
    later = LATER
    not_installed = "the SDK of Lepton is not installed: pip install -e '.[lepton]'"
    storage_folder = FOLDER
    script = "job.sh"

    def __post_init__(self) -> None:
        self.hooks = Hooks()
        self.start = uuid.uuid4().hex[:12]
        self.registry = Registry()
        self.stopping = threading.Event()
        self._submitting = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lepton")
        self._service: Service | None = None
        self._service_lock = threading.Lock()
        self._group_ids: dict[str, str] = {}
        self._earlier: dict[str, list[Found]] = {}
        if os.environ.get(self.later) != "later":
            found = self.problems()
            if found:
                self.wait = False  # the thread that looks at jobs has begun
                raise WorkflowError("\n".join(found))

    # --- a job, as its rule, the settings and the hooks describe it ------------------------------

    def wanted(self, job: Any) -> spec.Wanted:
        """What a job asks for. Raises Unusable."""
        container = getattr(job, "container_img_url", None)
        return self.hooks.wanted(job, self._described(job.resources, container))

    def _described(self, resources: Any, container: str | None) -> spec.Wanted:
        """What resources and settings ask for. Raises Unusable."""
        return spec.wanted(resources, self.executor_settings, container)

    def _spec_of(self, job: Any, wanted: spec.Wanted) -> str:
        return self.hooks.spec_of(job) or spec.digest(job.shellcmd, wanted)

    def _folder_for(self, job: Any, name: str, wanted: spec.Wanted) -> Path:
        """The folder on the storage with what a job reads and writes about itself."""
        if chosen := self.hooks.folder_for(job, name):
            return chosen
        if seen_in_job(Path.cwd(), wanted.mounts) is not None:
            return Path.cwd() / ".snakemake" / self.flag / name
        return wanted.mounts[0].here / self.storage_folder / name

    # --- before the first job --------------------------------------------------------------------

    @property
    def service(self) -> Service:
        """Connected to at first use: the SDK takes more than a second to import."""
        with self._service_lock:
            if self._service is None:
                self._service = self._connected()
            return self._service

    def _connected(self) -> Service:
        """Raises ServiceError, and ImportError where the SDK is missing."""
        return Lepton()

    def problems(self) -> list[str]:
        """Everything that keeps the planned jobs from being run, in sentences."""
        jobs = [job for job in self.dag.needrun_jobs() if not job.is_local]
        found = [line for job in jobs for line in self._refusals(job)]
        found = list(dict.fromkeys(found))
        if not jobs or found:
            return found
        try:
            self.service  # noqa: B018 # it says what is missing
        except ServiceError as error:
            return [str(error)]
        except ImportError:
            return [self.not_installed]
        try:
            return self._missing(jobs) or self._look_for_earlier(jobs)
        except ServiceError as error:
            return [self._in_words(error)]

    def _refusals(self, job: Any) -> list[str]:
        return list(refusals.of(job, self.wanted, self.title, self.flag))

    def _in_words(self, error: ServiceError) -> str:
        """What a refusal means for who waits."""
        return in_words(error)

    def _missing(self, jobs: list[Any]) -> list[str]:
        """What jobs refer to and the service does not have. Raises ServiceError."""
        wanted = [self.wanted(job) for job in jobs]
        found = refusals.secrets(wanted, self.service, self.hooks.secrets_to_come())
        return [*found, *self._node_groups(wanted)]

    def _node_groups(self, wanted: list[spec.Wanted]) -> list[str]:
        names = {each.node_group for each in wanted if each.node_group}
        if not names:
            return []
        try:
            known = patiently(self.service.node_groups)
        except Denied:  # may create jobs, and not list this: the name is taken for an id
            return []
        self._group_ids = known
        return [
            f"there is no node group '{name}' in this workspace; it has: "
            f"{', '.join(sorted(known)) or 'none'}"
            for name in sorted(names - known.keys())
        ]

    def _look_for_earlier(self, jobs: list[Any]) -> list[str]:
        """Finds what earlier starts have left for these jobs."""
        for label in {self._workdir_label(self.wanted(job)) for job in jobs}:
            labels = {"snakemake-workdir": label}
            for each in patiently(lambda labels=labels: self.service.find(labels)):  # type: ignore[misc]
                self._earlier.setdefault(each.labels.get("snakemake-job", ""), []).append(each)
        return []

    # --- submitting ------------------------------------------------------------------------------

    def run_job(self, job: Any) -> None:
        """Hands a job to a thread, which creates it; from here on it is in the registry."""
        refused = self._refusals(job)
        if refused:  # one that a checkpoint has made, or resources of a further attempt
            self.logger.error("\n".join(refused))
            self.report_job_error(SubmittedJobInfo(job), msg=f"{'; '.join(refused)}. ")
            return
        wanted = self.wanted(job)
        tracked = self._adopted(job, wanted)
        if tracked is None:
            self.workflow.async_run(job.prepare())
            tracked = self._tracked(job, wanted, spec.name_of(job.name, uuid.uuid4().hex[:8]))
        self.registry.add(tracked)
        self.report_job_submission(
            SubmittedJobInfo(job, external_jobid=tracked.name, aux={"tracked": tracked})
        )
        if tracked.adopted:
            tracked.made.set()
            self.logger.info(f"{job.name}: waiting for {tracked.id}, a job of an earlier start")
            self._submitting.submit(self.hooks.submitted, tracked)
        else:
            self._submitting.submit(self._create, tracked)

    def _tracked(self, job: Any, wanted: spec.Wanted, name: str) -> Tracked:
        workdir = Path.cwd()
        folder = self._folder_for(job, name, wanted)
        staging = None
        on_storage = seen_in_job(workdir, wanted.mounts) is not None
        if not on_storage and any(not Path(file).is_absolute() for file in _files(job)):
            place = spec.digest(self._workdir_label(wanted), self._job_label(job))
            staging = Staging(workdir, folder.with_name(f"staged-{place}"))
        return Tracked(
            job=job,
            name=name,
            folder=folder,
            wanted=wanted,
            labels={
                "snakemake-workdir": self._workdir_label(wanted),
                "snakemake-job": self._job_label(job),
                "snakemake-spec": self._spec_of(job, wanted),
                "snakemake-start": self.start,
                "snakemake-attempt": name,
                **{key: spec.label_value(text) for key, text in self.hooks.labels_of(job).items()},
            },
            watch=Watch(
                wanted.limit,
                float(self.workflow.execution_settings.latency_wait),
                wanted.queue_limit,
                f"{self.flag}-queue-limit",
            ),
            staging=staging,
        )

    @staticmethod
    def _workdir_label(wanted: spec.Wanted) -> str:
        """The working directory: two of the same path on two machines' own disks are two."""
        on_storage = mount_for(Path.cwd(), "", wanted.mounts)
        if on_storage is None:
            return spec.digest(platform.node(), Path.cwd())
        return spec.digest(on_storage.source, on_storage.path)

    @staticmethod
    def _job_label(job: Any) -> str:
        return spec.digest(job.name, *sorted(map(str, job.output)))

    def _adopted(self, job: Any, wanted: spec.Wanted) -> Tracked | None:
        """The live job of an earlier start that is this very one; others for it are ended."""
        adopted = None
        for found in self._earlier.pop(self._job_label(job), []):
            tracked = self._tracked(job, wanted, found.name)
            tracked.id, tracked.adopted = found.id, True
            ended_well = tracked.written == Exit(0) and not found.phase.live
            same = found.labels.get("snakemake-spec") == self._spec_of(job, wanted)
            if adopted is None and same and (found.phase.live or ended_well):
                adopted = tracked
            else:
                self.registry.add(tracked)
                self._submitting.submit(self._remove, tracked)
        return adopted

    def _create(self, tracked: Tracked) -> None:
        """In a thread: puts down what the job needs, and creates it."""
        try:
            if self.stopping.is_set():
                tracked.refused = "the start was stopped before it was created"
                return
            tracked.refused = self.hooks.refusal(tracked.job)
            tracked.refused = tracked.refused or self._earlier_attempt(tracked)
            if tracked.refused:
                return
            if tracked.staging:
                tracked.staging.bring(_names(tracked.job.input), _written(tracked.job))
            command = self._write(tracked)
            tracked.id, tracked.lost_answer = self._made(tracked, command)
            self.logger.info(f"{tracked.job.name}: {self.title} job {tracked.id}")
            self.hooks.submitted(tracked)
        except Exception as error:
            tracked.refused = f"could not be created: {error}"
            tracked.lost_answer = tracked.lost_answer or isinstance(error, Unreachable)
        finally:
            tracked.made.set()

    def _made(self, tracked: Tracked, command: list[str]) -> tuple[str, bool]:
        """The id of the job, and whether an answer was lost. Raises ServiceError."""
        return create_once(
            self.service,
            self._body(tracked, command),
            tracked.key,
            self.stopping.is_set,
            pause=self.stopping.wait,
        )

    def _body(self, tracked: Tracked, command: list[str]) -> dict[str, Any]:
        return spec.body(tracked.name, self._placed(tracked.wanted), command, tracked.labels)

    def _earlier_attempt(self, tracked: Tracked) -> str:
        """Deletes what could not be deleted when it failed; why this job must not run beside it."""
        for other in self.registry.all:
            if other is tracked or other.labels["snakemake-job"] != tracked.labels["snakemake-job"]:
                continue
            why = self._delete(other, 12)  # more than a minute
            if why:
                return (
                    f"was not created: an earlier attempt, {other.id or other.name}, may still "
                    f"run ({why})"
                )
        return ""

    def _placed(self, wanted: spec.Wanted) -> spec.Wanted:
        from dataclasses import replace

        group = wanted.node_group
        return replace(wanted, node_group=self._group_ids.get(group, group)) if group else wanted

    def _write(self, tracked: Tracked) -> list[str]:
        """The job's folder on the storage; returns the command that runs it."""
        mounts = tracked.wanted.mounts
        tracked.folder.mkdir(parents=True, exist_ok=True)
        text = translated(str(tracked.job.shellcmd), mounts)
        (tracked.folder / "command.sh").write_text(f"set -euo pipefail; {text}\n")
        script = (files("snakemake_executor_plugin_lepton") / "job.sh").read_text(encoding="utf-8")
        (tracked.folder / self.script).write_text(script)
        workdir = tracked.staging.folder if tracked.staging else Path.cwd()
        inside = seen_in_job(tracked.folder, mounts)
        return [
            "bash",
            f"{inside}/{self.script}",
            seen_in_job(workdir, mounts) or str(inside),
            f"{tracked.wanted.limit or 0:.0f}",
        ]

    # --- looking at jobs -------------------------------------------------------------------------

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Yields those that go on. No exception leaves it: one would end the whole workflow."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def looked_at(info: SubmittedJobInfo) -> bool:
            async with gate, self.status_rate_limiter:
                return await asyncio.to_thread(self._goes_on, info)

        answers = await asyncio.gather(*map(looked_at, active_jobs), return_exceptions=True)
        for info, goes_on in zip(active_jobs, answers, strict=True):
            if isinstance(goes_on, BaseException):
                self.logger.warning(f"{info.external_jobid}: {goes_on!r}; it is looked at again")
            if goes_on:
                yield info

    def _goes_on(self, info: SubmittedJobInfo) -> bool:
        """Looks at a job; ends it and reports it when its verdict is there."""
        tracked: Tracked = (info.aux or {})["tracked"]
        if self.stopping.is_set() or not tracked.made.is_set():
            return True
        verdict = Verdict(tracked.refused) if tracked.refused else self._verdict(tracked)
        if verdict is None:
            return True
        if not verdict.left:
            verdict = self._collected(tracked, verdict)
        if self.stopping.is_set() and not verdict.success:
            return True  # stopped by us: no failure of the job
        if verdict.success:
            self._remove(tracked)
            self.report_job_success(info)
        else:
            self._fail(info, tracked, verdict.cause, verdict.left)
        return False

    def _verdict(self, tracked: Tracked) -> Verdict | None:
        assert tracked.id
        written = tracked.written
        now = time.monotonic()
        if written is not None:
            return tracked.watch.look(None, written, now)
        try:
            phase: Phase | None = self.service.phase(tracked.id)
            tracked.failures = 0
        except Missing:
            return tracked.watch.missing(tracked.written, now)
        except Denied as error:
            return self._refused(tracked, error)
        except ServiceError as error:
            phase = None
            tracked.failures += 1
            if tracked.failures == TOLD_AFTER:
                self.logger.warning(
                    f"{tracked.id}: {self.title} does not answer ({error}); it goes on"
                )
            if isinstance(error, Unreachable):
                # Less often, and as seldom as the service asks for.
                self.stopping.wait(min(max(error.wait, 2.0 ** min(tracked.failures, 5)), 60.0) / 2)
        return tracked.watch.look(phase, tracked.written, time.monotonic())

    def _refused(self, tracked: Tracked, error: Denied) -> Verdict | None:
        """The service says nothing of a job: it goes on, and is asked for with the token that is
        known here by then."""
        tracked.failures += 1
        if tracked.failures == 1:
            self.logger.warning(f"{tracked.id}: {self._in_words(error)}; the job goes on")
        self.stopping.wait(min(2.0**tracked.failures, 60.0) / 2)
        with contextlib.suppress(ServiceError):
            self.service.renew()
        return tracked.watch.refused(str(error), tracked.written, time.monotonic())

    def _leave(self, tracked: Tracked) -> None:
        """Lets a job run of which nobody could say how it is: a further attempt waits for it."""
        self.registry.discard(tracked)
        found = Found(str(tracked.id), tracked.name, Phase.UNKNOWN, tracked.labels)
        self._earlier.setdefault(tracked.labels["snakemake-job"], []).append(found)

    def _collected(self, tracked: Tracked, verdict: Verdict) -> Verdict:
        """Brings what a job has written that was not run where its files are."""
        if not tracked.staging:
            return verdict
        try:
            if verdict.success:
                tracked.staging.fetch(_names(tracked.job.output), tracked.watch.latency)
            tracked.staging.fetch(_names(tracked.job.log))
        except OSError as error:
            if verdict.success:
                return Verdict(f"its outputs could not be copied from the storage: {error}")
        tracked.staging.remove()
        return verdict

    def _fail(
        self, info: SubmittedJobInfo, tracked: Tracked, cause: str, left: bool = False
    ) -> None:
        logs = [] if left else self._log_of(tracked)
        (self._leave if left else self._remove)(tracked)
        self.hooks.failed(tracked, cause)
        # Told here: with `quiet: [rules]` Snakemake keeps a job's error to itself.
        self.logger.error(
            f"{tracked.job.name}: {self.title} job {tracked.id or tracked.name} {cause}"
        )
        if logs:
            self.logger.error("\n".join(["    " + line for line in logs[-LOG_LINES:]]))
        self.report_job_error(info, msg=f"{cause}. ", aux_logs=[str(tracked.log)] if logs else [])

    def _before_its_log(self, job: str) -> None:
        """Makes sure that a log is whole when it is fetched."""
        with contextlib.suppress(ServiceError):
            self.service.stop(job)

    def _log_of(self, tracked: Tracked) -> list[str]:
        """The lines of a job's log, which are kept beside its command."""
        if not tracked.id:
            return []
        self._before_its_log(tracked.id)
        for number in range(3):
            try:
                text = self.service.log(tracked.id)
            except (Missing, Denied):
                break
            except ServiceError:
                self.stopping.wait(2.0**number)
                continue
            with contextlib.suppress(OSError):
                tracked.log.write_text(text, encoding="utf-8")
            return text.strip().splitlines()
        return []

    def _remove(self, tracked: Tracked) -> None:
        """Deletes a job; what cannot be deleted now stays in the registry until the end."""
        if self._delete(tracked, 3):
            return
        if tracked.written == Exit(0):
            import shutil

            shutil.rmtree(tracked.folder, ignore_errors=True)

    def _delete(self, tracked: Tracked, times: int) -> str:
        """Why a job could not be deleted; empty: it is gone."""
        said = ""
        job_ids = [tracked.id] if tracked.id else []
        pause = self.stopping.wait if not self.stopping.is_set() else time.sleep
        if tracked.lost_answer:
            said = tried(
                lambda: job_ids.extend(each.id for each in self.service.find(tracked.key)),
                times,
                pause,
            )
        for job_id in dict.fromkeys(job_ids):
            why = tried(
                lambda job_id=job_id: self.service.delete(job_id),  # type: ignore[misc]
                times,
                pause,
            )
            said = said or why
        may_come = tracked.lost_answer and not job_ids  # very late, from a creation without answer
        if not said and (self.stopping.is_set() or not may_come):
            self.registry.discard(tracked)
        return said

    # --- stopping --------------------------------------------------------------------------------

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Ctrl-C. The list is not asked: it is empty while a look is under way."""
        self._end_all()

    def shutdown(self) -> None:
        self._end_all()
        super().shutdown()

    def _end_all(self) -> None:
        """Ends every job that the service may still have, and proves it."""
        self.stopping.set()
        self._submitting.shutdown(wait=True)
        left = self.registry.all
        if not left:
            return
        self.logger.info(f"ending {len(left)} {self.title} jobs")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            said = list(pool.map(self._end, left))
        for tracked, why in zip(left, said, strict=True):
            if why:
                self.logger.error(
                    f"{tracked.id or tracked.name} could not be ended ({why}): it may still run, "
                    f"and cost; `{self._by_hand(tracked)}`"
                )

    def _by_hand(self, tracked: Tracked) -> str:
        """The command with which a person ends a job, or looks for it."""
        return "lep job " + (f"remove --id {tracked.id}" if tracked.id else "list")

    def _end(self, tracked: Tracked) -> str:
        """Stops a job, lets it end by itself, deletes it; why it could not be."""
        if tracked.id:
            job_id = tracked.id
            tried(lambda: self.service.stop(job_id), 2, time.sleep)
            deadline = time.monotonic() + STOP_PATIENCE
            while time.monotonic() < deadline and tracked.written is None:
                try:
                    if not self.service.phase(job_id).live:
                        break
                except Missing:
                    break
                except ServiceError as error:
                    # Asked again; after the deadline it is deleted all the same.
                    if isinstance(error, Denied) and not isinstance(error, Unauthorized):
                        break
                time.sleep(0.5)
        return self._delete(tracked, 4)


def _names(files: Any) -> list[str]:
    return [str(name) for name in files]


def _written(job: Any) -> list[str]:
    return [*_names(job.output), *_names(job.log)]


def _files(job: Any) -> list[str]:
    return [*_names(job.input), *_written(job)]
