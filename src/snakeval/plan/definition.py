"""Which files of one's own a benchmark uses, and a digest over their contents.

Of an lm-eval definition what it reads (`lm_eval_files.py`); of a command what it declares under
`uses`, else every file of its folder. A file counts by name and content: an editor's link to
nowhere, byte code and version control are no files of a benchmark.

Form 1 of the digest took every file of the folder with one of a few suffixes, and no other. Where
those are the files that are used, both forms are the same digest.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from snakeval.plan.catalogue import Benchmark
from snakeval.plan.identity import digest
from snakeval.plan.lm_eval_files import Folder, files_of

LARGE = 64 * 2**20
"""Bytes; of a larger file that form 1 did not know its size and its two ends are looked at."""

END = 2**20

SKIPPED_FOLDERS = {"__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".pytest_cache"}
SKIPPED_SUFFIXES = {".pyc", ".pyo", ".swp", ".swo"}

UNREADABLE = "unreadable"
INCLUDE_PATH = "--include_path"

Params = Mapping[str, Any]
"""A benchmark's parameters, as `config.params` has them."""

FORM_1_SUFFIXES = {".yaml", ".yml", ".json", ".jsonl", ".py", ".csv", ".tsv", ".txt"}
"""What form 1 took for a definition; and lm-eval's shared parts, named `..._yaml`."""


class Looked:
    """What was read of benchmarks' files: everything once for all benchmarks of a plan."""

    def __init__(self) -> None:
        self.sha256 = cache(_sha256)
        self.form_1 = cache(lambda folder: _form_1(folder, self.sha256))
        self.below = cache(lambda folder: tuple(files_below(folder)))
        self.definitions = cache(lambda folder: Folder(folder, self.below))


def definition_of(benchmark: Benchmark, params: Params, looked: Looked) -> dict[str, Any] | None:
    """What a definition of one's own, or a folder of files, adds to a task's digest."""
    folder = folder_of(benchmark, params)
    files = {} if folder is None else {"files": _revision(benchmark, folder, looked)}
    return {**_declared(benchmark), **files} or None


def definition_of_form_1(benchmark: Benchmark, looked: Looked) -> dict[str, Any] | None:
    """The same in form 1, under which earlier versions have evaluated it."""
    definition = benchmark.definition
    folders = map(benchmark.folder, (definition.include_path, definition.files))
    there = [folder for folder in folders if folder is not None]
    files = {"files": looked.form_1(there[-1])} if there else {}
    return {**_declared(benchmark), **files} or None


def _declared(benchmark: Benchmark) -> dict[str, Any]:
    if not benchmark.own:
        return {}
    definition = benchmark.definition
    declared = {
        "kind": definition.kind,
        "image": definition.image,
        "command": definition.command,
        "format": definition.format,
        "eval_type": benchmark.details.eval_type,
    }
    return {key: value for key, value in declared.items() if value is not None}


def folder_of(benchmark: Benchmark, params: Params) -> Path | None:
    """The folder with the files that the benchmark's harness is given, where there is one."""
    definition = benchmark.definition
    if definition.kind == "lm_eval" and (named := _in_arguments(params)):
        return named
    of_kind: dict[str, str | None] = {
        "lm_eval": definition.include_path,
        "command": definition.files,
    }
    return benchmark.folder(of_kind.get(definition.kind))


def _in_arguments(params: Params) -> Path | None:
    """The folder of lm-eval's `--include_path` among its arguments, which wins; None: not here."""
    try:
        words = shlex.split(str(params.get("extra", {}).get("args") or ""))
    except (ValueError, AttributeError):  # told by the harness's own check
        return None
    for flag, following in reversed([*pairwise(words), *((word, "") for word in words[-1:])]):
        name, equals, value = flag.partition("=")
        folder = Path(value if equals else following)
        if name == INCLUDE_PATH and folder.is_absolute() and folder.is_dir():
            return folder.resolve()
    return None


def _revision(benchmark: Benchmark, folder: Path, looked: Looked) -> str | None:
    """A digest of the files that a benchmark uses (names and contents); None: there are none."""
    if not folder.is_dir():
        return None
    return _of_contents(_contents(used(benchmark, folder, looked), looked.sha256))


def used(benchmark: Benchmark, folder: Path, looked: Looked) -> Mapping[str, Path]:
    """The files that a benchmark uses, by the name under which they count."""
    definition = benchmark.definition
    if definition.kind == "lm_eval":
        found = files_of(looked.definitions(folder), benchmark.eval_type.split(","))
        if found is not None:
            return found
    elif definition.uses is not None:
        patterns = [_filled(pattern, benchmark) for pattern in definition.uses]
        return {name: path for pattern in patterns for name, path in matching(folder, pattern)}
    return {path.relative_to(folder).as_posix(): path for path in looked.below(folder)}


def unmatched(benchmark: Benchmark) -> list[tuple[int, str]]:
    """The patterns of `uses` that fit no file, with their numbers; none where the folder is not
    here."""
    folder, patterns = folder_of(benchmark, {}), benchmark.definition.uses or ()
    if folder is None or not folder.is_dir():
        return []
    return [
        (number, pattern)
        for number, pattern in enumerate(patterns)
        if not any(matching(folder, _filled(pattern, benchmark)))
    ]


def _filled(pattern: str, benchmark: Benchmark) -> str:
    return pattern.replace("{task}", benchmark.eval_type)


def matching(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """The files that a pattern fits (`data/*.json`, `**/*.py`), and those of folders it fits."""
    for found in sorted(folder.glob(pattern)):
        for path in files_below(found) if found.is_dir() else [found]:
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder that a benchmark can use, links followed; in a fixed order."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(place, name)
            if not _is_left_behind(path) and path.is_file():
                yield path


def _is_left_behind(path: Path) -> bool:
    """Whether an editor or a harness leaves such a file, and no benchmark reads it."""
    name = path.name
    if name.endswith("~") or name.startswith((".#", "#")) or name == ".DS_Store":
        return True
    if path.suffix == ".lock":  # an empty one is held while something is written
        return not path.is_file() or path.stat().st_size == 0
    return path.suffix in SKIPPED_SUFFIXES


def _of_contents(contents: Mapping[str, str]) -> str | None:
    entries = sorted(contents.items(), key=lambda item: item[0].split("/"))
    return digest(entries, 16) if entries else None


def _contents(files: Mapping[str, Path], sha256: Callable[[Path], str]) -> dict[str, str]:
    """The SHA-256 of every file, by its name."""
    found = {}
    for name, path in files.items():
        try:
            found[name] = sha256(path)
        except FileNotFoundError:  # gone since it was listed
            continue
        except OSError:
            found[name] = UNREADABLE
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= LARGE or _is_of_form_1(path):
            return hashlib.file_digest(file, "sha256").hexdigest()
        ends = hashlib.sha256(f"{size} bytes ".encode() + file.read(END))
        file.seek(-END, os.SEEK_END)
        ends.update(file.read(END))
        return ends.hexdigest()


def _form_1(folder: Path, sha256: Callable[[Path], str]) -> str | None:
    """The digest of form 1; None where one of its files could not be read."""
    try:
        there = filter(_is_of_form_1, sorted(folder.rglob("*")))
        return _of_contents({path.relative_to(folder).as_posix(): sha256(path) for path in there})
    except OSError:
        return None


def _is_of_form_1(path: Path) -> bool:
    return path.suffix in FORM_1_SUFFIXES or path.name.endswith("_yaml")
