"""Which benchmarks are meant by their names: in a config, in `--config tasks=` and `fresh=`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snakeval.config.layers import dig, where
from snakeval.config.load import InvalidConfig
from snakeval.config.model import HarnessDefinition, TaskEntry
from snakeval.config.overrides import Overrides
from snakeval.errors import InputError, Problem, nearest
from snakeval.plan.catalogue import with_own
from snakeval.plan.endpoint import ends_early
from snakeval.plan.run import Task, name_key


def chosen_of(tasks: Sequence[Task], names: Sequence[str], key: str) -> tuple[Task, ...]:
    """The tasks that `--config tasks=` or `fresh=` names: by folder, label, `task` or
    `harness.task`."""
    picked: list[Task] = []
    problems = []
    labels = {task.label for task in tasks}
    for name in names:
        found = [task for task in tasks if name in (task.name, task.label, task.benchmark.id)] or [
            task for task in tasks if name == task.benchmark.task
        ]
        if not found:
            known = sorted({*(task.name for task in tasks), *labels})
            problems.append(_no_task(name, key, known))
        picked += [task for task in found if task not in picked]
    if problems:
        raise InputError(problems)
    return tuple(picked)


def _no_task(name: str, key: str, known: Sequence[str]) -> Problem:
    return Problem(f"--config {key}", f"the config has no task '{name}'", nearest(name, known))


def asked_in_vain(overrides: Overrides, names: Sequence[str]) -> Iterator[Problem]:
    """What `tasks=` and `fresh=` name and a config does not, which has other mistakes too: only
    what is nothing like a benchmark of it, as their folders and labels are not known then."""
    ends = [name.rpartition(".")[2] for name in names]
    for key in ("tasks", "fresh"):
        for name in getattr(overrides, key):
            base = re.sub(r"\.\d+$| \[.*\]$| \(.*\)$", "", name)
            if base.rpartition(".")[2] not in ends and base not in names:
                yield _no_task(name, key, sorted({*names, *ends}))


def names_in(raw: Mapping[str, Any]) -> list[str]:
    """Names and labels of the benchmarks in a config that has mistakes."""
    entries = dig(raw, "evaluation", "tasks")
    found = []
    for entry in entries if isinstance(entries, list) else []:
        said = [entry.get("name"), entry.get("label")] if isinstance(entry, dict) else [entry]
        found += [name for name in said if isinstance(name, str)]
    return found


def unknown_benchmarks(invalid: InvalidConfig, catalogue_dir: Path) -> Iterable[Problem]:
    """Benchmarks that nobody knows, and a URL that is none for those that are known, of a config
    that has other mistakes too."""
    own, entries = invalid.raw.get("harnesses"), dig(invalid.raw, "evaluation", "tasks")
    if own is not None and not isinstance(own, dict):
        return
    try:
        definitions = {
            str(name): HarnessDefinition.model_validate(body) for name, body in (own or {}).items()
        }
    except ValidationError:  # a name may mean one of its benchmarks
        return
    catalogue = with_own(catalogue_dir, definitions, Path())
    layers = invalid.layers
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        name = dig(entry, "name") if isinstance(entry, dict) else entry
        image = dig(entry, "container")
        if isinstance(name, str):
            named = TaskEntry.model_construct(
                name=name, container=image if isinstance(image, str) else None
            )
            try:
                benchmark = catalogue.find(named, where(name_key(number), layers))
            except InputError as error:
                yield from error.problems
                continue
            url = dig(invalid.raw, "target", "api_endpoint", "url")
            if problem := ends_early(url, benchmark, benchmark.details.endpoint_type, layers):
                yield problem
