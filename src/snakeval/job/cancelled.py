"""The mark that a task is not to come back in a start; who cancels a task leaves it."""

from __future__ import annotations

from pathlib import Path

from . import files
from .paths import TaskPaths


def mark(task_dir: Path, start: str) -> None:
    """Notes that a task is not to come back in a start."""
    files.write_atomically(TaskPaths(task_dir).cancelled, start + "\n")


def marked(task_dir: Path, start: str) -> bool:
    """Whether a task is not to come back in this start."""
    try:
        return TaskPaths(task_dir).cancelled.read_text(encoding="utf-8").split() == [start]
    except OSError:
        return False
