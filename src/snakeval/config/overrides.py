"""What `--config` asks for, and how a value is laid over a mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from snakeval.errors import InputError, Problem, nearest

RESERVED = {
    "run": "id, or its beginning, of the run that a utility target is about",
    "task": "the task that a utility target is about",
    "tasks": "evaluate only these tasks of the config, separated by commas",
    "limit_samples": "evaluate only the first N samples of each benchmark",
    "set": "[dotted.key=value, ...]: overrides any key of the config",
    "fresh": "start these tasks over and keep the old work folders",
    "new_run": "true: begin a fresh run folder",
    "update_images": "true: resolve image tags again",
    "harness": "a harness that `ls_tasks` is narrowed to",
    "match": "text that names listed by `ls_tasks` contain",
    "as": "json: what a utility target prints, for programs",
    "lines": "lines that `logs` shows first",
    "follow": "false: `logs` shows what is there and ends",
}
"""Keys of `--config` that belong to the pipeline: outside validation and identity."""


@dataclass(frozen=True)
class Overrides:
    """What `--config` asks for."""

    tasks: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    limit_samples: int | None = None
    assignments: tuple[tuple[str, Any], ...] = ()
    new_run: bool = False
    update_images: bool = False


def parse_overrides(values: Mapping[str, Any]) -> Overrides:
    """Reads the mapping that Snakemake makes of `--config`. Raises InputError."""
    problems = [
        Problem(
            "--config",
            f"unknown key '{key}'",
            f"{nearest(key, list(RESERVED))}; to override a key of the config file write "
            "--config 'set=[dotted.key=value]'",
        )
        for key in values
        if key not in RESERVED
    ]
    limit: int | None = None
    if "limit_samples" in values:
        try:
            limit = int(values["limit_samples"])
        except (TypeError, ValueError):
            problems.append(
                Problem(
                    "--config limit_samples",
                    f"'{values['limit_samples']}' is not a whole number",
                    "write --config limit_samples=10",
                )
            )
    assignments: list[tuple[str, Any]] = []
    for text in _words(values.get("set")):
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(
                Problem(
                    "--config set",
                    f"'{text}' is not key=value",
                    "write --config 'set=[target.api_endpoint.model_id=m]'",
                )
            )
            continue
        try:
            assignments.append((key.strip(), yaml.safe_load(value)))
        except yaml.YAMLError:
            problems.append(
                Problem(
                    "--config set",
                    f"the value of '{key.strip()}' is not YAML",
                    "write --config 'set=[target.api_endpoint.model_id=m]'",
                )
            )
    if problems:
        raise InputError(problems)
    return Overrides(
        tasks=tuple(_words(values.get("tasks"))),
        fresh=tuple(_words(values.get("fresh"))),
        limit_samples=limit,
        assignments=tuple(assignments),
        new_run=_truth(values.get("new_run")),
        update_images=_truth(values.get("update_images")),
    )


def _words(value: Any) -> list[str]:
    """`a,b`, `[a, b]` as text (Snakemake hands brackets over as text) or a list, as words."""
    if value is None:
        return []
    if isinstance(value, list):
        return [str(item) for item in value]
    text = str(value).strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    # A comma inside brackets or quotes belongs to the value.
    inside = r"\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'"
    parts = re.findall(rf"(?:{inside}|[^,])+", text)
    return [part.strip() for part in parts if part.strip()]


def _truth(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes", "on")


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lays `above` on top of `below`, mapping by mapping; lists and scalars are replaced."""
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            merge(below[key], value)
        else:
            below[key] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def assign(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets `a.b.0.c` in nested mappings and lists; missing mappings are made.

    Raises InputError where the path runs through something that has no keys.
    """
    here: Any = mapping
    keys = dotted.split(".")
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(here, list) and key.isdigit() and int(key) < len(here):
            if last:
                here[int(key)] = value
            else:
                here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                if here.get(key) is None:
                    here[key] = {}
                here = here[key]
        else:
            raise InputError(
                [
                    Problem(
                        "--config set",
                        f"'{dotted}' leads through '{'.'.join(keys[:depth])}', which has no keys",
                    )
                ]
            )
