"""apptainer and pyxis: the runtimes of clusters. Rendered and checked as text, not run here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence

from snakeval.errors import Problem
from snakeval.plan.run import Task
from snakeval.runtime.images import mirrored

SEPARATORS = ","
"""Both programs take a list of mounts with commas between them."""


class OnNodes:
    """Needs no engine: the image is asked for by the job, or comes as a file of `prefetch`."""

    name = ""

    def problems(self, tasks: Sequence[Task]) -> list[Problem]:
        images = {(str(task.image), task.image_mirror) for task in tasks}
        return [*self.lacking(images), *self._words_for_docker(tasks), *_unmountable(tasks)]

    def images(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """Asked for servers of this machine, which run in an engine or as processes."""
        images = ", ".join(sorted({image for image, _ in wanted}))
        return [
            Problem(
                self.name,
                f"brings no server up on this machine (wanted for {images})",
                "choose docker, podman or process, or use profiles/slurm",
            )
        ]

    def lacking(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """What this machine lacks to run these images."""
        raise NotImplementedError

    def pin(self, image: str, again: bool, mirror: str | None = None) -> str:
        """The image as it is written: only an engine can say its digest."""
        return reference(image, image, mirror)

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        """Nobody here can say."""
        return None

    def here(self, image: str) -> str | None:
        """Nobody here can say."""
        return None

    def _words_for_docker(self, tasks: Sequence[Task]) -> Iterable[Problem]:
        for task in tasks:
            if task.extra_docker_args:
                yield Problem(
                    task.place("execution", "extra_docker_args"),
                    f"is for docker and podman, and not handed to {self.name}",
                    warning=True,
                )
                return


class Apptainer(OnNodes):
    """Needs the `apptainer` command."""

    name = "apptainer"

    def lacking(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        if shutil.which("apptainer"):
            return []
        images = ", ".join(sorted({image for image, _ in wanted}))
        return [
            Problem(
                "apptainer",
                f"the command is not on the PATH (wanted for {images})",
                "`module load apptainer` on some clusters; or choose another container_runtime",
            )
        ]


class Pyxis(OnNodes):
    """Needs Slurm's `srun` with the plugin pyxis."""

    name = "pyxis"

    def lacking(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        if "--container-image" in _help_of_srun():
            return []
        images = ", ".join(sorted({image for image, _ in wanted}))
        return [
            Problem(
                "pyxis",
                f"there is no srun with --container-image (wanted for {images})",
                "pyxis is a plugin of Slurm: ask who runs the cluster, or choose another "
                "container_runtime",
            )
        ]


def reference(pinned: str, image: str, mirror: str | None) -> str:
    """What an image is asked for by: pinned where another start knew its digest.

    An engine's own id (`sha256:...`) means nothing outside of it.
    """
    name = image if pinned.startswith("sha256:") else pinned
    return name if name.startswith("/") or "://" in name else mirrored(name, mirror)


def _unmountable(tasks: Sequence[Task]) -> Iterable[Problem]:
    for task in tasks:
        for folder in (task.paths.dir.absolute(), *(source for source, _ in task.mounts)):
            if SEPARATORS in str(folder):
                yield Problem(
                    task.where,
                    f"a path with ',' cannot be mounted by apptainer or pyxis: {folder}",
                    "choose another folder",
                )


def _help_of_srun() -> str:
    try:
        shown = subprocess.run(
            ["srun", "--help"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return ""
    return shown.stdout + shown.stderr
