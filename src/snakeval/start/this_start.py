"""What the parts of one start know in common: data alone; functions take it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from snakeval.executors.base import Executor
from snakeval.executors.profile import Profile
from snakeval.plan.pending import runtime_of, runtime_of_server, servers_needed
from snakeval.plan.run import Run, Task
from snakeval.plan.server import Server
from snakeval.runtime import RUNTIMES, Runtime


class Log(Protocol):
    """Where the person who waits is told."""

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...


@dataclass(frozen=True)
class NeededServer:
    """A server that this start brings up: whose, how, and for which benchmarks."""

    run: Run
    server: Server
    runtime: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class ThisStart:
    """One start of Snakemake, real or dry.

    id         of this start; the tokens of its servers carry it
    asked      benchmark that will be evaluated -> the container runtime that its job asks for
    executor   it runs their jobs
    gpu_limit  GPUs that servers may use at once; None: no limit
    provided   the variables that jobs get whatever this machine has; a benchmark that is not in it
               gets this machine's
    makes      whether a job of this start makes a folder that is not there yet: a checkpoint
    runtimes   by name
    """

    id: str
    runs: tuple[Run, ...]
    asked: Mapping[Task, str]
    executor: Executor
    profile: Profile
    log: Log
    gpu_limit: int | None = None
    provided: Mapping[Task, Collection[str]] = field(default_factory=dict)
    makes: Callable[[Path], bool] = lambda _: False
    runtimes: Mapping[str, Runtime] = field(
        default_factory=lambda: {name: kind() for name, kind in RUNTIMES.items()}
    )

    @cached_property
    def pending(self) -> dict[Task, str]:
        """Benchmark that will be evaluated -> the runtime that it is started with."""
        return {task: runtime_of(task, wanted) for task, wanted in self.asked.items()}

    def pending_of(self, run: Run) -> dict[Task, str]:
        """As `pending`, of one run."""
        return {task: self.pending[task] for task in run.tasks if task in self.pending}

    @cached_property
    def servers(self) -> tuple[NeededServer, ...]:
        """The servers that are brought up. With which runtime the last of their benchmarks says:
        a benchmark without an image may need a server that has one."""
        return tuple(
            NeededServer(
                run, server, runtime_of_server(server, self.asked[tasks[-1]]), tuple(tasks)
            )
            for run in self.runs
            for server, tasks in servers_needed(run, self.asked.keys())
        )

    def servers_of(self, run: Run) -> list[NeededServer]:
        return [each for each in self.servers if each.run is run]
