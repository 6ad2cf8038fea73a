"""The ways to start a harness, a module each."""

from __future__ import annotations

from .hold import Hold
from .job import Job
from .runtime import Runtime


def runtime_of(job: Job, hold: Hold) -> Runtime:
    """The runtime that the settings name."""
    name = job.settings.runtime
    if name in ("docker", "podman"):
        from .engine import Engine

        return Engine(job, hold)
    if name == "apptainer":
        from .apptainer import Apptainer

        return Apptainer(job, hold)
    if name == "pyxis":
        from .pyxis import Pyxis

        return Pyxis(job, hold)
    from .process import Process

    return Process(job, hold)
