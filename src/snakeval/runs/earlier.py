"""How many samples and answers earlier runs of the same benchmark had, where nothing else says how
much is to be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snakeval.job.files import mapping_in, read_json
from snakeval.run_folder.layout import RunPaths, TaskPaths, runs_in
from snakeval.run_folder.records import read_yaml

NEWEST = 20
"""Runs that are looked at."""

COUNT = ("task", "limit_samples", "extra")
"""Parameters that decide how many samples a benchmark has."""


@dataclass(frozen=True)
class Sizes:
    """Of a result. None: not known."""

    samples: int | None
    answers: int | None


def sizes_of(run: RunPaths, task: TaskPaths) -> Sizes | None:
    """Of the newest checked result that was asked for with as many; None where there is none. The
    other models of a sweep that is under way count as well."""
    wanted = _asked(read_yaml(task.spec))
    others = [each for each in runs_in(run.dir.parent)[-NEWEST:] if each.id != run.id]
    for other in reversed(others):
        for checked, spec in _checked(other.task(task.dir.name)):
            if _asked(spec) == wanted:
                totals = mapping_in(checked, "totals")
                found = Sizes(
                    _count(checked, "expected") or _count(checked, "scored"),
                    _count(totals, "answers") or _count(totals, "replayed"),
                )
                if found.samples or found.answers:
                    return found
    return None


def _count(told: Mapping[str, Any], name: str) -> int | None:
    found = told.get(name)
    return int(found) if isinstance(found, (int, float)) and found > 0 else None


def _checked(task: TaskPaths) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The checks that have let a result pass, and what was asked for."""
    for file in (task.dir / "record").glob("*/check.json"):
        checked = read_json(file)
        if checked.get("passed") is True:
            yield checked, read_yaml(file.parent / "task.yaml")


def _asked(spec: dict[str, Any]) -> tuple[Any, ...]:
    params = mapping_in(spec, "params")
    return spec.get("benchmark"), *(params.get(name) for name in COUNT)
