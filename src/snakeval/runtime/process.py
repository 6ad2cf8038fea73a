"""No container: the harness from the pipeline's own environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from snakeval.errors import Problem
from snakeval.harness import recipe_for
from snakeval.plan.run import Task


class Process:
    """Needs the harness's program on the PATH that run.sh will have."""

    def problems(self, tasks: Sequence[Task]) -> list[Problem]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        found = []
        for task in tasks:
            programs = recipe_for(task).programs
            if programs and not any(shutil.which(name, path=path) for name in programs):
                found.append(
                    Problem(
                        task.name,
                        f"runs without a container, and {' or '.join(programs)} is not on the PATH",
                        "choose the runtime docker or podman (container_runtime in the "
                        "profile), or install the harness into this environment",
                    )
                )
        return found

    def images(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """There are none."""
        return []

    def pin(self, image: str, again: bool, mirror: str | None = None) -> str:
        """There is no image to pin."""
        return image

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        """Nobody here can say."""
        return None

    def here(self, image: str) -> str | None:
        """Nobody here can say."""
        return None
