"""A real start on Lepton: what is looked at before it, and the taking over of the executor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from snakeval.config.execution import LeptonExecution
from snakeval.errors import Problem
from snakeval.lepton.executor import Executor, Followed
from snakeval.lepton.resources import variables
from snakeval.plan import Run, Task


class LeptonStart:
    """One real start with `executor: lepton`.

    executor  the plugin's executor, which Snakemake has made
    jobs      the planned jobs of benchmarks, by their output
    """

    def __init__(self, executor: Any, runs: Sequence[Run], jobs: Mapping[str, Any]) -> None:
        self._runs = runs
        self._followed = {
            output: Followed(run, task)
            for run in runs
            for task in run.tasks
            if (output := str(task.paths.published(task.digest))) in jobs
        }
        self._executor = Executor.take_over(executor, self._followed)

    @property
    def provided(self) -> dict[Task, Collection[str]]:
        """The variables that the jobs will have, whatever this machine has."""
        return {
            followed.task: variables(followed.run, followed.task).keys()
            for followed in self._followed.values()
        }

    def problems(self) -> list[Problem]:
        """What keeps these jobs from being created."""
        found = [
            Problem(
                run.place("execution", "evaluation_tasks", "use_shared_storage"),
                "benchmarks write their results to storage that this machine sees too",
                "write true, and name it in execution.lepton_platform.tasks.mounts",
            )
            for run in self._runs
            if isinstance(run.config.execution, LeptonExecution)
            and run.config.execution.evaluation_tasks.use_shared_storage is False
        ]
        return found + [Problem("lepton", text) for text in self._executor.problems()]
