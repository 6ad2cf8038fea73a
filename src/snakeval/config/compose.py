"""`defaults:` groups and `${...}` interpolation, as the launcher's config files use them.

Hydra composes the groups, OmegaConf resolves; both are imported only for files that need them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from snakeval.config.read import not_yaml
from snakeval.config.secrets import allowed, from_the_environment
from snakeval.errors import InputError, Problem, nearest

Keys = tuple[int | str, ...]

MISSING = "???"
"""A value that the user must give."""

SHELL_SECTIONS = ("harnesses",)
"""Sections of ours with shell commands, in which `${...}` is the shell's."""

GROUPS = Path(__file__).resolve().parents[3] / "config"
"""The folder with the groups `execution/` and `deployment/`; one beside the file comes first."""


def with_groups(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content of a config file with what its `defaults` name laid below it.

    Raises InputError for a group or an entry that does not exist.
    """
    if "defaults" not in content:
        return content
    if not isinstance(content["defaults"], list):
        fix = "write `- execution: local` lines below `defaults:`, and `- _self_` last"
        raise InputError([Problem(f"{path}: defaults", "must be a list of groups", fix)])
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = str(path.resolve().parent)
            with initialize_config_dir(config_dir=folder, version_base="1.3"):
                composed = compose(path.name, overrides=[f"hydra.searchpath=[file://{GROUPS}]"])
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError([_problem(path, error)]) from None
    except yaml.YAMLError as error:  # Hydra's parser takes less than the one that has read it
        raise not_yaml(path, error) from None
    found = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _problem(path: Path, error: Exception) -> Problem:
    """Hydra's message in one line, without its search path."""
    text = " ".join(str(error).split())
    absent = re.search(r"Could not find '([^']+)'", text)
    text = (
        f"there is no group '{absent.group(1)}'" if absent else text.partition(" Config search")[0]
    )
    there = sorted(
        f"{group}: {file.relative_to(GROUPS / group).with_suffix('')}"
        for group in ("execution", "deployment")
        for file in (GROUPS / group).rglob("*.yaml")
    )
    return Problem(f"{path}: defaults", text, "groups that come along: " + ", ".join(there))


def resolved(
    raw: dict[str, Any], model: type[BaseModel], where: Callable[[Sequence[int | str]], str]
) -> tuple[dict[str, Any], list[Problem]]:
    """The mapping with every `${...}` replaced, and every one that cannot be, as problems.

    where  the file and key of a path, for the message
    """
    interpolated = {key: value for key, value in raw.items() if key not in SHELL_SECTIONS}
    problems = [] if allowed(raw) else list(from_the_environment(_leaves(raw), model, where))
    texts = (value for _, value in _leaves(interpolated) if isinstance(value, str))
    if problems or not any("${" in text for text in texts):
        return raw, problems
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    OmegaConf.register_new_resolver("select_not_null", _select_not_null, replace=True)
    for path, value in _leaves(interpolated):
        if isinstance(value, str) and "${" in value:
            try:
                OmegaConf.create({"value": value})
            except OmegaConfBaseException:
                what = f"'{value}' is not a valid interpolation"
                fix = "write ${a.key}, or \\${...} where the text itself is meant"
                problems.append(Problem(where(path), what, fix))
    if problems:
        return raw, problems
    config = OmegaConf.create(interpolated)
    for path, value in _leaves(interpolated):
        if not isinstance(value, str) or "${" not in value:
            continue
        try:
            found: Any = config
            for key in path:
                found = found[key]
            if OmegaConf.is_config(found):
                found = OmegaConf.to_container(found, resolve=True)
        except (OmegaConfBaseException, ValueError) as error:
            problems.append(_unresolved(where(path), value, error, interpolated))
            continue
        _put(raw, path, found)
    return raw, problems


def _unresolved(place: str, value: str, error: Exception, raw: dict[str, Any]) -> Problem:
    """Why OmegaConf cannot replace a `${...}`, and what to write."""
    said = _first_line(error)
    if found := re.search(r"Interpolation key '([^']+)' not found", said):
        keys = [".".join(map(str, path)) for path, _ in _leaves(raw)]
        return Problem(
            place,
            f"'{value}': there is no key '{found.group(1)}'",
            nearest(found.group(1), keys) or "write the whole path of a key: ${section.key}",
        )
    if found := re.search(r"Environment variable '([^']+)' not found", said):
        name = found.group(1)
        fix = f"export {name}=..., or give a default: ${{oc.env:{name},DEFAULT}}"
        return Problem(place, f"'{value}': the variable {name} is not set", fix)
    if found := re.search(r"Unsupported interpolation type (\S+)", said):
        return Problem(
            place,
            f"'{value}': there is no resolver '{found.group(1)}'",
            "possible: ${a.key}, ${oc.env:VARIABLE}, ${select_not_null:a.key,b.key}",
        )
    if "Recursive" in said:
        return Problem(
            place, f"'{value}' refers back to itself", "write a value in one of the places"
        )
    return Problem(place, f"'{value}' cannot be resolved: {said}")


def _select_not_null(*keys: str, _root_: Any) -> Any:
    """The first key that is set and not null; else the last text itself."""
    from omegaconf import OmegaConf

    for key in keys:
        found = OmegaConf.select(_root_, key)
        if found is not None:
            return found
    return keys[-1]


def missing(raw: dict[str, Any], where: Callable[[Sequence[int | str]], str]) -> Iterator[Problem]:
    """Values that are still `???`."""
    for path, value in _leaves(raw):
        if value == MISSING:
            key = ".".join(map(str, path))
            yield Problem(
                where(path),
                "must be given (it is ???)",
                f"write it into the file, or --config 'set=[{key}=...]'",
            )


def _leaves(
    node: Any, path: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    if isinstance(node, dict):
        for key, value in list(node.items()):
            yield from _leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*path, index))
    else:
        yield path, node


def _put(raw: Any, path: Sequence[int | str], value: Any) -> None:
    for key in path[:-1]:
        raw = raw[key]
    raw[path[-1]] = value


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
