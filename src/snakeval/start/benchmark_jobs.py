"""What the jobs of benchmarks ask of Snakemake: room at a capped endpoint, and what the config asks
of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakeval.executors.registry import executors
from snakeval.plan.identity import digest
from snakeval.plan.run import Run, Task

Wildcards = Any
Asked = Callable[[Wildcards], Any] | int | str
"""A value of a resource, or an input function of Snakemake that says it for a job. Snakemake calls
one several times for each job, so a value that all share is better said."""


@dataclass(frozen=True)
class Caps:
    """How many benchmarks may use an endpoint at once.

    names   (run folder, task) -> Snakemake's resource that stands for the task's endpoint
    limits  resource -> benchmarks at once; of endpoints with a cap
    """

    names: Mapping[tuple[str, str], str]
    limits: Mapping[str, int]


def caps_of(runs: Sequence[Run]) -> Caps:
    """The caps of every run's endpoints. Models of a sweep may share an endpoint."""
    names = {key_of(run, task): _name_of(run, task) for run in runs for task in run.tasks}
    limits = {
        names[key_of(run, task)]: cap
        for run in runs
        if (cap := run.config.execution.endpoint_cap)
        for task in run.tasks
        if task.endpoint.url or task.servers
    }
    return Caps(names, limits)


def key_of(run: Run, task: Task) -> tuple[str, str]:
    return str(run.paths.dir), task.name


def _name_of(run: Run, task: Task) -> str:
    return f"endpoint_{digest(task.endpoint.url or run.paths.id, 8)}"


def endpoint_resources(caps: Caps) -> dict[str, Asked]:
    """One resource per capped endpoint: 1 for the tasks that use it."""

    def uses(resource: str) -> Asked:
        return lambda wildcards: int(caps.names.get((wildcards.run, wildcards.task)) == resource)

    return {name: uses(name) for name in caps.limits}


def cluster_resources(runs: Sequence[Run], defaults: Mapping[str, int | str]) -> dict[str, Asked]:
    """What the config asks a cluster for, by the names of Snakemake's resources.

    defaults  the profile's: what only some tasks ask for is theirs for the others
    """
    asked = {key_of(run, task): _asked(run, task) for run in runs for task in run.tasks}

    def of(name: str) -> Asked:
        values = {each.get(name, defaults.get(name)) for each in asked.values()}
        value = values.pop() if len(values) == 1 else None
        if isinstance(value, int | str):
            return value
        return lambda wildcards: asked[wildcards.run, wildcards.task].get(name, defaults.get(name))

    return {name: of(name) for name in {name for each in asked.values() for name in each}}


def _asked(run: Run, task: Task) -> dict[str, Any]:
    # Which executor it will be, Snakemake says only later.
    return {
        name: value for each in executors() for name, value in each.resources_of(run, task).items()
    }
