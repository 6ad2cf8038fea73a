"""Which benchmarks there are, and which harness runs each.

Three sources: the NeMo evaluation images (`config/catalogue/nemo_*.csv`, facts taken from the
catalogue of the NeMo Evaluator Launcher 0.2.6), harness files of ours (`config/catalogue/*.yaml`)
and the `harnesses` of the user's own config. Plain lm-eval takes any task it knows: `lm_eval.TASK`.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import yaml

from snakeval.config.model import EndpointType, HarnessDefinition, TaskDefinition, TaskEntry
from snakeval.config.sections import NAME
from snakeval.errors import InputError, Problem, nearest
from snakeval.run_folder.layout import RUN_FOLDER_NAMES

PLAIN_LM_EVAL = "lm_eval"
"""The harness whose task names are not listed here: it is asked for them."""

FACTS = "facts"
"""Folder of the catalogue with what is known of each harness's results."""
TRUST_UNLISTED = "NEMO_EVALUATOR_TRUST_UNLISTED_TASKS"
"""The launcher's variable for tasks that no list has."""

CUSTOM = "custom"
"""The harness of a task that is not in the catalogue and brings its own `container`."""


@dataclass(frozen=True)
class Benchmark:
    """One task of one harness. `base`: folder that the definition's relative paths start from."""

    harness: str
    task: str
    definition: HarnessDefinition
    details: TaskDefinition
    base: Path
    own: bool = False
    """Defined in the user's config: its definition is part of what decides the result."""
    unlisted: bool = False
    """Of a harness that is known, which is not known to have it."""

    @property
    def id(self) -> str:
        return f"{self.harness}.{self.task}"

    @property
    def eval_type(self) -> str:
        return self.details.eval_type or self.task

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of this benchmark's results (`job/result_formats/facts.py`); {}: nothing.

        What a task says replaces what its harness says.
        """
        if self.own or self.definition.kind != "nemo" or not self.base.name:
            return {}
        known = _facts(self.base / FACTS / f"{self.harness}.yaml")
        of_task = known.get("tasks", {}).get(self.task) or {}
        return {key: value for key, value in {**known, **of_task}.items() if key != "tasks"}

    def endpoint_type(self, entry: TaskEntry) -> EndpointType:
        return entry.endpoint_type or self.details.endpoint_type

    def folder(self, relative: str | None) -> Path | None:
        """The absolute path of a folder that the definition names, or None."""
        return None if relative is None else (self.base / Path(relative).expanduser()).resolve()


class Catalogue:
    """All benchmarks by harness; names are looked up as the launcher does."""

    def __init__(self) -> None:
        self._harnesses: dict[str, tuple[HarnessDefinition, Path, bool]] = {}
        self._by_task: dict[str, list[str]] = defaultdict(list)

    def copy(self) -> Catalogue:
        """One that is added to without changing this one."""
        other = Catalogue()
        other._harnesses = dict(self._harnesses)
        other._by_task = defaultdict(list, {task: [*has] for task, has in self._by_task.items()})
        return other

    def add(self, name: str, definition: HarnessDefinition, base: Path, own: bool = False) -> None:
        """Adds a harness; one of the user's own takes the place of one of ours."""
        if name in self._harnesses:
            for harnesses in self._by_task.values():
                if name in harnesses:
                    harnesses.remove(name)
        self._harnesses[name] = (definition, base, own)
        for task in definition.tasks:
            self._by_task[task].append(name)

    @property
    def benchmarks(self) -> list[Benchmark]:
        return [
            self._benchmark(harness, task)
            for harness, (definition, _, _) in sorted(self._harnesses.items())
            for task in sorted(definition.tasks)
        ]

    @property
    def harnesses(self) -> dict[str, HarnessDefinition]:
        """All harnesses by name, in the order of their names."""
        return {name: definition for name, (definition, _, _) in sorted(self._harnesses.items())}

    def find(self, entry: TaskEntry, where: str) -> Benchmark:
        """The benchmark that an entry of `evaluation.tasks` names. Raises InputError."""
        harness, dot, task = entry.name.rpartition(".")
        _check_name(entry.name, where)
        if dot and harness in self._harnesses:
            definition = self._harnesses[harness][0]
            if task in definition.tasks or harness == PLAIN_LM_EVAL:
                return self._benchmark(harness, task)
            if not entry.container:
                return self._unlisted(entry, where, harness, task)
        found = self._by_task.get(entry.name, []) if not dot else []
        if len(found) == 1:
            return self._benchmark(found[0], entry.name)
        if found:
            names = ", ".join(f"{name}.{entry.name}" for name in sorted(found))
            what = f"'{entry.name}' is a task of several harnesses"
            raise _unknown(where, what, f"write one of {names}")
        if entry.container:
            definition = HarnessDefinition(kind="nemo", image=entry.container)
            details = _of_an_image(entry)
            return Benchmark(harness or CUSTOM, task, definition, details, Path())
        near = self._near(entry.name, harness if dot else "")
        raise _unknown(where, f"there is no benchmark '{entry.name}'", near)

    def _unlisted(self, entry: TaskEntry, where: str, harness: str, task: str) -> Benchmark:
        """A task that a harness is not known to have: its image may know it, by `harness.task`.

        One that looks like a slip has to be insisted on, by the launcher's own variable.
        """
        definition, base, own = self._harnesses[harness]
        near = nearest(task, sorted(definition.tasks))
        if definition.kind == "nemo" and (not near or os.environ.get(TRUST_UNLISTED) == "1"):
            return Benchmark(harness, task, definition, _of_an_image(entry), base, own, True)
        what = f"harness '{harness}' has no task '{task}'"
        if near and definition.kind == "nemo":
            near += f" (if its image has this one, too: export {TRUST_UNLISTED}=1)"
        raise _unknown(where, what, near)

    def _near(self, name: str, harness: str) -> str:
        if harness:
            close = nearest(harness, sorted(self._harnesses))
            if close:
                return f"harness: {close}"
            same = sorted(self._by_task.get(name.rpartition(".")[2], []))
            if same:
                return "write " + " or ".join(f"{each}.{name.rpartition('.')[2]}" for each in same)
        return nearest(name, sorted(self._by_task)) or (
            "`snakemake ls_tasks` lists them; for a task of your own give its `container`, "
            "or declare it under `harnesses`"
        )

    def _benchmark(self, harness: str, task: str) -> Benchmark:
        definition, base, own = self._harnesses[harness]
        details = definition.tasks.get(task) or TaskDefinition()
        return Benchmark(harness, task, definition, details, base, own)


