"""What is wrong with a config, in the words of the person who wrote it: file, key, cause, fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from snakeval.config.deployment import (
    BROUGHT_UP,
    DemoDeployment,
    NoDeployment,
    ServerDeployment,
)
from snakeval.config.execution import LeptonExecution, LocalExecution, SlurmExecution
from snakeval.config.model import Config
from snakeval.errors import Problem, nearest

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
    return f"{best}: {'.'.join(path)}"


def dig(mapping: Any, *keys: str) -> Any:
    for key in keys:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping


def invalid(error: ValidationError, layers: Layers) -> Iterable[Problem]:
    for item in error.errors(include_url=False, include_context=True):
        loc = _without_tags(item["loc"])
        place = where(loc, layers)
        kind = item["type"]
        if kind == "extra_forbidden":
            siblings = _fields_at(item["loc"][:-1])
            yield Problem(place, f"unknown key '{loc[-1]}'", nearest(str(loc[-1]), siblings))
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            tags = ALL_TYPES[str(loc[0])]
            given = item["input"].get("type") if isinstance(item["input"], dict) else None
            yield Problem(f"{place}.type", f"there is no type '{given}'", nearest(str(given), tags))
        elif kind == "missing":
            yield Problem(place, "is missing and must be given")
        elif kind == "value_error":
            yield Problem(place, str(item["ctx"]["error"]))
        else:
            yield Problem(
                place, f"{item['msg'][:1].lower()}{item['msg'][1:]}" + _shown(item.get("input"))
            )


def _shown(value: Any) -> str:
    """The offending value, if it is short and not text (text may be a pasted secret)."""
    if isinstance(value, bool | int | float) or value is None:
        return f" (found {value!r})"
    return f" (found {'text' if isinstance(value, str) else type(value).__name__})"


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
}
"""Keys of the launcher that are accepted and do nothing here, and why."""

EXPORTS = ("local",)
"""Destinations that exist."""


def warnings(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    for keys, why in WITHOUT_MEANING.items():
        if dig(raw, *keys):
            yield Problem(where(keys, layers), f"has no meaning here: {why}", warning=True)
    destinations = dig(raw, "execution", "auto_export", "destinations") or []
    for name in [*destinations, *(raw.get("export") or {})]:
        if name not in EXPORTS:
            yield Problem(
                where(("export", name), layers),
                "this version cannot export there yet; `snakemake export_local` writes files",
                warning=True,
            )


def contradictions(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """What concerns two sections at once, so that it is told together with everything else."""
    endpoint = dig(raw, "target", "api_endpoint") or {}
    deployment = dig(raw, "deployment", "type") or "none"
    if deployment in BROUGHT_UP and not dig(raw, "deployment", "served_model_name"):
        yield Problem(
            where(("deployment", "served_model_name"), layers),
            "is missing",
            "write the name under which the server is to serve the model",
        )
    if not isinstance(endpoint, dict):
        return
    for key in ("url", "model_id"):
        given = endpoint.get(key) is not None
        place = where(("target", "api_endpoint", key), layers)
        if deployment == "none" and not given:
            yield Problem(
                place,
                "is missing, and there is no deployment that could give it",
                "write the endpoint's whole URL"
                if key == "url"
                else "write the name under which the endpoint serves the model",
            )
        elif deployment != "none" and given:
            yield Problem(
                place,
                "comes from the deployment and cannot be given too",
                "leave it out, or set deployment.type to none",
            )
