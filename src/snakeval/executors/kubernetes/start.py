"""A real start on Kubernetes: the plugin is told about the benchmarks."""

from __future__ import annotations

from typing import Any, cast

from snakemake_executor_plugin_kubernetes_jobs.executor import Executor as Plugin
from snakemake_executor_plugin_kubernetes_jobs.spec import Wanted
from snakemake_executor_plugin_lepton.storage import Unusable
from snakeval.errors import Problem
from snakeval.executors import base
from snakeval.executors.kubernetes import checks
from snakeval.executors.kubernetes.hooks import Benchmarks
from snakeval.executors.kubernetes.places import Place, note_place


class Start(base.Start):
    """One real start with `executor: kubernetes-jobs`."""

    def __init__(self, planned: base.Planned) -> None:
        self._runs, self._jobs = planned.runs, planned.jobs
        self._of = planned.tasks
        self._plugin: Plugin = planned.plugin
        self._plugin.hooks = Benchmarks(self._of, planned.start)

    def check(self) -> list[Problem]:
        """What keeps these jobs from being created."""
        given = {
            task: self._variables(self._jobs[output]) for output, (_, task) in self._of.items()
        }
        return [
            *checks.without_a_secret(self._of.values(), lambda task: given[task]),
            *(checks.told(text, self._runs) for text in self._plugin.problems()),
        ]

    def _variables(self, job: Any) -> set[str]:
        try:
            return {each.name for each in self._plugin.wanted(job).variables}
        except Unusable:  # the plugin says so itself
            return set()

    def begin(self) -> None:
        if not self._jobs:
            return
        first = cast(Wanted, self._plugin.wanted(next(iter(self._jobs.values()))))
        for run in self._runs:
            note_place(run.paths, Place(first.context, self._plugin.cluster.namespace))
