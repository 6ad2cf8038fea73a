"""What else differs between two runs: config, images, versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from snakeval.compare.model import Changed
from snakeval.config.secrets import without
from snakeval.job.files import mapping_in, read_json
from snakeval.plan.run import Run

NO_CONFIG = ("execution.output_dir", "export")
"""Keys that say where results go."""


def changes(base: Run, candidate: Run) -> Iterator[Changed]:
    """What differs in config, images and versions."""
    one, other = dict(_described(base)), dict(_described(candidate))
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield Changed(key, one.get(key), other.get(key))


def _described(run: Run) -> Iterator[tuple[str, Any]]:
    raw = json.loads(json.dumps(without(run.raw, run.secrets), default=str))
    tasks = raw.get("evaluation", {}).pop("tasks", [])
    for key, value in flat(raw):
        if not key.startswith(NO_CONFIG):
            yield key, value
    for entry, task in zip(tasks, run.tasks, strict=True):
        body = (
            {key: value for key, value in entry.items() if key != "name"}
            if isinstance(entry, dict)
            else {}
        )
        for key, value in flat(body):
            yield f"evaluation.tasks.{task.name}.{key}", value
    record = read_json(run.paths.record)
    images = mapping_in(record, "images")
    for task in run.tasks:
        if task.image:
            yield f"image of {task.name}", images.get(task.image, task.image)
    start = mapping_in(record, "last_start")
    yield "snakeval", mapping_in(start, "versions").get("snakeval")
    yield "git revision of the pipeline", start.get("revision")


def flat(content: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; lists are values."""
    for key, value in content.items():
        dotted = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            yield from flat(value, dotted)
        elif value not in (None, {}, []):
            yield dotted, value
