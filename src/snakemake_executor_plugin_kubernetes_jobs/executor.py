"""Snakemake's view: jobs are submitted, looked at and stopped.

What is the same for every service that runs a job in its own image is that of the plugin for
Lepton; here is what Kubernetes says and does otherwise.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

from snakemake_executor_plugin_kubernetes_jobs import refusals, spec
from snakemake_executor_plugin_kubernetes_jobs.client import Full, Kubernetes, in_words
from snakemake_executor_plugin_kubernetes_jobs.hooks import Hooks
from snakemake_executor_plugin_lepton import executor as common
from snakemake_executor_plugin_lepton.client import (
    Missing,
    Service,
    ServiceError,
    Unreachable,
    patiently,
)
from snakemake_executor_plugin_lepton.registry import Tracked, tried
from snakemake_executor_plugin_lepton.spec import Variable
from snakemake_executor_plugin_lepton.states import Phase
from snakemake_executor_plugin_lepton.watch import Verdict

FULL_PAUSE = 15.0
"""Seconds between two tries while a quota has no room."""
STOP_PATIENCE = spec.GRACE + 15.0
"""Seconds that pods have to end after a Ctrl-C."""

ONE_PLACE = "the jobs of one start are in one namespace of one cluster"


class Executor(common.Executor):
    """One Kubernetes Job per Snakemake job, and none that nobody waits for."""

    title = "Kubernetes"
    flag = "kubernetes-jobs"
    later = "SNAKEMAKE_KUBERNETES_JOBS_CHECKS"
    not_installed = "the client of Kubernetes is not installed: pip install -e '.[kubernetes]'"
    storage_folder = ".snakemake-kubernetes"
    script = "pod.sh"

    def __post_init__(self) -> None:
        self._waits: dict[str, str] = {}
        self._stuck: dict[str, float] = {}
        super().__post_init__()
        self.hooks = Hooks()

    def _described(self, resources: Any, container: str | None) -> spec.Wanted:
        return spec.wanted(resources, self.executor_settings, container)

    # --- before the first job --------------------------------------------------------------------

    def _connected(self) -> Service:
        jobs = [job for job in self.dag.needrun_jobs() if not job.is_local]
        first = cast(spec.Wanted, self.wanted(jobs[0]))
        # What it lacks of a Service (secrets, node groups) is asked for by `_missing` alone.
        return cast(Service, Kubernetes(first.context, first.namespace))

    @property
    def cluster(self) -> Kubernetes:
        return cast(Kubernetes, self.service)

    def _in_words(self, error: ServiceError) -> str:
        return in_words(error)

    def _missing(self, jobs: list[Any]) -> list[str]:
        """Everything that the jobs refer to and the namespace lacks; else what the server itself
        has against them. Raises ServiceError."""
        wanted = [cast(spec.Wanted, self.wanted(job)) for job in jobs]
        places = sorted({each.namespace for each in wanted})
        if len(places) > 1 or len({each.context for each in wanted}) > 1:
            named = ", ".join(place or "the default" for place in places)
            return [f"{ONE_PLACE}, and these ask for {named}: start them one by one"]
        claims = {mount.source for each in wanted for mount in each.mounts}
        keys = {spec.secret_of(each) for job in wanted for each in job.variables if each.secret}
        lacking = [*refusals.claims(self.cluster, claims), *refusals.keys(self.cluster, keys)]
        return lacking or self._refused_bodies(wanted)

    def _look_for_earlier(self, jobs: list[Any]) -> list[str]:
        """One that is on its way out is not waited for: it will have no result."""
        said = super()._look_for_earlier(jobs)
        self._earlier = {
            label: [each for each in found if each.phase is not Phase.ENDING]
            for label, found in self._earlier.items()
        }
        return said

    def _refused_bodies(self, wanted: list[spec.Wanted]) -> list[str]:
        """What the server has against the jobs: it is asked with `dryRun`, which makes none."""
        said: list[str] = []
        bodies = {
            json.dumps(body, sort_keys=True): body
            for body in (
                spec.body("snakemake-dry-run", self.cluster.namespace, each, ["true"], {})
                for each in wanted
            )
        }
        for body in bodies.values():
            try:
                patiently(lambda body=body: self.cluster.create(body, dry_run=True))  # type: ignore[misc]
            except Full:  # room comes
                continue
            except Unreachable:
                raise
            except ServiceError as error:
                said.append(f"Kubernetes would refuse a job: {error}")
        return list(dict.fromkeys(said))

    # --- submitting ------------------------------------------------------------------------------

    def _body(self, tracked: Tracked, command: list[str]) -> dict[str, Any]:
        further = cast(Hooks, self.hooks).variables_of(tracked)
        told = (Variable(name, text=text) for name, text in further.items())
        wanted = cast(spec.Wanted, tracked.wanted)
        wanted = replace(wanted, variables=(*wanted.variables, *told))
        return spec.body(tracked.name, self.cluster.namespace, wanted, command, tracked.labels)

    def _made(self, tracked: Tracked, command: list[str]) -> tuple[str, bool]:
        """While a quota of the namespace has no room, waits for it."""
        deadline = time.monotonic() + tracked.wanted.queue_limit
        while True:
            try:
                return super()._made(tracked, command)
            except Full as error:
                if time.monotonic() > deadline or self.stopping.is_set():
                    raise
                self._tell_waiting(tracked, str(error))
            self.stopping.wait(FULL_PAUSE)

    # --- looking at jobs -------------------------------------------------------------------------

    def _verdict(self, tracked: Tracked) -> Verdict | None:
        verdict = super()._verdict(tracked)
        seen = self.cluster.told.get(str(tracked.id))
        if seen is None or (verdict and verdict.success) or tracked.written is not None:
            return verdict
        if verdict:
            told = f": {seen.reason}" if seen.reason else ""
            return Verdict(f"{verdict.cause}{told}", verdict.left)
        if seen.phase is Phase.WAITING and seen.reason:
            self._tell_waiting(tracked, seen.reason)
        if seen.stuck:
            return self._given_up(tracked, seen.reason)
        self._stuck.pop(tracked.name, None)
        return None

    def _given_up(self, tracked: Tracked, reason: str) -> Verdict | None:
        """The verdict on a job that waits for what seldom comes."""
        limit = cast(spec.Wanted, tracked.wanted).stuck_limit
        since = self._stuck.setdefault(tracked.name, time.monotonic())
        if time.monotonic() - since < limit:
            return None
        return Verdict(f"could not be started for {limit / 60:g} minutes: {reason}")

    def _tell_waiting(self, tracked: Tracked, reason: str) -> None:
        """Once for each reason: messages have times and counts in them."""
        word = reason.partition(":")[0]
        if self._waits.get(tracked.name) != word:
            self._waits[tracked.name] = word
            self.logger.info(f"{tracked.job.name}: {tracked.name} waits: {reason}")

    def _before_its_log(self, job: str) -> None:
        """A pod's log goes with the pod: it is fetched before the job is deleted."""

    # --- stopping --------------------------------------------------------------------------------

    def _end_all(self) -> None:
        """All are told first: each may take its grace to end."""
        self.stopping.set()
        with ThreadPoolExecutor(common.AT_ONCE) as pool:
            list(pool.map(self._told_to_end, self.registry.all))
        super()._end_all()

    def _told_to_end(self, tracked: Tracked) -> None:
        if job_id := tracked.id:
            tried(lambda: self.service.stop(job_id), 1, time.sleep)

    def _end(self, tracked: Tracked) -> str:
        """Deletes a job, and waits until its pods have ended; why that could not be seen."""
        if why := self._delete(tracked, 4):
            return why
        if not tracked.id:
            return ""
        deadline = time.monotonic() + STOP_PATIENCE
        said = "its pod does not end: is its node gone?"
        while time.monotonic() < deadline:
            try:
                self.service.phase(tracked.id)
            except Missing:
                return ""
            except ServiceError as error:
                said = str(error)
            time.sleep(0.5)
        return said

    def _by_hand(self, tracked: Tracked) -> str:
        what = f"delete job {tracked.id}" if tracked.id else "get jobs"
        return f"kubectl -n {self.cluster.namespace} {what}"
