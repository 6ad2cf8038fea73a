"""The ways to start a harness: docker, podman, apptainer, pyxis, process, image; what each needs
before a start.

How a runtime starts, stops and sweeps is in `snakeval/job/keeper/`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, runtime_checkable

from snakeval.errors import Problem
from snakeval.plan.run import Task
from snakeval.runtime.docker import Docker
from snakeval.runtime.image import InImage
from snakeval.runtime.on_nodes import Apptainer, Pyxis
from snakeval.runtime.podman import Podman
from snakeval.runtime.process import Process


class Runtime(Protocol):
    """What a real start asks of a runtime."""

    def images(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """What keeps containers of these images (each with its mirror) from running here."""
        ...

    def problems(self, tasks: Sequence[Task]) -> list[Problem]:
        """Why these tasks cannot be run here; empty when they can."""
        ...

    def pin(self, image: str, again: bool, mirror: str | None = None) -> str:
        """Brings an image here and returns a reference that will always mean this very image.

        again   ask the registry even when the image is here
        mirror  what stands for the image's own registry where it has to be asked
        Raises InputError.
        """
        ...

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        """A reference to what a name means in its registry now (or its mirror), or the id of what
        was built here under it; None: nobody here can say. Nothing is brought here."""
        ...

    def here(self, image: str) -> str | None:
        """The id of the image that a name or a pinned reference means on this machine now; None:
        of none, or nobody here can say. No registry is asked."""
        ...


@runtime_checkable
class BringsImages(Protocol):
    """A runtime whose `pin` brings an image here, which a login node has no use for."""

    def look_up(self, image: str, again: bool, mirror: str | None = None) -> str:
        """The same reference, without bringing the image. Raises InputError."""
        ...


RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "docker": Docker,
    "podman": Podman,
    "apptainer": Apptainer,
    "pyxis": Pyxis,
    "process": Process,
    "image": InImage,
}
