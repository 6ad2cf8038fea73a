"""A sweep: `models` in a config, one run for each of them.

What an entry says is laid over the rest of the file. `checkpoints` stands for one entry for each
folder that its pattern matches.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snakeval.config.deployment import BROUGHT_UP
from snakeval.config.layers import Layers, dig, where
from snakeval.config.model import SweptModel
from snakeval.config.overrides import merge
from snakeval.errors import Problem

Overlay = tuple[Path, dict[str, Any]]
"""Who says it (`my.yaml: models.0`), and what lies over the config."""

WEIGHTS = ("checkpoint_path", "hf_model_handle")
"""Where the weights of a server are said to be: a folder, or the model's name on the hub."""


def overlays(raw: dict[str, Any], layers: Layers, problems: list[Problem]) -> list[Overlay]:
    """What lies over the config for each model of a sweep; none where it is no sweep.

    problems  gets what is wrong. Then a model that is none stands for the entry, so that the rest
              of the config is looked at as it was meant
    """
    given = raw.get("models")
    if given is None or given == []:
        return []
    if not isinstance(given, list):
        problems.append(_shape(where(("models",), layers)))
        return [(Path(where(("models",), layers)), _stand_in(raw))]
    found: list[Overlay] = []
    for number, entry in enumerate(given):
        place = where(("models", number), layers)
        try:
            swept = SweptModel.model_validate(entry)
        except ValidationError:  # told by the model of the config, in its words
            found.append((Path(place), _stand_in(raw)))
            continue
        folders = list(folders_of(swept.checkpoints)) if swept.checkpoints else []
        if swept.checkpoints and not folders:
            problems.append(
                Problem(
                    f"{place}.checkpoints",
                    f"there is no folder {swept.checkpoints}",
                    "correct the pattern; it is relative to where you start snakemake",
                )
            )
            found.append((Path(place), _stand_in(raw)))
        said = swept.model_dump(exclude_unset=True, exclude={"checkpoints"})
        if not swept.checkpoints:
            _name_one_model(said, raw)
            found.append((Path(place), said))
        for folder in folders:
            if "${" in str(folder):  # what somebody has called a folder is not ours to resolve
                fix = "rename it, or write a pattern that leaves it out"
                problems.append(Problem(place, f"the folder '{folder}' has ${{ in its name", fix))
                continue
            own: dict[str, Any] = {
                "deployment": {
                    "checkpoint_path": str(folder),
                    "served_model_name": folder.name,
                }
            }
            merge(own, said)
            _name_one_model(own, raw)
            found.append((Path(f"{place} ({folder.name})"), own))
    return found


def _stand_in(raw: dict[str, Any]) -> dict[str, Any]:
    """What an entry would have said that cannot be read."""
    given = raw.get("deployment")
    kind = given if isinstance(given, str) else dig(given, "type") or "none"
    if kind in BROUGHT_UP:
        return {"deployment": {"checkpoint_path": "/", "served_model_name": "a-model"}}
    return {"target": {"api_endpoint": {"model_id": "a-model"}}}


def _name_one_model(entry: dict[str, Any], raw: dict[str, Any]) -> None:
    """The weights that an entry names take the place of those that the rest of the file names."""
    deployment = entry.get("deployment", {})
    for named, other in (WEIGHTS, WEIGHTS[::-1]):
        if deployment.get(named) and dig(raw, "deployment", other):
            deployment.setdefault(other, None)


def _shape(place: str) -> Problem:
    return Problem(
        place,
        "must be a list",
        "write `- {deployment: {checkpoint_path: ..., served_model_name: ...}}` below `models:`, "
        "once for each model, or `- checkpoints: FOLDER/*`",
    )


def folders_of(pattern: str) -> Iterator[Path]:
    """The folders that a pattern matches, step-2 before step-10; of a file its folder."""
    seen = set()
    names = glob.glob(str(Path(pattern).expanduser()))  # noqa: PTH207 # it may be absolute
    for name in sorted(names, key=in_order_of_numbers):
        path = Path(name)
        folder = path if path.is_dir() else path.parent
        if folder not in seen:
            seen.add(folder)
            yield folder


def in_order_of_numbers(name: str) -> list[tuple[int, str]]:
    """A key for sorting: step-2 before step-10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
