"""What concerns several sections of a config at once, or belongs to another version of it: told
together with what the model objects to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from snakeval.config.deployment import BROUGHT_UP, DEFAULT_SIZES, GPUS, OF_WEIGHTS
from snakeval.config.layers import Layers, dig, where
from snakeval.config.model import TaskEntry
from snakeval.config.sections import NAME, Ignored, prefix_of
from snakeval.errors import Problem, count, nearest


def older(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """Keys of older versions of the launcher, and what is written now."""
    if dig(raw, "execution", "env_vars") is not None:
        yield Problem(
            where(("execution", "env_vars"), layers),
            "is from an older version of the launcher",
            "write env_vars at the top level (for benchmarks) or deployment.env_vars (for the "
            "server)",
        )
    endpoint = dig(raw, "target", "api_endpoint")
    if isinstance(endpoint, dict) and {"api_key", "api_key_name"} <= set(endpoint):
        yield Problem(
            where(("target", "api_endpoint", "api_key"), layers),
            "is the old name of api_key_name, which is given as well",
            "remove it",
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
                "is from an older version of the launcher",
                "write nemo_evaluator_config, for example "
                "nemo_evaluator_config.config.params.limit_samples",
            )


def warnings(given: Any, layers: Layers, path: tuple[int | str, ...] = ()) -> Iterable[Problem]:
    """Keys of the launcher that are read and do nothing here, and why.

    given  a section of the config, a list or a mapping
    """
    for name, value in _entries_of(given):
        if isinstance(given, BaseModel):
            for mark in given.__class__.model_fields[name].metadata:
                if isinstance(mark, Ignored) and (dig(value, mark.key) if mark.key else value):
                    keys = (*path, name, *filter(None, [mark.key]))
                    yield Problem(where(keys, layers), f"ignored: {mark.why}", warning=True)
        yield from warnings(value, layers, (*path, name))


def _entries_of(given: Any) -> Iterable[tuple[Any, Any]]:
    """What a section, a list or a mapping holds; of anything else nothing."""
    if isinstance(given, BaseModel):
        return [(name, getattr(given, name)) for name in sorted(given.model_fields_set)]
    if isinstance(given, list):
        return enumerate(given)
    return given.items() if isinstance(given, dict) else ()


def contradictions(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """What concerns two sections at once, so that it is told together with everything else."""
    entries = dig(raw, "evaluation", "tasks")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        key, *more = entry if isinstance(entry, dict) and entry else ("name",)
        known = list(TaskEntry.model_fields)
        if not more and key not in known and not nearest(str(key), known).startswith("did"):
            yield Problem(
                where(("evaluation", "tasks", index), layers),
                f"this entry has the key '{key}' and no name",
                f"write `- name: {key}` and its settings on the lines below, indented alike",
            )
    yield from _budgets(raw, layers)
    endpoint = dig(raw, "target", "api_endpoint") or {}
    written = raw.get("deployment")
    deployment = written if isinstance(written, str) else dig(raw, "deployment", "type") or "none"
    if deployment in BROUGHT_UP and not dig(raw, "deployment", "served_model_name"):
        yield Problem(
            where(("deployment", "served_model_name"), layers),
            "is missing and must be given",
            "write the name under which the server is to serve the model",
        )
    yield from _harnesses(raw, layers)
    yield from _two_models(("deployment",), raw.get("deployment"), layers)
    yield from _few_gpus(("deployment",), raw.get("deployment"), layers)
    yield from _auxiliary(raw, layers)
    if not isinstance(endpoint, dict):
        return
    for key in ("url", "model_id"):
        given = endpoint.get(key) is not None
        place = where(("target", "api_endpoint", key), layers)
        if deployment == "none" and not given:
            yield Problem(
                place,
                "is missing, and there is no deployment to take it from",
                "write the endpoint's whole URL, such as https://host/v1/chat/completions"
                if key == "url"
                else "write the name under which the endpoint serves the model",
            )
        elif deployment != "none" and given:
            yield Problem(
                place,
                "is set by the deployment and cannot be given as well",
                "remove it, or set deployment.type to none",
            )


def _budgets(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """Budgets that nobody could keep."""
    entries = dig(raw, "evaluation", "tasks")
    places: list[tuple[tuple[int | str, ...], Any]] = [((), raw)]
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        places.append((("evaluation", "tasks", index), entry))
    for place, section in places:
        keys, given = (*place, "budget"), dig(section, "budget")
        if not isinstance(given, dict) or not any(given.values()):
            continue
        prices = [dig(raw, "prices", name) for name in ("prompt_tokens", "completion_tokens")]
        if _is_amount(given.get("usd")) and not any(prices):
            yield Problem(
                where((*keys, "usd"), layers),
                "tokens have no price, so that it would never be used up",
                "write prices.prompt_tokens and prices.completion_tokens, or limit tokens",
            )
        switches = (("gateway",), ("execution", "gateway"))
        off = next((each for each in switches if _is_off(dig(raw, *each))), None)
        if off and dig(raw, "gateway") is not True:
            yield Problem(
                where(keys, layers),
                f"the gateway keeps it, and {'.'.join(off)} is false",
                "remove one of them",
            )


def _is_off(value: Any) -> bool:
    """`--config gateway=false` comes as text."""
    return value is False or str(value).lower() in ("false", "off", "no")


def _is_amount(value: Any) -> bool:
    """Another type is told by itself."""
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        return False


def _two_models(keys: tuple[str, ...], deployment: Any, layers: Layers) -> Iterable[Problem]:
    """Two models for one server: the one that was not meant would be evaluated, without a word."""
    named = [key for key in ("checkpoint_path", "hf_model_handle") if dig(deployment, key)]
    if len(named) > 1 and not deployment.get("command") and deployment.get("type") in OF_WEIGHTS:
        yield Problem(
            where((*keys, named[0]), layers),
            "is given as well as hf_model_handle, and a server has one model",
            "remove one of them, or set it to null",
        )


def _few_gpus(keys: tuple[str, ...], deployment: Any, layers: Layers) -> Iterable[Problem]:
    """A server that is to be spread over more GPUs than it is given."""
    gpus = dig(deployment, "gpus")
    given = str(gpus) if isinstance(gpus, int | str) else ""
    number = 0
    if "," in given:
        number = len(given.split(","))
    elif GPUS.match(given) and given.isdecimal():
        number = int(given)
    kind = dig(deployment, "type")
    own = any(dig(deployment, key) for key in ("command", "command_template", "base_command"))
    if not number or not isinstance(kind, str) or kind not in DEFAULT_SIZES or own:
        return
    sizes = {key: dig(deployment, key) for key in ("pipeline_parallel_size", "data_parallel_size")}
    sizes["tensor_parallel_size"] = dig(deployment, "tensor_parallel_size") or DEFAULT_SIZES[kind]
    wanted = math.prod(size for size in sizes.values() if isinstance(size, int))
    if wanted > number:
        said = " x ".join(f"{key} {size or 1}" for key, size in reversed(sizes.items()))
        yield Problem(
            where((*keys, "gpus"), layers),
            f"gives the server {count(number, 'GPU')}, and its command spreads it over {wanted} "
            f"({said})",
            f"write tensor_parallel_size: {number}, or give it more GPUs",
        )


def _harnesses(raw: dict[str, Any], layers: Layers) -> Iterable[Problem]:
    """Names of harnesses that no benchmark could be asked for by."""
    given = raw.get("harnesses")
    for name in given if isinstance(given, dict) else ():
        if not NAME.match(str(name)) or "." in str(name):
            yield Problem(
                where(("harnesses", str(name)), layers),
                "cannot be the name of a harness",
                "write letters, digits, '-' and '_', such as my_harness",
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
        yield from _few_gpus(place, content, layers)
        if not NAME.match(str(name)):
            yield Problem(
                where(place, layers),
                "cannot be the name of a folder",
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
                f"its variables would start with {prefix}, like those of '{prefixes[prefix]}'",
                f"write another env_prefix, such as {prefix}_2",
            )
        prefixes.setdefault(prefix, str(name))
