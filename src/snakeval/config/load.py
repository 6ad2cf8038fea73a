"""From config files and command-line overrides to one checked `Config`.

Files are laid on top of each other key by key, as Snakemake does with several `--configfile`s;
then the overrides of `--config` are applied; then the typed model decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from snakeval.config.compose import missing, resolved, with_groups
from snakeval.config.deployment import (
    BROUGHT_UP,
    DemoDeployment,
    NoDeployment,
    ServerDeployment,
)
from snakeval.config.execution import LeptonExecution, LocalExecution, SlurmExecution
from snakeval.config.model import Config
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


@dataclass(frozen=True)
class Loaded:
    """A checked config, the mapping it was made from, and where it came from."""

    config: Config
    raw: dict[str, Any]
    files: tuple[Path, ...]
    overrides: Overrides = field(default_factory=Overrides)
    warnings: tuple[Problem, ...] = ()

    @property
    def base(self) -> Path:
        """Harness definitions name their files relative to the (last) config file's folder.

        `output_dir`, `dataset_dir` and mounts are relative to the working directory, as anywhere
        in Snakemake.
        """
        return self.files[-1].resolve().parent if self.files else Path.cwd()


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


def load(files: Sequence[str | Path], values: Mapping[str, Any]) -> Loaded:
    """Reads config files (later ones on top), applies `--config` values, checks everything.

    Raises InputError with every problem that was found.
    """
    overrides = parse_overrides(values)
    paths = tuple(Path(file) for file in files)
    layers = [(path, _read(path)) for path in paths]
    raw: dict[str, Any] = {}
    for path, layer in layers:
        merge(raw, with_groups(path, layer))
    raw.pop("defaults", None)
    typed: dict[str, Any] = {}
    if overrides.limit_samples is not None:
        params = "evaluation.nemo_evaluator_config.config.params"
        for mapping in (raw, typed):
            assign(mapping, f"{params}.limit_samples", overrides.limit_samples)
    for key, value in overrides.assignments:
        for mapping in (raw, typed):
            assign(mapping, key, value)
    if typed:  # an error in it is not told as one of the file
        layers.append((Path("--config set"), typed))
    raw, problems = resolved(raw, lambda loc: _where(loc, layers))
    if problems:
        raise InputError(problems)
    return Loaded(_checked(raw, layers), raw, paths, overrides, tuple(_warnings(raw, layers)))


def load_resolved(file: Path) -> Loaded:
    """Reads a config that an earlier start has written into its run folder."""
    return load([file], {})


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InputError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except yaml.YAMLError as error:
        raise InputError([Problem(str(path), f"is not YAML: {error}")]) from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InputError([Problem(str(path), "holds no mapping of keys to values")])
    return content


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


def _checked(raw: dict[str, Any], layers: list[tuple[Path, dict[str, Any]]]) -> Config:
    problems = [
        *missing(raw, lambda loc: _where(loc, layers)),
        *_older(raw, layers),
        *_cross_checks(raw, layers),
    ]
    told = {problem.where for problem in problems}
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        # What is ???, or of an older version, is told once and in the words above.
        found = [each for each in _from_pydantic(error, layers) if each.where not in told]
        raise InputError([*found, *problems]) from None
    if problems:
        raise InputError(problems)
    return config


def _older(raw: dict[str, Any], layers: list[tuple[Path, dict[str, Any]]]) -> Iterable[Problem]:
    """Keys of older versions of the launcher, and what is written now."""
    if _dig(raw, "execution", "env_vars") is not None:
        yield Problem(
            _where(("execution", "env_vars"), layers),
            "belongs to an older version",
            "write env_vars at the top level (for benchmarks) or deployment.env_vars (for the "
            "server)",
        )
    evaluation = raw.get("evaluation")
    places: list[tuple[tuple[int | str, ...], Any]] = [(("evaluation",), evaluation)]
    entries = _dig(raw, "evaluation", "tasks")
    if isinstance(entries, list):
        places += [(("evaluation", "tasks", index), entry) for index, entry in enumerate(entries)]
    for place, content in places:
        if isinstance(content, dict) and "overrides" in content:
            yield Problem(
                _where((*place, "overrides"), layers),
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


def _warnings(raw: dict[str, Any], layers: list[tuple[Path, dict[str, Any]]]) -> Iterable[Problem]:
    for keys, why in WITHOUT_MEANING.items():
        if _dig(raw, *keys):
            yield Problem(_where(keys, layers), f"has no meaning here: {why}", warning=True)
    destinations = _dig(raw, "execution", "auto_export", "destinations") or []
    for name in [*destinations, *(raw.get("export") or {})]:
        if name not in EXPORTS:
            yield Problem(
                _where(("export", name), layers),
                "this version cannot export there yet; `snakemake export_local` writes files",
                warning=True,
            )


def _cross_checks(
    raw: dict[str, Any], layers: list[tuple[Path, dict[str, Any]]]
) -> Iterable[Problem]:
    """What concerns two sections at once, so that it is told together with everything else."""
    endpoint = _dig(raw, "target", "api_endpoint") or {}
    deployment = _dig(raw, "deployment", "type") or "none"
    if deployment in BROUGHT_UP and not _dig(raw, "deployment", "served_model_name"):
        yield Problem(
            _where(("deployment", "served_model_name"), layers),
            "is missing",
            "write the name under which the server is to serve the model",
        )
    if not isinstance(endpoint, dict):
        return
    for key in ("url", "model_id"):
        given = endpoint.get(key) is not None
        where = _where(("target", "api_endpoint", key), layers)
        if deployment == "none" and not given:
            yield Problem(
                where,
                "is missing, and there is no deployment that could give it",
                "write the endpoint's whole URL"
                if key == "url"
                else "write the name under which the endpoint serves the model",
            )
        elif deployment != "none" and given:
            yield Problem(
                where,
                "comes from the deployment and cannot be given too",
                "leave it out, or set deployment.type to none",
            )


def _dig(mapping: Any, *keys: str) -> Any:
    for key in keys:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping


def _where(loc: Sequence[int | str], layers: list[tuple[Path, dict[str, Any]]]) -> str:
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


def _from_pydantic(
    error: ValidationError, layers: list[tuple[Path, dict[str, Any]]]
) -> Iterable[Problem]:
    for item in error.errors(include_url=False, include_context=True):
        loc = _without_tags(item["loc"])
        where = _where(loc, layers)
        kind = item["type"]
        if kind == "extra_forbidden":
            siblings = _fields_at(item["loc"][:-1])
            yield Problem(where, f"unknown key '{loc[-1]}'", nearest(str(loc[-1]), siblings))
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            tags = ALL_TYPES[str(loc[0])]
            given = item["input"].get("type") if isinstance(item["input"], dict) else None
            yield Problem(f"{where}.type", f"there is no type '{given}'", nearest(str(given), tags))
        elif kind == "missing":
            yield Problem(where, "is missing and must be given")
        elif kind == "value_error":
            yield Problem(where, str(item["ctx"]["error"]))
        else:
            yield Problem(
                where, f"{item['msg'][:1].lower()}{item['msg'][1:]}" + _shown(item.get("input"))
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
