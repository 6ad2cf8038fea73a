"""Already in the image: a cloud job that was started in the benchmark's own image."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from snakeval.errors import Problem
from snakeval.plan.run import Task


class InImage:
    """Needs nothing of this machine: the executor gives each job its image."""

    def problems(self, tasks: Sequence[Task]) -> list[Problem]:
        return [
            Problem(
                f"execution.extra_docker_args ({task.name})",
                "is ignored: the job runs in its image already",
                warning=True,
            )
            for task in tasks
            if task.extra_docker_args
        ]

    def images(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """They are pulled elsewhere."""
        return []

    def pin(self, image: str, again: bool, mirror: str | None = None) -> str:
        """Nobody here can say the digest."""
        return image

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        """Nobody here can say."""
        return None

    def here(self, image: str) -> str | None:
        """Nobody here can say."""
        return None
