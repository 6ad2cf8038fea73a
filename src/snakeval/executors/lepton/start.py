"""A real start on Lepton: what is looked at before it, and the taking over of the executor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from snakeval.config.execution import LeptonExecution
from snakeval.errors import Problem
from snakeval.executors.lepton.executor import Executor, Followed
from snakeval.plan.run import Run


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
        return found + [told(text, self._runs) for text in self._executor.problems()]


def told(text: str, runs: Iterable[Run]) -> Problem:
    """A sentence of the plugin, which knows no config, with the place in the config that names
    what it quotes."""
    places = (place for run in runs for name, place in _named(run) if f"'{name}'" in text)
    return Problem(next(places, "lepton"), text)


def _named(run: Run) -> Iterator[tuple[str, str]]:
    """What of the workspace a config names, and where."""
    execution = run.config.execution
    if isinstance(execution, LeptonExecution) and execution.lepton_platform.tasks.node_group:
        keys = ("execution", "lepton_platform", "tasks", "node_group")
        yield execution.lepton_platform.tasks.node_group, run.place(*keys)
    if key := run.config.target.api_endpoint.api_key_name:
        yield key, run.place("target", "api_endpoint", "api_key_name")
