"""What is wrong with a config, in the words of the person who wrote it: file, key, cause, fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from snakeval.config.index import (
    choices_at,
    fields_at,
    section_of,
    types_of,
    without_tags,
)
from snakeval.config.layers import Layers, where
from snakeval.config.model import Config
from snakeval.errors import Problem, alike, nearest


def invalid(
    error: ValidationError, layers: Layers, model: type[BaseModel] = Config
) -> Iterable[Problem]:
    """A model's objections, in words of ours."""
    for item in error.errors(include_url=False, include_context=True):
        loc, kind = without_tags(model, item["loc"]), item["type"]
        given, context = item.get("input"), item.get("ctx", {})
        place = where(loc, layers)
        if kind == "extra_forbidden":
            noun = "parameter" if loc[-2:-1] == ("params",) else "key"
            yield Problem(place, f"unknown {noun} '{loc[-1]}'", _instead_of(item["loc"], model))
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            yield _no_such_type(place, str(loc[0]), given)
        elif kind == "missing":
            yield Problem(place, "is missing and must be given", _needed(loc, model))
        elif kind == "fixable":
            yield Problem(place, context["what"], context["fix"])
        elif kind == "value_error":
            yield Problem(place, str(context["error"]))
        elif kind == "literal_error":
            yield Problem(
                place,
                f"must be {context['expected']}{_shown(given)}",
                _near_only(given, re.findall(r"'([^']*)'", context["expected"]))
                or f"write one of them: `{loc[-1]}: ...`",
            )
        else:
            what = MUST_BE.get(kind) or f"{item['msg'][:1].lower()}{item['msg'][1:]}"
            shown = "" if kind == "too_short" else _shown(given)
            yield Problem(place, what.format(**context) + shown, _shape(kind, loc, given))


MUST_BE = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} entry",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "invalid_key": "keys must be text",
}
"""Pydantic's types of errors, in words of ours."""


def _shown(value: Any) -> str:
    """The offending value, if it is short and not text (text may be a pasted secret)."""
    if isinstance(value, bool):
        return f" (found {str(value).lower()})"
    if isinstance(value, int | float):
        return f" (found {value!r})"
    kinds = {str: "text", list: "a list", dict: "a mapping", type(None): "nothing"}
    return f" (found {kinds.get(type(value), type(value).__name__)})"


def _shape(kind: str, loc: Sequence[int | str], given: Any = None) -> str:
    """How a value of the wanted shape is written at a place."""
    key = next((part for part in reversed(loc) if isinstance(part, str)), "")
    if loc[:1] == ("models",) and len(loc) == 2:
        return (
            "write `- deployment: {checkpoint_path: ..., served_model_name: ...}`, "
            "or `- target: {api_endpoint: {model_id: ...}}`"
        )
    if kind == "string_type" and "env_vars" in loc[:-1]:
        return f"write {key}: host:NAME (a variable of this machine), or {key}: lit:text"
    if kind == "string_type" and isinstance(given, int | float):
        return f"put it in quotes: {key}: '{str(given).lower()}'"
    if loc[:2] == ("evaluation", "tasks") and len(loc) <= 3:
        return "write `- name: TASK` below `tasks:`, once for each benchmark"
    if kind in ("dict_type", "model_type"):
        entry = "NAME: host:NAME" if key == "env_vars" else "key: value"
        return f"write `{entry}`, indented, on the lines below `{key}:`"
    if kind == "list_type":
        return f"write `- value` on lines below `{key}:`"
    return ""


def _needed(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """What to write where a key is missing."""
    if loc == ("evaluation",):
        return "name the benchmarks: evaluation: {tasks: [{name: TASK}]}"
    if loc == ("evaluation", "tasks"):
        return "write `- name: TASK` below `tasks:`, once for each benchmark"
    choices = choices_at(model, loc)
    return f"write one of {', '.join(choices)}" if choices else f"write `{loc[-1]}: ...`"


def _near_only(given: Any, candidates: Sequence[str]) -> str:
    """The nearest candidate where there is one (the others stand in the message already)."""
    near = nearest(given, candidates) if isinstance(given, str) else ""
    return near if near.startswith("did") else ""


def as_meant(raw: dict[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """A config in which a type that does not exist is the one that was meant; None where nobody
    can tell."""
    meant = dict(raw)
    for item in error.errors(include_url=False, include_context=True):
        section, given = str(item["loc"][0]), item.get("input")
        if item["type"] == "union_tag_invalid" and isinstance(given, dict):
            near = alike(str(given.get("type")), types_of(Config)[section])
            if len(near) == 1:
                meant[section] = {**given, "type": near[0]}
    return meant if meant != raw else None


def _no_such_type(place: str, section: str, given: Any) -> Problem:
    if not isinstance(given, dict):
        return Problem(
            place,
            f"must be a mapping of keys to values{_shown(given)}",
            _shape("dict_type", [section]),
        )
    return Problem(
        f"{place}.type",
        f"there is no type '{given.get('type')}'",
        nearest(str(given.get("type")), types_of(Config)[section]),
    )


def _instead_of(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """For an unknown key: the nearest one at its place, else where it belongs, else what is known
    at its place."""
    key = str(loc[-1])
    if key in ELSEWHERE and loc[-2:-1] != ("params",):
        return ELSEWHERE[key]
    near = nearest(key, fields_at(model, loc[:-1]))
    section = section_of(key, without_tags(model, loc), model)
    if len(loc) == 1 and section and key not in COMMON:
        return f"'{key}' belongs in {section}"
    if near.startswith("did"):
        return near
    if loc[-2:-1] == ("params",):
        return f"parameters that only the harness knows go into params.extra; {near}"
    if not section and key not in COMMON:
        section = section_of(key, loc[-1:], model)
    if section:
        return f"'{key}' belongs in {section}"
    return near or "docs/configuration.md lists the keys of every section"


COMMON = (
    *("name", "type", "description", "image", "command", "tasks", "config", "path", "samples"),
    *("timeout", "health", "task"),
)
"""Keys of so many sections that none of them is meant for certain."""

_OF_HARNESS = (
    "parameters that only the harness knows go into nemo_evaluator_config.config.params.extra"
)
_OF_PROFILE = "set it in the profile: default-resources: [container_runtime='podman']"
_OF_SERVER = "the server's own flags go into extra_args: '--max-model-len 8192'"
ELSEWHERE = {
    "container_runtime": _OF_PROFILE,
    "runtime": _OF_PROFILE,
    "num_fewshot": _OF_HARNESS,
    "batch_size": _OF_HARNESS,
    "system_instruction": _OF_HARNESS,
    "max_model_len": _OF_SERVER,
    "max_num_seqs": _OF_SERVER,
    "dtype": _OF_SERVER,
    "quantization": _OF_SERVER,
}
"""Words that people write and that are no key anywhere: how the same thing is said."""
