"""What `--config` asks for, and how a value is laid over a mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snakeval.errors import InputError, Problem, count, nearest

RESERVED = {
    "run": "id, or its beginning, of the run that a utility target is about (`clean`: or all)",
    "base": "the run that `compare` and `gate` measure against: id, its beginning, or folder",
    "candidate": "the run that `compare` and `gate` are about: id, its beginning, or folder",
    "runs": "the runs that `leaderboard` shows: ids, their beginnings, or folders, with commas",
    "columns": "benchmarks that `leaderboard` shows, as `mmlu*` or `ifeval:metric`, with commas",
    "suite": "file (or its name in `config/suites`) for `leaderboard`, `compare` and `gate`",
    "policy": "the file of `config/policies` that `gate` decides by",
    "task": "the task that a utility target is about",
    "tasks": "evaluate only these tasks of the config, separated by commas",
    "limit_samples": "evaluate only the first N samples of each benchmark",
    "set": "[dotted.key=value, ...]: overrides any key of the config",
    "fresh": "start these tasks over and keep the old work folders",
    "replay_from": "a run, or a digest of a spec, whose stored answers are scored anew: what it "
    "has costs nothing, what it has not is asked",
    "new_run": "true: begin a fresh run folder",
    "update_images": "true: resolve image tags again, and evaluate again what was finished in "
    "another image than they mean now",
    "controller": "job: on Slurm the pipeline itself runs as a job, too",
    "harness": "a harness that `ls_tasks` is narrowed to",
    "match": "text that names listed by `ls_tasks` contain",
    "as": "json: what `ls_tasks`, `ls_task`, `show_config` and `clean` print, for programs",
    "image": "the evaluation image that `update_catalogue` reads",
    "output": "folder that `update_catalogue` writes a changed copy of the catalogue into",
    "lines": "lines that `logs` shows first",
    "yes": "true: `clean` removes what it shows",
    "watch": "true: `status` shows it anew until nothing is at work",
    "follow": "false: `logs` shows what is there and ends",
}
"""Keys of `--config` that belong to the pipeline: outside validation and identity."""


LIMIT = "evaluation.nemo_evaluator_config.config.params.limit_samples"
EXAMPLE = "write --config 'set=[target.api_endpoint.model_id=m]'"


@dataclass(frozen=True)
class Overrides:
    """What `--config` asks for."""

    tasks: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    limit_samples: int | None = None
    assignments: tuple[tuple[str, Any], ...] = ()
    replay_from: str = ""
    new_run: bool = False
    update_images: bool = False

    @property
    def all_assignments(self) -> Iterator[tuple[Path, str, Any]]:
        """What is laid over the config: who says it, the dotted key, the value."""
        if self.limit_samples is not None:
            yield Path("--config limit_samples"), LIMIT, self.limit_samples
        for key, value in self.assignments:
            yield Path("--config set"), key, value


def parse_overrides(values: Mapping[str, Any], problems: list[Problem]) -> Overrides:
    """Reads the mapping that Snakemake makes of `--config`: what of it can be read.

    problems  gets what cannot
    """
    sections = sections_of_config()
    problems += [_unknown(str(key)) for key in values if key not in RESERVED.keys() | sections]
    limit = values.get("limit_samples")
    if limit is not None and not (str(limit).isdecimal() and int(str(limit)) > 0):
        limit = None
        problems.append(
            Problem(
                "--config limit_samples",
                f"'{values['limit_samples']}' is not a whole number greater than 0",
                "write --config limit_samples=10",
            )
        )
    assignments: list[tuple[str, Any]] = []
    for name in sorted(sections & values.keys()):
        try:
            assignments += _leaves(name, values[name])
        except yaml.YAMLError:
            problems.append(
                Problem(
                    f"--config {name}",
                    "the value is not YAML",
                    f"write --config '{name}={{key: value}}', or set=[{name}.key=value]",
                )
            )
    for text in _words(values.get("set")):
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(Problem("--config set", f"'{_key_of(text)}' is not key=value", EXAMPLE))
            continue
        try:
            assignments.append((key.strip(), yaml.safe_load(value)))
        except yaml.YAMLError:
            problems.append(
                Problem(
                    "--config set",
                    f"the value of '{key.strip()}' is not YAML",
                    f"quote it: --config 'set=[{key.strip()}=\"...\"]'",
                )
            )
    for key in ("tasks", "fresh"):
        if key in values and not _words(values[key]):
            problems.append(
                Problem(
                    f"--config {key}", "does not name a task", f"write --config {key}=TASK,TASK"
                )
            )
    for key in ("new_run", "update_images"):
        if str(values.get(key, "false")).strip().lower() not in (*TRUE, *FALSE):
            problems.append(
                Problem(f"--config {key}", "must be true or false", f"write --config {key}=true")
            )
    return Overrides(
        tasks=tuple(_words(values.get("tasks"))),
        fresh=tuple(_words(values.get("fresh"))),
        limit_samples=None if limit is None else int(limit),
        assignments=tuple(assignments),
        replay_from=str(values.get("replay_from") or "").strip(),
        new_run=_truth(values.get("new_run")),
        update_images=_truth(values.get("update_images")),
    )


def sections_of_config() -> set[str]:
    """The top-level keys of a config file; `--config 'target={...}'` lays a value over one."""
    from snakeval.config.model import Config

    return set(Config.model_fields)


def _leaves(dotted: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The dotted keys of a mapping and their values. Snakemake hands braces over as text."""
    if isinstance(value, str) and value.strip().startswith("{"):
        value = yaml.safe_load(value)
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{dotted}.{key}", item)
    else:
        yield dotted, value


def _unknown(key: str) -> Problem:
    """A key of `--config` that is none of ours."""
    from snakeval.config.index import section_of
    from snakeval.config.model import Config

    section = section_of(key, (key,), Config).partition(" ")[0]
    dotted = f"{section}.{key}" if section else "dotted.key"
    near = nearest(key, list(RESERVED))
    fixes = [near.rstrip("?")] if near.startswith("did") else []
    fixes.append(f"a key of the config file is overridden with --config 'set=[{dotted}=...]'")
    return Problem("--config", f"unknown key '{key}'", "; ".join(fixes))


def _key_of(text: str) -> str:
    """What stands before a ':' (as YAML would have it): the rest may be a pasted secret."""
    return text.partition(":")[0].strip()


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


TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off", "none", "")


def _truth(value: Any) -> bool:
    return str(value).strip().lower() in TRUE


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
        if isinstance(here, list) and key.isdigit() and int(key) >= len(here):
            listed = ".".join(keys[:depth])
            raise InputError(
                [
                    Problem(
                        "--config set",
                        f"'{dotted}': {listed} has {count(len(here), 'entry', 'entries')}",
                        f"entries are counted from 0: {listed}.0 is the first",
                    )
                ]
            )
        if isinstance(here, list) and key.isdigit():
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
                        "write the whole value there: --config "
                        f"'set=[{'.'.join(keys[:depth])}=...]'",
                    )
                ]
            )
