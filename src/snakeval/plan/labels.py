"""What a benchmark is called wherever people read: its `label`, else its name, with the parameters
in which it differs from others of that name: `mmlu_instruct [num_fewshot=5]`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snakeval.plan.run import Task

LONGEST = 24
"""Characters of a value."""


@dataclass(frozen=True)
class Nameless:
    """What a benchmark's name is made of.

    label      what a person calls it; empty: nothing
    alone      its name where it has no variants
    base       its name before what tells variants apart
    benchmark  `harness.task`: those of one benchmark are variants of each other
    settings   what it is asked with
    spare      told beside a name that two would share
    """

    label: str
    alone: str
    base: str
    benchmark: str
    settings: Mapping[str, Any]
    spare: str


def names(benchmarks: Sequence[Nameless]) -> list[str]:
    """What each of some benchmarks is called; no two in the same way."""
    groups: dict[str, list[Nameless]] = defaultdict(list)
    for each in benchmarks:
        groups[each.benchmark].append(each)
    found = [each.label or _told_apart(each, groups[each.benchmark]) for each in benchmarks]
    times = Counter(found)
    return [
        name if times[name] == 1 or name == each.spare else f"{name} ({each.spare})"
        for each, name in zip(benchmarks, found, strict=True)
    ]


def labelled(tasks: Sequence[Task], of_model: str = "") -> tuple[Task, ...]:
    """The tasks of a run with what they are called."""
    found = names(
        [
            Nameless(
                task.own_label,
                task.name,
                task.benchmark.task,
                task.benchmark.id,
                dict(_leaves(_decides(task))),
                task.name,
            )
            for task in tasks
        ]
    )
    return tuple(
        replace(task, label=name, of_model=of_model)
        for task, name in zip(tasks, found, strict=True)
    )


def _told_apart(own: Nameless, group: Sequence[Nameless]) -> str:
    if len(group) == 1:
        return own.alone
    others = [each for each in group if each is not own]
    differs = {
        key: value
        for key, value in own.settings.items()
        if any(each.settings.get(key) != value for each in others)
    }
    said = ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in differs.items())
    return f"{own.base} [{said}]" if said else own.base


def _decides(task: Task) -> dict[str, Any]:
    """What may differ between two of one name."""
    found = {
        **task.params,
        "container": task.image,
        "endpoint_type": task.endpoint.type,
        **task.adapter_config,
    }
    return {key: value for key, value in found.items() if value is not None}


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
