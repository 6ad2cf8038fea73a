"""What is wrong with a config, in the words of the person who wrote it: file, key, cause, fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from snakeval.config.deployment import (
    BROUGHT_UP,
    OF_WEIGHTS,
    DemoDeployment,
    NoDeployment,
    ServerDeployment,
)
from snakeval.config.execution import LeptonExecution, LocalExecution, SlurmExecution
from snakeval.config.model import Config, TaskEntry
from snakeval.config.sections import NAME, prefix_of
from snakeval.errors import Problem, alike, nearest

Layers = Sequence[tuple[Path, dict[str, Any]]]
"""The config files, and what stands in each."""


def where(loc: Sequence[int | str], layers: Layers) -> str:
    """`file: key.path`; the file is the last one that has the longest part of the path."""
    path = [str(part) for part in loc]
    best, depth = (layers[-1][0] if layers else Path("--config")), -1
    for file, layer in layers:
        here: Any = layer
        reached = 0
        for part in loc:
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):
                break
            reached += 1
        if reached >= depth:
            best, depth = file, reached
    return f"{best}: {'.'.join(path)}" if path else str(best)


def dig(mapping: Any, *keys: str) -> Any:
    for key in keys:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping


def invalid(error: ValidationError, layers: Layers) -> Iterable[Problem]:
    """The model's objections, in words of ours."""
    for item in error.errors(include_url=False, include_context=True):
        loc, kind = _without_tags(item["loc"]), item["type"]
        given, context = item.get("input"), item.get("ctx", {})
        place = where(loc, layers)
        if kind == "extra_forbidden":
            noun = "parameter" if loc[-2:-1] == ("params",) else "key"
            yield Problem(place, f"unknown {noun} '{loc[-1]}'", _instead_of(item["loc"]))
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            yield _no_such_type(place, str(loc[0]), given)
        elif kind == "missing":
            yield Problem(place, "is missing and must be given", _needed(loc))
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


def _needed(loc: Sequence[int | str]) -> str:
    """What to write where a key is missing."""
    if tuple(loc) == ("evaluation",):
        return "name the benchmarks: evaluation: {tasks: [{name: TASK}]}"
    if tuple(loc) == ("evaluation", "tasks"):
        return "write `- name: TASK` below `tasks:`, once for each benchmark"
    choices = _choices_at(loc)
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
            near = alike(str(given.get("type")), ALL_TYPES[section])
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
        nearest(str(given.get("type")), ALL_TYPES[section]),
    )


def _instead_of(loc: tuple[int | str, ...]) -> str:
    """For an unknown key: the nearest one at its place, else where it belongs, else what is known
    at its place."""
    key = str(loc[-1])
    if key in ELSEWHERE and loc[-2:-1] != ("params",):
        return ELSEWHERE[key]
    near = nearest(key, _fields_at(loc[:-1]))
    section = section_of(key, _without_tags(loc))
    if len(loc) == 1 and section and key not in COMMON:
        return f"'{key}' belongs into {section}"
    if near.startswith("did"):
        return near
    if loc[-2:-1] == ("params",):
        return f"what only the harness knows goes into params.extra; {near}"
    if not section and key not in COMMON:
        section = section_of(key, loc[-1:])
    if section:
        return f"'{key}' belongs into {section}"
    return near or "docs/configuration.md lists the keys of every section"


COMMON = (
    *("name", "type", "description", "image", "command", "tasks", "config", "path", "samples"),
    *("timeout", "health", "task"),
)
"""Keys of so many sections that none of them is meant for certain."""

_OF_HARNESS = "what only the harness knows goes into nemo_evaluator_config.config.params.extra"
_OF_PROFILE = "the profile says it: default-resources: [container_runtime='podman']"
_OF_SERVER = "flags of the server's own go into extra_args: '--max-model-len 8192'"
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


def section_of(key: str, loc: Sequence[int | str]) -> str:
    """The section that a key belongs into which is unknown at its place: the nearest one, or ''."""
    from snakeval.reference.schema import sections_of

    places = [heading for heading, model in sections_of(Config) if key in model.model_fields]
    path = [str(part) for part in loc]

    def shared(heading: str) -> int:
        words = heading.replace("[]", ".0").partition(" ")[0].split(".")
        return next(
            (n for n, (a, b) in enumerate(zip(words, path, strict=False)) if a != b),
            min(len(words), len(path)),
        )

    def plain(heading: str) -> str:
        return re.sub(r" \(type [^)]*\)", "", heading)

    best = max(places, key=lambda place: (shared(place), -len(plain(place))), default="")
    if sum(plain(place) == plain(best) for place in places) == len(ALL_TYPES["execution"]):
        best = plain(best)  # of all types of execution
    return best if best and (len(path) == 1 or shared(best)) else ""


