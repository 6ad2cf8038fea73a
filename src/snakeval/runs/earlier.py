"""How many samples earlier runs of the same benchmark had, where nothing else says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from snakeval.job.files import mapping_in, read_json
from snakeval.run_folder.layout import RunPaths, TaskPaths, runs_in
from snakeval.run_folder.records import read_yaml

NEWEST = 20
"""Runs that are looked at."""

COUNT = ("task", "limit_samples", "extra")
"""Parameters that decide how many samples a benchmark has."""


def samples_of(run: RunPaths, task: TaskPaths) -> int | None:
    """Of the newest checked result that was asked for with as many; None where there is none."""
    wanted = _asked(read_yaml(task.spec))
    others = [each for each in runs_in(run.dir.parent)[-NEWEST:] if each.id != run.id]
    for other in reversed(others):
        for checked, spec in _checked(other.task(task.dir.name)):
            if _asked(spec) == wanted:
                count = checked.get("expected") or checked.get("scored")
                if isinstance(count, int) and count > 0:
                    return count
    return None


def _checked(task: TaskPaths) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The checks that have let a result pass, and what was asked for."""
    for file in (task.dir / "record").glob("*/check.json"):
        checked = read_json(file)
        if checked.get("passed") is True:
            yield checked, read_yaml(file.parent / "task.yaml")


def _asked(spec: dict[str, Any]) -> tuple[Any, ...]:
    params = mapping_in(spec, "params")
    return spec.get("benchmark"), *(params.get(name) for name in COUNT)
