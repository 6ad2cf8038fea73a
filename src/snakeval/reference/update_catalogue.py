"""Reads the benchmarks of an evaluation image and writes them into the catalogue's files.

An image of the NeMo kind has a `framework.yml` per harness: `framework` (its name), `defaults` and
`evaluations`, each with a type, endpoint types and parameters. It lies in `/opt/metadata` (or one
folder deeper), or in the Python package `core_evals`. Nothing is written unless all of it is read.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from snakeval.config.model import EndpointType
from snakeval.config.overrides import merge
from snakeval.config.sections import NAME
from snakeval.errors import InputError, Problem, count
from snakeval.job.files import write_atomically
from snakeval.run_folder.layout import RUN_FOLDER_NAMES

TASKS, HARNESSES, DEFAULTS = "nemo_tasks.csv", "nemo_harnesses.csv", "defaults"
TASK_KEYS = (
    "harness",
    "task",
    "endpoint_types",
    "required_capabilities",
    "eval_type",
    "default_limit_samples",
)
KEPT = ("arch", "higher_is_better", "lower_is_better")
"""What no image says: it is kept as it was."""

HARNESS_KEYS = ("harness", "full_name", "url", "image", "digest", *KEPT)

MARK = "\x1e"
"""Stands before every file that the image prints."""

PRINT_DEFINITIONS = f"""\
{{ ls /opt/metadata/framework.yml /opt/metadata/*/framework.yml
  find / -xdev -path '*/core_evals/*/framework.yml'; }} 2>/dev/null | sort -u |
while read -r file; do printf '{MARK}%s\\n' "$file"; cat "$file"; done
"""

PATIENCE = 300
"""Seconds that an image may take to print its definitions."""

Row = dict[str, str]


@dataclass(frozen=True)
class Harness:
    """What an image says about one of its harnesses.

    defaults  parameters of every task; tasks: those of each on top of them
    left_out  benchmarks that cannot be run here, and why
    """

    row: Row
    tasks: dict[str, Row]
    defaults: dict[str, Any]
    params: dict[str, dict[str, Any]]
    left_out: tuple[str, ...]


def read_image(image: str) -> list[Harness]:
    """The harnesses of an image, by Docker; it is pulled where it is not here.

    Raises InputError.
    """
    from snakeval.runtime.docker import Docker

    engine = Docker()
    unusable = engine.unusable(image)
    if unusable:
        raise InputError([unusable])
    pinned = engine.pin(image, False)
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", pinned]
    try:
        answer = subprocess.run(
            [*command, "-c", PRINT_DEFINITIONS],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except (subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise _refused(image, f"does not print its definitions: {error}") from None
    if answer.returncode:
        raise _refused(image, f"cannot be run: {' '.join(answer.stderr.split())[:300]}")
    return harnesses(image, pinned.partition("@")[2] or pinned, answer.stdout)


def harnesses(image: str, digest: str, printed: str) -> list[Harness]:
    """The harnesses in what PRINT_DEFINITIONS has printed. Raises InputError with all problems."""
    problems: list[Problem] = []
    found: dict[str, Harness] = {}
    for part in printed.split(MARK)[1:]:
        file, _, text = part.partition("\n")
        try:
            harness = _harness(f"{image}: {file}", text, image, digest)
        except InputError as error:
            problems += error.problems
        else:
            found.setdefault(harness.row["harness"], harness)  # one file in two places
    if problems:
        raise InputError(
            problems, heading=count(len(problems), "problem") + "; nothing was written"
        )
    if not found:
        raise _refused(
            image,
            "holds no framework.yml (looked in /opt/metadata and in core_evals)",
            "is it an evaluation image? `docker run --rm IMAGE nemo-evaluator ls` lists its tasks",
        )
    return list(found.values())


def _harness(where: str, text: str, image: str, digest: str) -> Harness:
    try:
        content = yaml.load(text, Loader=yaml.CSafeLoader)
        name, entries = str(content["framework"]["name"]), content["evaluations"]
        defaults = (content.get("defaults") or {}).get("config") or {}
        read = [_task(name, defaults, entry) for entry in entries]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise _refused(where, f"is not understood: {said}") from None
    if not NAME.match(name) or "." in name:
        raise _refused(where, f"'{name}' cannot be the name of a harness")
    row = {
        "harness": name,
        "full_name": str(content["framework"].get("full_name") or ""),
        "url": str(content["framework"].get("url") or ""),
        "image": image,
        "digest": digest,
        **dict.fromkeys(KEPT, ""),
    }
    reasons = [f"{name}.{task['task']}: {why}" for task, _ in read if (why := _unusable(task))]
    kept = [(task, params) for task, params in read if not _unusable(task)]
    return Harness(
        row,
        {task["task"]: task for task, _ in kept},
        _set(defaults.get("params") or {}),
        {task["task"]: params for task, params in kept},
        tuple(reasons),
    )


def _task(harness: str, defaults: Mapping[str, Any], entry: Any) -> tuple[Row, dict[str, Any]]:
    """The row of a benchmark, and its own parameters."""
    config = entry["defaults"]["config"]
    merged: dict[str, Any] = {}
    for layer in (defaults, config):
        merge(merged, layer)
    kinds = [str(kind) for kind in merged.get("supported_endpoint_types") or ()]
    known = [kind for kind in kinds if kind in get_args(EndpointType)]
    limit = (merged.get("params") or {}).get("limit_samples")
    row = {
        "harness": harness,
        "task": str(config["type"]),
        "endpoint_types": (known or [" ".join(kinds)])[0],
        "required_capabilities": ",".join(map(str, merged.get("required_capabilities") or ())),
        "eval_type": str(config["type"]),
        "default_limit_samples": "" if limit is None else str(limit),
    }
    return row, _set(config.get("params") or {})


def _unusable(row: Row) -> str:
    """Why a benchmark of an image cannot be in the catalogue; empty where it can."""
    if row["endpoint_types"] not in get_args(EndpointType):
        return f"asks an endpoint of type '{row['endpoint_types']}'"
    if not NAME.match(row["task"]) or "." in row["task"] or row["task"] in RUN_FOLDER_NAMES:
        return "its name cannot be the name of a folder"
    return ""


def _set(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not null."""
    return {
        key: _set(value) if isinstance(value, Mapping) else value
        for key, value in params.items()
        if value is not None and value != {}
    }


# --- the files -----------------------------------------------------------------------------------


def update(folder: Path, found: Sequence[Harness], output: Path | None = None) -> list[str]:
    """Writes harnesses into the catalogue in `folder`, or a changed copy of it into `output`.

    Returns what has changed, as lines to print. Raises InputError when it cannot be written.
    """
    names = {harness.row["harness"] for harness in found}
    before = {(row["harness"], row["task"]): row for row in _read(folder / TASKS)}
    images = {row["harness"]: row for row in _read(folder / HARNESSES)}
    after = {key: row for key, row in before.items() if key[0] not in names}
    lines: list[str] = []
    for harness in found:
        name = harness.row["harness"]
        row = {**harness.row, **{key: images.get(name, {}).get(key, "") for key in KEPT}}
        lines += [*_changes(name, images.get(name), row, before, harness.tasks)]
        lines += [f"  left out: {reason}" for reason in harness.left_out]
        images[name] = row
        after |= {(name, task): row for task, row in harness.tasks.items()}
    texts = {
        TASKS: _csv(TASK_KEYS, [row for _, row in sorted(after.items())]),
        HARNESSES: _csv(HARNESS_KEYS, [images[name] for name in sorted(images, key=str.lower)]),
        **{f"{DEFAULTS}/{each.row['harness']}.yaml": _defaults(each) for each in found},
    }
    target = output or folder
    try:
        (target / DEFAULTS).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(target / name, text)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise _refused(str(target), what, "write elsewhere: --config output=FOLDER") from None
    return [*lines, f"written: {', '.join(str(target / name) for name in texts)}"]


def _changes(
    name: str,
    old_image: Row | None,
    new_image: Row,
    before: Mapping[tuple[str, str], Row],
    tasks: Mapping[str, Row],
) -> Iterator[str]:
    """What is another way than before, in lines: `+` added, `-` removed, `~` changed."""
    old = {task: row for (harness, task), row in before.items() if harness == name}
    added = sorted(set(tasks) - set(old))
    removed = sorted(set(old) - set(tasks))
    changed = {task: _differences(old[task], tasks[task]) for task in sorted(set(old) & set(tasks))}
    changed = {task: words for task, words in changed.items() if words}
    yield (
        f"{name}: {count(len(tasks), 'task')} ({len(added)} added, {len(changed)} changed, "
        f"{len(removed)} removed)" + ("" if old_image else "; a new harness")
    )
    if old_image:
        yield from (f"  ~ {words}" for words in _differences(old_image, new_image))
    yield from (f"  + {task} ({tasks[task]['endpoint_types']})" for task in added)
    yield from (f"  ~ {task}: {', '.join(words)}" for task, words in changed.items())
    yield from (f"  - {task}" for task in removed)


def _differences(old: Row, new: Row) -> list[str]:
    return [
        f"{key} {old.get(key) or 'nothing'} -> {value or 'nothing'}"
        for key, value in new.items()
        if old.get(key, "") != value
    ]


def _defaults(harness: Harness) -> str:
    """The parameters that a harness's tasks have when a config does not say otherwise."""
    own = {task: params for task, params in sorted(harness.params.items()) if params}
    content = {"image": harness.row["image"], "params": harness.defaults, "tasks": own}
    heading = "# Parameters that the image sets itself; written by `snakemake update_catalogue`.\n"
    return heading + yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, width=100)


def default_params(folder: Path, harness: str, task: str) -> dict[str, Any] | None:
    """The parameters that an image gives a task by itself, as far as they are known; None where
    nobody has read them."""
    try:
        text = (folder / DEFAULTS / f"{harness}.yaml").read_text(encoding="utf-8")
    except OSError:
        limits = (
            row["default_limit_samples"]
            for row in _read(folder / TASKS)
            if (row["harness"], row["task"]) == (harness, task)
        )
        limit = next(limits, "")
        return {"limit_samples": int(limit)} if limit else None
    content = yaml.load(text, Loader=yaml.CSafeLoader)
    params: dict[str, Any] = {}
    for layer in (content["params"], content["tasks"].get(task, {})):
        merge(params, layer)
    return params


def _read(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise _refused(str(path), f"cannot be read: {error.strerror}") from None


def _csv(keys: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _refused(where: str, what: str, fix: str = "") -> InputError:
    return InputError([Problem(where, what, fix)])


__all__ = ["Harness", "default_params", "harnesses", "read_image", "update"]
