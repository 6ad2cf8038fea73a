"""What the jobs ask of Snakemake that bring servers up: GPUs where they are limited, and a place
among those that wait.

Under a limit a run's first server claims for all of them, and comes first.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snakeval.errors import Problem
from snakeval.plan.pending import is_pending
from snakeval.plan.run import Run
from snakeval.start import gpus
from snakeval.start.this_start import ThisStart

Wildcards = Any

COMING_UP = "servers_coming_up"
"""Snakemake's resource that jobs hold while they bring a server up."""
AT_ONCE = 4
"""Servers that come up at once: their jobs wait without a core, and Snakemake keeps five more
workers than cores for such jobs."""


@dataclass(frozen=True)
class ServerJobs:
    """The servers of a start.

    limit   GPUs that they may use at once: Snakemake's resource `gpu`; None: no limit
    shares  run folder -> server -> what it takes of the limit, the first one first
    """

    limit: int | None = None
    shares: Mapping[str, gpus.Shares] = field(default_factory=dict)

    def first_of(self, run: str) -> str | None:
        return next(iter(self.shares.get(run, ())), None)


def server_jobs(runs: Sequence[Run], limit: int | None) -> ServerJobs:
    shares = {str(run.paths.dir): gpus.shares(run, limit or 0) for run in runs if run.servers}
    return ServerJobs(limit, shares)


def tokens(runs: Sequence[Run], name: str, start: str) -> list[str]:
    """The servers that a benchmark needs, as tokens of this start: while it is pending only.

    name  of the benchmark
    """
    return [
        str(run.paths.server(server).up(start))
        for run in runs
        if run.servers
        for task in run.tasks
        if task.name == name and is_pending(run, task)
        for server in task.servers
    ]


def before(jobs: ServerJobs, wildcards: Wildcards) -> list[str]:
    """The token that a server waits for: the first one's of its run."""
    first = jobs.first_of(wildcards.run)
    if jobs.limit is None or first is None or first == wildcards.deployment:
        return []
    return [f"{wildcards.run}/deployments/{first}/up.{wildcards.start}"]


def resources(jobs: ServerJobs) -> dict[str, Callable[[Wildcards], int]]:
    """What the jobs hold that bring servers up."""
    asked: dict[str, Callable[[Wildcards], int]] = {
        COMING_UP: lambda wildcards: int(jobs.limit is None or _is_first(jobs, wildcards))
    }
    if jobs.limit is not None:
        asked[gpus.RESOURCE] = lambda wildcards: _taken(jobs, wildcards)
    return asked


def _is_first(jobs: ServerJobs, wildcards: Wildcards) -> bool:
    return bool(jobs.first_of(wildcards.run) == wildcards.deployment)


def _taken(jobs: ServerJobs, wildcards: Wildcards) -> int:
    shares = jobs.shares[wildcards.run].values() if _is_first(jobs, wildcards) else ()
    return sum(map(gpus.count, shares))


def arguments(jobs: ServerJobs, wildcards: Wildcards) -> str:
    """Arguments of `deploy.py`: the limit, and what this run's servers take of it."""
    if jobs.limit is None:
        return ""
    words = [f"{name}={share}" for name, share in jobs.shares.get(wildcards.run, {}).items()]
    return shlex.join(["--limit", str(jobs.limit), "--gpus", *words])


def unfit(start: ThisStart) -> list[Problem]:
    """Servers that the limit never lets up, or that nothing keeps apart on this machine."""
    if start.gpu_limit is None:
        return [] if start.executor.elsewhere else gpus.unlimited(start.runs)
    return [each for run in start.runs for each in gpus.beyond(run, start.gpu_limit)]