def _choices_at(loc: Sequence[int | str]) -> list[str]:
    """The values that the model allows at a place, where it names them."""
    parent: Any = Config
    for part in loc[:-1]:
        info = parent.model_fields.get(str(part)) if _is_model(parent) else None
        parent = _model_inside(info.annotation) if info else parent
    field = parent.model_fields.get(str(loc[-1])) if _is_model(parent) else None
    return [
        str(value)
        for value in getattr(field and field.annotation, "__args__", ())
        if isinstance(value, str)
    ]


ALL_TYPES = {
    "execution": ["local", "slurm", "lepton"],
    "deployment": ["none", "demo", *BROUGHT_UP],
}
TAGS = {("execution", tag) for tag in ALL_TYPES["execution"]} | {
    ("deployment", tag) for tag in ("none", "demo", "server")
}
"""Pydantic puts the chosen type of a section into the path of an error."""


def _without_tags(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return loc[:1] + loc[2:] if tuple(loc[:2]) in TAGS else loc


def _fields_at(loc: Sequence[int | str]) -> list[str]:
    """Names of the fields that the model knows at a place (with the tags of chosen types)."""
    model: Any = Config
    for depth, part in enumerate(loc):
        if isinstance(part, int):
            continue
        if tuple(loc[depth - 1 : depth + 1]) in TAGS and depth == 1:
            model = CHOSEN[str(loc[0]), str(part)]
            continue
        info = model.model_fields.get(str(part)) if _is_model(model) else None
        model = _model_inside(info.annotation) if info else model
    return sorted(model.model_fields) if _is_model(model) else []


CHOSEN: dict[tuple[str, str], type[BaseModel]] = {
    ("execution", "local"): LocalExecution,
    ("execution", "slurm"): SlurmExecution,
    ("execution", "lepton"): LeptonExecution,
    ("deployment", "none"): NoDeployment,
    ("deployment", "demo"): DemoDeployment,
    ("deployment", "server"): ServerDeployment,
}


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _model_inside(annotation: Any) -> Any:
    """The model in `Model`, `list[Model]`, `dict[str, Model]`, `Annotated[Model, ...]`."""
    if _is_model(annotation):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_inside(argument)
        if found is not None:
            return found
    return None


def older(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """Keys of older versions of the launcher, and what is written now."""
    if dig(raw, "execution", "env_vars") is not None:
        yield Problem(
            where(("execution", "env_vars"), layers),
            "belongs to an older version",
            "write env_vars at the top level (for benchmarks) or deployment.env_vars (for the "
            "server)",
        )
    endpoint = dig(raw, "target", "api_endpoint")
    if isinstance(endpoint, dict) and {"api_key", "api_key_name"} <= set(endpoint):
        yield Problem(
            where(("target", "api_endpoint", "api_key"), layers),
            "is the older name of api_key_name, which is given too",
            "take it out",
        )
    evaluation = raw.get("evaluation")
    places: list[tuple[tuple[int | str, ...], Any]] = [(("evaluation",), evaluation)]
    entries = dig(raw, "evaluation", "tasks")
    if isinstance(entries, list):
        places += [(("evaluation", "tasks", index), entry) for index, entry in enumerate(entries)]
    for place, content in places:
        if isinstance(content, dict) and "overrides" in content:
            yield Problem(
                where((*place, "overrides"), layers),
                "belongs to an older version",
                "write nemo_evaluator_config, for example "
                "nemo_evaluator_config.config.params.limit_samples",
            )


WITHOUT_MEANING = {
    ("execution", "hostname"): "the pipeline runs on the cluster's login node and needs no ssh",
    ("execution", "username"): "the pipeline runs as the user who starts it",
    ("execution", "subproject"): "folders are named after the run",
    ("execution", "auto_export", "launcher_install_cmd"): "exports run in this environment",
    ("execution", "auto_export", "export_image"): "exports run in this environment",
    ("execution", "auto_export", "export_mounts"): "exports run in this environment",
    ("execution", "lepton_platform", "deployment", "platform_defaults", "enable_rdma"): (
        "Lepton's SDK has no field for it"
    ),
    ("execution", "lepton_platform", "tasks", "api_tokens"): (
        "an endpoint's tokens are in deployment.lepton_config.api_tokens; without any it has one "
        "of its own"
    ),
    ("deployment", "lepton_config", "auto_scaler", "scale_down", "scale_from_zero"): (
        "Lepton's SDK has no field for it; with min_replicas: 0 the next request starts a replica"
    ),
}
"""Keys of the launcher that are accepted and do nothing here, and why."""


def warnings(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    for keys, why in WITHOUT_MEANING.items():
        if dig(raw, *keys):
            yield Problem(where(keys, layers), f"has no meaning here: {why}", warning=True)


def contradictions(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """What concerns two sections at once, so that it is told together with everything else."""
    entries = dig(raw, "evaluation", "tasks")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        key, *more = entry if isinstance(entry, dict) and entry else ("name",)
        slip = nearest(str(key), list(TaskEntry.model_fields)).startswith("did")
        if not more and not slip and key not in TaskEntry.model_fields:
            yield Problem(
                where(("evaluation", "tasks", index), layers),
                f"an entry with the one key '{key}' has no name",
                f"write `- name: {key}` and what belongs to it on lines below, indented alike",
            )
    endpoint = dig(raw, "target", "api_endpoint") or {}
    written = raw.get("deployment")
    deployment = written if isinstance(written, str) else dig(raw, "deployment", "type") or "none"
    if deployment in BROUGHT_UP and not dig(raw, "deployment", "served_model_name"):
        yield Problem(
            where(("deployment", "served_model_name"), layers),
            "is missing and must be given",
            "write the name under which the server is to serve the model",
        )
    yield from _two_models(("deployment",), raw.get("deployment"), layers)
    yield from _auxiliary(raw, layers)
    if not isinstance(endpoint, dict):
        return
    for key in ("url", "model_id"):
        given = endpoint.get(key) is not None
        place = where(("target", "api_endpoint", key), layers)
        if deployment == "none" and not given:
            yield Problem(
                place,
                "is missing, and there is no deployment that could give it",
                "write the endpoint's whole URL, such as https://host/v1/chat/completions"
                if key == "url"
                else "write the name under which the endpoint serves the model",
            )
        elif deployment != "none" and given:
            yield Problem(
                place,
                "comes from the deployment and cannot be given too",
                "leave it out, or set deployment.type to none",
            )


def _two_models(keys: tuple[str, ...], deployment: Any, layers: Layers) -> Iterable[Problem]:
    """Two models for one server: the one that was not meant would be evaluated, without a word."""
    named = [key for key in ("checkpoint_path", "hf_model_handle") if dig(deployment, key)]
    if len(named) > 1 and not deployment.get("command") and deployment.get("type") in OF_WEIGHTS:
        yield Problem(
            where((*keys, named[0]), layers),
            "is given beside hf_model_handle, and a server has one model",
            "leave one of them out, or write null for it",
        )


RESERVED_PREFIXES = ("SLURM", "PRIMARY", "MODEL", "SERVER")
"""Beginnings of variables that no auxiliary deployment can have."""


def _auxiliary(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """What is wrong with the names of auxiliary deployments."""
    given = raw.get("auxiliary_deployments")
    prefixes: dict[str, str] = {}
    for name, content in given.items() if isinstance(given, dict) else ():
        place = ("auxiliary_deployments", str(name))
        if not isinstance(content, dict) or content.get("type") not in BROUGHT_UP:
            continue
        if not content.get("served_model_name"):
            yield Problem(
                where((*place, "served_model_name"), layers),
                "is missing and must be given",
                "write the name under which the server is to serve its model",
            )
        yield from _two_models(place, content, layers)
        if not NAME.match(str(name)):
            yield Problem(
                where(place, layers),
                "the name becomes a folder's, and cannot",
                "write letters, digits, '-' and '_'",
            )
        prefix = prefix_of(str(name), str(content.get("env_prefix") or ""))
        if prefix in RESERVED_PREFIXES or name == "model":
            yield Problem(
                where(place, layers),
                f"'{name}' is reserved" if name == "model" else f"the prefix {prefix} is reserved",
                "give it another name, such as judge",
            )
        elif prefix in prefixes:
            yield Problem(
                where(place, layers),
                f"its variables would begin with {prefix}, as those of '{prefixes[prefix]}' do",
                f"write another env_prefix, such as {prefix}_2",
            )
        prefixes.setdefault(prefix, str(name))
