"""`-o key=value`, as the launcher's users write it, in the words of Snakemake's `--config`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from snakeval.config.overrides import RESERVED, sections_of_config
from snakeval.errors import InputError, Problem, nearest

EXAMPLE = "write -o target.api_endpoint.model_id=m, or -o limit_samples=10"


def as_values(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of `--config` that stand for `-o` words, the later over the earlier.

    Raises InputError, for all of them at once.
    """
    values: dict[str, Any] = {}
    assignments: list[str] = []
    problems: list[Problem] = []
    sections = sections_of_config() if overrides else set()
    for word in overrides:
        key, equals, value = word.lstrip("+").partition("=")
        if word.startswith("~"):
            fix = f"-o {key.lstrip('~')}=null takes its value away"
            problems.append(Problem(f"-o {word}", "a key cannot be deleted", fix))
        elif not equals or not key.strip():
            problems.append(Problem(f"-o {word.partition('=')[0]}", "is not key=value", EXAMPLE))
        elif key in RESERVED:
            values[key] = value
        elif "." not in key and key not in sections:
            fix = nearest(key, [*RESERVED, *sections])
            problems.append(Problem(f"-o {key}", f"unknown key '{key}'", fix or EXAMPLE))
        else:
            assignments.append(f"{key}={_whole(value)}")
    if problems:
        raise InputError(problems)
    if assignments:
        values["set"] = f"[{', '.join(assignments)}]"
    return values


def as_words(values: Mapping[str, Any]) -> list[str]:
    """The words after `--config`."""
    return [f"{key}={value}" for key, value in values.items()]


def _whole(value: str) -> str:
    """A value that stays one in `set=[...]`, where a comma begins the next."""
    if "," not in value or _is_wrapped(value):
        return value
    return json.dumps(value) if '"' not in value else f"'{value}'"


def _is_wrapped(value: str) -> bool:
    return (value[:1], value[-1:]) in (("[", "]"), ("{", "}"), ('"', '"'), ("'", "'"))