def _of_an_image(entry: TaskEntry) -> TaskDefinition:
    """A task that only its image knows. The core takes `harness.task` for any task of a harness,
    and fills in that harness's defaults; a bare name it looks for among its own."""
    return TaskDefinition(endpoint_type=entry.endpoint_type or "chat", eval_type=entry.name)


def _unknown(where: str, what: str, fix: str) -> InputError:
    return InputError([Problem(where, what, fix)])


def _check_name(name: str, where: str) -> None:
    """Raises InputError for a name that cannot be a task, or not the name of its folder."""
    if name.count(".") > 1:
        what = f"'{name}' has more than one dot"
        raise _unknown(where, what, "write `task` or `harness.task`")
    task = name.rpartition(".")[2]
    if not NAME.match(task) or task in RUN_FOLDER_NAMES:
        raise _unknown(
            where,
            f"'{task}' cannot be the name of a folder in the run folder",
            "letters, digits, '_', '-' and '+', and none of " + ", ".join(sorted(RUN_FOLDER_NAMES)),
        )


@lru_cache(maxsize=64)
def _facts(path: Path) -> dict[str, Any]:
    """A facts file; read where a task of its harness is looked at, not at every start."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return content


@lru_cache(maxsize=1)
def shipped(folder: Path) -> Catalogue:
    """The catalogue that comes with the pipeline; `folder` is `config/catalogue`."""
    catalogue = Catalogue()
    for name, definition in _nemo(folder).items():
        catalogue.add(name, definition, folder)
    for path in sorted(folder.glob("*.yaml")):
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        for name, body in content["harnesses"].items():
            catalogue.add(name, HarnessDefinition.model_validate(body), folder)
    return catalogue


def with_own(folder: Path, own: dict[str, HarnessDefinition], base: Path) -> Catalogue:
    """The shipped catalogue and the harnesses of a config file that lies in `base`."""
    if not own:
        return shipped(folder)
    catalogue = shipped(folder).copy()
    for name, definition in own.items():
        catalogue.add(name, definition, base, own=True)
    return catalogue


def _nemo(folder: Path) -> dict[str, HarnessDefinition]:
    """The harnesses of the NeMo images.

    The rows are ours and checked by a test, so they are not validated again at every start.
    """
    tasks: dict[str, dict[str, TaskDefinition]] = defaultdict(dict)
    needs = {(row["harness"], row["task"]): row for row in _rows(folder / "nemo_needs.csv")}
    for row in _rows(folder / "nemo_tasks.csv"):
        known = needs.get((row["harness"], row["task"]), {})
        tasks[row["harness"]][row["task"]] = TaskDefinition.model_construct(
            endpoint_type=cast(EndpointType, row["endpoint_types"]),
            samples=None,
            eval_type=row["eval_type"] or None,
            needs=row["required_capabilities"],
            variables=_variables(known.get("variables")),
            gated_dataset=known.get("gated_dataset", ""),
            description="",
        )
    return {
        row["harness"]: HarnessDefinition.model_construct(
            kind="nemo",
            image=row["image"],
            tasks=tasks[row["harness"]],
            include_path=None,
            command=None,
            files=None,
            uses=None,
            results="results.yml",
            samples=None,
            format="nemo",
            description=row["full_name"],
            higher_is_better={
                pattern: higher
                for column, higher in (("lower_is_better", False), ("higher_is_better", True))
                for pattern in row[column].split()
            },
            score_range={},
        )
        for row in _rows(folder / "nemo_harnesses.csv")
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _variables(text: str | None) -> list[str] | None:
    """`none` is known to need none; a task without a row is unknown."""
    return None if text is None else [] if text == "none" else text.split()
