"""A real start on Lepton: the plugin is told about the benchmarks."""

from __future__ import annotations

from snakemake_executor_plugin_lepton.executor import Executor as Plugin
from snakeval.errors import Problem
from snakeval.executors import base
from snakeval.executors.lepton import checks
from snakeval.executors.lepton.hooks import Benchmarks


class Start(base.Start):
    """One real start with `executor: lepton`."""

    def __init__(self, planned: base.Planned) -> None:
        self._runs = planned.runs
        self._plugin: Plugin = planned.plugin
        self._plugin.hooks = Benchmarks(planned.tasks, planned.start)

    def check(self) -> list[Problem]:
        """What keeps these jobs from being created."""
        said = self._plugin.problems()
        return [*checks.of_config(self._runs), *(checks.told(text, self._runs) for text in said)]
