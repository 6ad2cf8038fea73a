"""Which files of a task may leave the run folder. Caches, databases, locks and secrets never do."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from snakeval.config.export import Destination
from snakeval.export.items import Item
from snakeval.job import hostile
from snakeval.job.redact import forms_of, values_of
from snakeval.job.result_formats import CheckFailed, find_lm_eval

REQUIRED = ("results.yml", "eval_factory_metrics.json", "omni-info.json")
"""What `only_required` means for NeMo images, as in the launcher."""

NEVER = (
    # caches, databases, locks
    "*cache*", "*.db", "*.db-*", "*.db.*", "*.sqlite*", "*.lock", "*.lck", "*.pid", "*.sock",
    "*.pyc",
    # secrets
    ".env*", "*.env", "*secret*", "*credential*", "*service_account*", "*.pem", "*.key", "*.p12",
    "id_rsa*", "id_ed25519*", ".netrc", ".git-credentials", ".aws", ".ssh", ".docker",
)  # fmt: skip
"""Names of files and folders, compared in lower case."""

SHORTEST_SECRET = 8
"""Shorter values of variables are words such as `true`, and stand in many files."""


def artifacts(item: Item, options: Destination, by_default: bool) -> Iterator[tuple[Path, str]]:
    """Files of the work folder that go along, and their paths relative to it."""
    wanted = by_default if options.copy_artifacts is None else options.copy_artifacts
    if not wanted:
        return
    work = item.task.paths.work(item.task.digest)
    found = _required(item, work) if options.only_required else hostile.files(work)
    for relative in found:
        if _is_left_out(relative, options) or _never(relative):
            continue
        if _is_file(work, relative):
            yield work / relative, relative.as_posix()


def _is_file(work: Path, relative: Path) -> bool:
    """Whether it is a regular file; what a link, a pipe or a device leads to is nobody's result."""
    try:
        return hostile.is_file(work, relative)
    except hostile.Refused:
        return False


def logs(item: Item, options: Destination) -> Iterator[tuple[Path, str]]:
    """Logs of the task's attempts, where they are wanted."""
    if options.copy_logs:
        for path in sorted(item.task.paths.logs.glob("*.log")):
            if path.is_file() and not path.is_symlink():
                yield path, path.name


def without_secrets(
    item: Item, files: Iterable[tuple[Path, str]]
) -> tuple[list[tuple[Path, str]], list[str]]:
    """Files without the value of any variable that the task names, and paths of the others."""
    values = _secret_values(item)
    clean: list[tuple[Path, str]] = []
    held_back: list[str] = []
    for path, relative in files:
        if _holds(path, values):
            held_back.append(relative)
        else:
            clean.append((path, relative))
    return clean, held_back


def _required(item: Item, work: Path) -> Iterator[Path]:
    """Relative names of what is required; some may not be there."""
    definition = item.task.benchmark.definition
    names = [*REQUIRED, *([definition.results] if definition.kind == "command" else [])]
    yield from map(Path, filter(None, names))
    try:
        found = find_lm_eval(work)
    except (CheckFailed, OSError):
        return
    if found:
        yield found.name


def _is_left_out(relative: Path, options: Destination) -> bool:
    patterns = options.exclude_patterns
    return any(fnmatch(part, pattern) for part in relative.parts for pattern in patterns)


def _never(relative: Path) -> bool:
    return any(fnmatch(part.lower(), pattern) for part in relative.parts for pattern in NEVER)


def _secret_values(item: Item) -> list[bytes]:
    """Values of the variables that the task names or its benchmark is known to need, as far as
    this environment has them, and secrets of the config; in every form."""
    sources = item.task.env_vars.values()
    names = {source.variable for source in sources if source.variable}
    names |= {*(item.task.benchmark.details.variables or ()), "HF_TOKEN"}
    if item.task.endpoint.api_key_name:
        names.add(item.task.endpoint.api_key_name)
    values = [*values_of(sorted(names)), *item.run.secrets]
    long = [value for value in values if len(value) >= SHORTEST_SECRET]
    return [form for value in long for form in forms_of(value) if len(form) >= SHORTEST_SECRET]


def _holds(path: Path, values: list[bytes]) -> bool:
    if not values or path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(value) >= 0 for value in values)
