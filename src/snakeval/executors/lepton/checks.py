"""What the plugin and the config have against a start, each with its place in the config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snakeval.config.execution.lepton import LeptonExecution
from snakeval.errors import Problem
from snakeval.plan.run import Run


def of_config(runs: Iterable[Run]) -> Iterator[Problem]:
    """What the config alone says wrong."""
    for run in runs:
        execution = run.config.execution
        if not isinstance(execution, LeptonExecution):
            continue
        if execution.evaluation_tasks.use_shared_storage is False:
            yield Problem(
                run.place("execution", "evaluation_tasks", "use_shared_storage"),
                "benchmarks write their results to storage that this machine sees too",
                "write true, and name it in execution.lepton_platform.tasks.mounts",
            )


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
