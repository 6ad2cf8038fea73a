"""Which checkpoint folders are complete: by a marker file, or by having been quiet for so long.

A folder that is still being written must never be served: its scores would be false, or the server
would fail. Quiet is measured by change, as everything that lives is: what a look sees is compared
with what the last one saw, and no clock of a file server is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakeval.config.read import read_mapping
from snakeval.config.sweep import folders_of
from snakeval.errors import InputError, Problem
from snakeval.plan.identity import digest


def patterns(files: list[Path]) -> list[dict[str, Any]]:
    """The entries of `models` in force: those of the last file that has some. Raises InputError
    where none of them is a pattern of checkpoints."""
    found: list[dict[str, Any]] = []
    for file in files:
        given = read_mapping(file).get("models")
        if isinstance(given, list):
            found = [entry for entry in given if isinstance(entry, dict)]
    if not any(entry.get("checkpoints") for entry in found):
        fix = "write models: [{checkpoints: /data/steps/step-*}] (config/examples/checkpoints.yaml)"
        where = ", ".join(map(str, files))
        raise InputError([Problem(where, "names no pattern of checkpoints to watch", fix)])
    return found


def seen(entries: list[dict[str, Any]]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every folder that is there now, and the entry that it belongs to."""
    for entry in entries:
        if entry.get("checkpoints"):
            for folder in folders_of(str(entry["checkpoints"])):
                yield folder, entry


def looks(folder: Path) -> str:
    """A digest of names, sizes and times of all files below a folder: another one, and somebody
    writes. Empty where the folder is empty, or has gone meanwhile."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(parent) / name).stat()
            except OSError:  # it is being moved
                found.append((parent, name, -1, -1))
                continue
            found.append((parent, name, status.st_size, status.st_mtime_ns))
    return digest(sorted(found), 16) if found else ""
