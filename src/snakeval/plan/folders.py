"""The folder of each task of a run."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from snakeval.errors import Problem
from snakeval.plan.run import Task
from snakeval.run_folder import forms
from snakeval.run_folder.layout import RunPaths, TaskPaths


def in_folders(drafts: Sequence[Task], run: RunPaths) -> tuple[Task, ...]:
    """Gives every task its folder: `ifeval`, and `ifeval.1` for the same name again.

    A spec that has a work folder keeps it, so that a task listed before another one of the same
    name takes nobody's place.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, task in enumerate(drafts):
        groups[task.name].append(index)
    numbered = _numbered(run)
    names: dict[int, str] = {}
    for base, indexes in groups.items():
        candidates = [base] + [f"{base}.{number}" for number in range(1, len(indexes))]
        candidates += sorted(numbered[base] - set(candidates))
        if len(candidates) > 1:
            for index in indexes:
                for name in candidates:
                    if forms.found(
                        run.task(name), drafts[index].digest, drafts[index].earlier_digest
                    ):
                        names[index] = name
                        candidates.remove(name)
                        break
        for index in indexes:
            if index not in names:
                names[index] = candidates.pop(0)
    return tuple(_placed(task, run.task(names[index])) for index, task in enumerate(drafts))


def _placed(task: Task, paths: TaskPaths) -> Task:
    """The task in its folder, under the digest that its work has there."""
    there = forms.found(paths, task.digest, task.earlier_digest)
    return replace(task, name=paths.dir.name, paths=paths, digest=there or task.digest)


def _numbered(run: RunPaths) -> dict[str, set[str]]:
    """The folders `ifeval.1`, `ifeval.2`, ... that the run has, by the name before the number."""
    found: dict[str, set[str]] = defaultdict(set)
    with contextlib.suppress(OSError):
        for entry in run.dir.iterdir():
            base, dot, number = entry.name.rpartition(".")
            if dot and number.isdigit():
                found[base].add(entry.name)
    return found


def repeated(tasks: Sequence[Task]) -> Iterable[Problem]:
    """The same benchmark twice with the same spec would be paid for twice."""
    seen: dict[tuple[str, str], Task] = {}
    for task in tasks:
        first = seen.setdefault((task.benchmark.id, task.digest), task)
        if first is not task:
            yield Problem(
                task.where,
                f"'{task.benchmark.id}' is listed already, as evaluation.tasks.{first.number}, "
                "with the same parameters",
                "remove one, or give one other parameters",
            )
