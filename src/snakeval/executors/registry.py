"""The executors that there are: those of this package, those of others, and Snakemake's others.

Another package adds one by an entry point of the group `snakeval.executors`, whose value is a class
(see `base.Executor`). An executor plugin of Snakemake that nobody has written one for is known by
what the plugin says about itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from snakeval.executors.base import Executor, Servers, did_not_come_up

if TYPE_CHECKING:
    from snakeval.plan.server import Server
    from snakeval.run_folder.layout import ServerPaths, TaskPaths

HERE = "local"
"""The name of the executor that is this machine."""

GROUP = "snakeval.executors"
BUILT_IN = ("local", "lepton", "slurm", "kubernetes")
"""Packages beside this file; each has its class as `Executor`."""


class Unknown(Executor):
    """An executor plugin of Snakemake about which no more is known than it says itself."""

    def __init__(self, name: str) -> None:
        self.name = self.title = name
        self.elsewhere = _runs_elsewhere(name)


def _runs_elsewhere(name: str) -> bool:
    """What a plugin says of its jobs; one that is not there is taken to run none here."""
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    plugin = ExecutorPluginRegistry().plugins.get(name)
    return plugin is None or bool(plugin.common_settings.non_local_exec)


@cache
def executors() -> tuple[Executor, ...]:
    """Every executor that somebody has written for this pipeline."""
    built_in = [import_module(f"snakeval.executors.{name}").Executor() for name in BUILT_IN]
    others = [entry.load()() for entry in entry_points(group=GROUP)]
    return (*built_in, *others)


@cache
def executor(name: str) -> Executor:
    """An executor by Snakemake's name of it."""
    return next((each for each in executors() if each.name == name), None) or Unknown(name)


def executor_of(task: TaskPaths, attempt: Mapping[str, Any]) -> Executor:
    """The executor of an attempt that names none, because its version did not."""
    return next((each for each in executors() if each.ran(task, attempt)), executor(HERE))


# --- where models' servers live ------------------------------------------------------------------


def servers_for(server: Server, name: str) -> tuple[str, Servers | None]:
    """The executor with which a start brings a server up, and its side for that.

    name  of the start's executor
    """
    host = server.hosted_by or name
    return host, executor(host).servers


def note_host(paths: ServerPaths, name: str) -> None:
    """Notes with which executor a deployment's server is brought up."""
    paths.executor.write_text(name + "\n", encoding="utf-8")


def servers_at(paths: ServerPaths) -> Servers:
    """The side of the executor with which a deployment's server was brought up last."""
    try:
        noted = paths.executor.read_text(encoding="utf-8").strip()
    except OSError:  # brought up by hand, or by a version that knew this machine only
        noted = HERE
    return executor(noted).servers or NotInstalled(noted)


def left_over(paths: ServerPaths) -> str:
    """What of a server is there although nobody supervises it, in words."""
    return servers_at(paths).left_over(paths)


class NotInstalled(Servers):
    """Servers of an executor that this environment does not have: nothing is known of them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, *_: Any) -> None:
        raise NotImplementedError

    def bring_up(self, paths: ServerPaths) -> None:
        raise did_not_come_up(paths, self.where(paths))

    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        return False

    def where(self, paths: ServerPaths) -> str:
        return f"unknown: the executor '{self._name}' is not installed here"
