"""The files that a config was laid together from: which of them says something, for messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Layers = Sequence[tuple[Path, dict[str, Any]]]
"""The config files, and what stands in each."""


def where(loc: Sequence[int | str], layers: Layers) -> str:
    """`file: key.path`; the file is the last one that has the longest part of the path."""
    path = [str(part) for part in loc]
    best, depth = (layers[-1][0] if layers else Path("--config")), -1
    for file, layer in layers:
        reached = _depth(loc, layer)
        if reached >= depth:
            best, depth = file, reached
    return f"{best}: {'.'.join(path)}" if path else str(best)


def _depth(loc: Sequence[int | str], layer: Any) -> int:
    """How many keys of a path a file has."""
    for reached, part in enumerate(loc):
        try:
            layer = layer[part]
        except (KeyError, IndexError, TypeError):
            return reached
    return len(loc)


def dig(mapping: Any, *keys: str) -> Any:
    """The value below some keys, None where one of them is missing or is no mapping."""
    for key in keys:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping
