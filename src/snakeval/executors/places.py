"""The places where a server can live, and which one a start takes: the executor's, or Lepton where
the config says so, whichever machines run the benchmarks.

A place is a module with the functions of `Place`. What it has brought up is noted in the
deployment's folder (`place`), so that `kill`, `status` and the next start ask the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from snakeval.errors import InputError, Problem
from snakeval.plan.run import Run
from snakeval.plan.server import LEPTON, Server
from snakeval.run_folder.layout import ServerPaths

HERE = "local"


class Place(Protocol):
    """What is asked of a place; it is the same for all of them."""

    def problems(self, run: Run, server: Server, runtime: str) -> Iterable[Problem]:
        """What keeps a server from coming up there; told before anything starts."""

    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, int | str],
    ) -> None:
        """Writes the scripts that bring a server to life, at a real start.

        image     pinned where that could be done
        defaults  the profile's `default-resources`
        """

    def bring_up(self, paths: ServerPaths) -> None:
        """Returns when the server is healthy. Raises InputError when it will not be."""

    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        """Asks for the server's end and waits for it; whether it is down.

        when  `now`, or `unused`: as soon as no benchmark uses it
        """

    def where(self, paths: ServerPaths) -> str:
        """Where a live server is, in a few words; empty when there is none."""


def did_not_come_up(paths: ServerPaths, cause: str) -> InputError:
    """What `bring_up` raises."""
    return InputError(
        [
            Problem(
                f"deployments/{paths.dir.name}",
                f"the server did not come up: {cause}",
                f"logs: {paths.logs}",
            )
        ]
    )


def place_for(server: Server, executor: str) -> str:
    """The name of the place where a start brings a server up."""
    return LEPTON if server.on_lepton else executor


def place_of(name: str) -> Place | None:
    """A place by its name, which is that of an executor of Snakemake; None: there is none."""
    if name == "local":
        from snakeval.executors.local import server as local

        return local
    if name == "slurm":
        from snakeval.executors.slurm import server as slurm

        return slurm
    if name == LEPTON:
        from snakeval.executors.lepton import server as lepton

        return lepton
    return None


def note(paths: ServerPaths, name: str) -> None:
    """Notes where a deployment's server is brought up."""
    paths.place.write_text(name + "\n", encoding="utf-8")


def place_at(paths: ServerPaths) -> Place:
    """The place where a deployment's server was brought up last."""
    try:
        noted = paths.place.read_text(encoding="utf-8").strip()
    except OSError:  # brought up by hand, or by a version that knew this machine only
        noted = HERE
    found = place_of(noted)
    assert found is not None, f"{paths.place} names no place: {noted}"
    return found
