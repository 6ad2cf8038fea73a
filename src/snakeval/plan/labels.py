"""What a benchmark is called where people read: its `label`, else its name, with the parameters in
which it differs from others of that name: `mmlu_instruct [num_fewshot=5]`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from snakeval.plan.run import Task

LONGEST = 24
"""Characters of a value."""


def labelled(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks with what they are called; no two in the same way."""
    groups: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        groups[task.benchmark.id].append(task)
    shown = {task: task.label or _told_apart(task, groups[task.benchmark.id]) for task in tasks}
    times = Counter(shown.values())
    return tuple(
        replace(task, label=shown[task] if times[shown[task]] == 1 else _with_folder(task, shown))
        for task in tasks
    )


def _with_folder(task: Task, shown: Mapping[Task, str]) -> str:
    """Of two that are called the same: the folder's name is another one for each."""
    return task.name if shown[task] == task.name else f"{shown[task]} ({task.name})"


def _told_apart(task: Task, group: Sequence[Task]) -> str:
    if len(group) == 1:
        return task.name
    own = dict(_leaves(_decides(task)))
    others = [dict(_leaves(_decides(each))) for each in group if each is not task]
    differs = {
        key: value for key, value in own.items() if any(each.get(key) != value for each in others)
    }
    said = ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in differs.items())
    return f"{task.benchmark.task} [{said}]" if said else task.benchmark.task


def _decides(task: Task) -> dict[str, Any]:
    """What may differ between two of one name."""
    found = {**task.params, "container": task.image, "endpoint_type": task.endpoint.type}
    return {key: value for key, value in found.items() if value is not None}


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
