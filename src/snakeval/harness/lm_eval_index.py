"""The names of plain lm-eval's own tasks, from its files: importing it takes seconds, and its own
index ten."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from pathlib import Path

from snakeval.errors import Problem, nearest
from snakeval.plan.run import Task

NAME = re.compile(
    r"^[ \t]*-?[ \t]*(?:task|group|tag):[ \t]*[\"']?([\w.:+-]+)[\"']?[ \t]*(?:#.*)?$"
    r"|^[ \t]*-[ \t]+[\"']?([\w.:+-]+)[\"']?[ \t]*$",
    re.MULTILINE,
)
"""A task, a group or a tag; or a member of a list of them. Other lists are read too: a name too
many refuses nothing."""


def unknown(tasks: Iterable[Task]) -> Iterator[Problem]:
    """Tasks that plain lm-eval of this environment does not have."""
    wanted = [task for task in tasks if _is_plain(task)]
    known = names() if wanted else frozenset()
    for task in wanted:
        name = task.benchmark.eval_type
        if known and not all(each in known for each in name.split(",")):
            near = nearest(name, sorted(known))
            yield Problem(
                task.where,
                f"lm-eval has no task '{name}'",
                near if near.startswith("did") else "`lm_eval ls tasks` lists them",
            )


def _is_plain(task: Task) -> bool:
    """Of lm-eval's own, run by this environment's: no file of the user's has it."""
    definition, extra = task.benchmark.definition, task.params.get("extra", {})
    return (
        definition.kind == "lm_eval"
        and not (definition.include_path or task.image)
        and "--include_path" not in str(extra.get("args", ""))
        and not set("*/") & set(task.benchmark.eval_type)
    )


def names() -> frozenset[str]:
    """The names; none where lm-eval is not in this environment. They are kept beside other caches
    of this user: reading 14,000 files takes a second or more."""
    found = util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    folder = Path(next(iter(found.submodule_search_locations))) / "tasks"
    kept = _cache(folder)
    with contextlib.suppress(OSError, ValueError):
        return frozenset(json.loads(kept.read_text(encoding="utf-8")))
    read = sorted(_read(folder))
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(read), encoding="utf-8")
    return frozenset(read)


def _cache(folder: Path) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    changed = folder.stat().st_mtime_ns if folder.is_dir() else 0
    return Path(home) / "snakeval" / f"lm_eval-{metadata.version('lm_eval')}-{changed}.json"


def _read(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*.y*ml"):
        with contextlib.suppress(OSError, ValueError):
            for match in NAME.finditer(path.read_text(encoding="utf-8")):
                found.add(match[1] or match[2])
    return found
