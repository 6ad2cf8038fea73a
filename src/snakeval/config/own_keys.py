"""Keys of the user's own, and what the launcher's groups hold for use in other keys.

A key that nothing knows is the user's own where something refers to it: `${deployment.my_key}`. It
is gone once the reference is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from snakeval.config.deployment import CHECKPOINT, DEFAULT_SIZES
from snakeval.config.index import Loc, first_unknown

_REFERENCE = re.compile(r"\$\{\s*(\.*[A-Za-z_][\w.-]*)\s*\}")
_FIRST_OF = re.compile(r"\$\{\s*select_not_null\s*:([^{}]*)\}")


def own_keys(raw: dict[str, Any], model: type[BaseModel]) -> set[Loc]:
    """The keys that the model does not know and that something in the mapping refers to."""
    named = (first_unknown(model, path) for path in _referred_to(raw))
    return {path for path in named if path}


def without_keys(raw: dict[str, Any], paths: set[Loc]) -> dict[str, Any]:
    """The mapping without some keys."""
    for path in paths:
        section: Any = raw
        for key in path[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(path[-1], None)
    return raw


def with_base_commands(raw: dict[str, Any]) -> dict[str, Any]:
    """The mapping with a `base_command` in each section of vLLM's that something refers to."""
    for path in _referred_to(raw):
        if path[-1] != "base_command":
            continue
        section: Any = raw
        for key in path[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get("type") in ("vllm", "vllm_ray"):
            section["base_command"] = section.get("base_command") or _vllm(section)
    return raw


def _vllm(section: dict[str, Any]) -> str:
    """As `plan/server.py` has it, in words that may still hold `${...}`."""
    size = section.get("tensor_parallel_size") or DEFAULT_SIZES["vllm"]
    words = (
        f"vllm serve {section.get('hf_model_handle') or CHECKPOINT}"
        f" --tensor-parallel-size={size}"
        f" --pipeline-parallel-size={section.get('pipeline_parallel_size') or 1}"
        f" --data-parallel-size={section.get('data_parallel_size') or 1}"
        " --port {port}"
        f" --served-model-name {section.get('served_model_name')}"
        f" --gpu-memory-utilization {section.get('gpu_memory_utilization') or 0.95}"
        f" {section.get('extra_args') or ''}"
    )
    return words.strip()


def _referred_to(node: Any, path: Loc = ()) -> Iterator[Loc]:
    """The paths that the texts of a mapping refer to."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _referred_to(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _referred_to(value, (*path, index))
    elif isinstance(node, str) and "${" in node:
        names = [found[1] for found in _REFERENCE.finditer(node)]
        for found in _FIRST_OF.finditer(node):
            names += [each.strip() for each in found[1].split(",")]
        for name in names:
            yield _absolute(name, path)


def _absolute(name: str, path: Loc) -> Loc:
    """`.key` is beside the text, `..key` a level above."""
    dots = len(name) - len(name.lstrip("."))
    above = path[: max(0, len(path) - dots)] if dots else ()
    return (*above, *name.lstrip(".").split("."))
