"""`controller=job`: the run gets copies of the definition files that it was started with, so that
the jobs of days to come use them, whatever is edited meanwhile."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp

from snakeval.errors import size_in_words
from snakeval.plan.definition import files_below
from snakeval.plan.run import Run
from snakeval.start.this_start import Log

LARGEST = 256 * 2**20
"""Bytes of a folder; a larger one is left where it is."""

KEYS = ("include_path", "files")


def copied(run: Run, log: Log) -> dict[Path, str]:
    """Makes the copies: folder -> its copy, relative to the run folder.

    A copy is named after its contents and never changed. What cannot be copied is told, and used
    where it is.
    """
    found: dict[Path, str] = {}
    for name, folder in folders_of(run):
        if folder.is_relative_to(run.paths.dir.resolve()):  # a copy of an earlier start
            continue
        try:
            why = _not_by_itself(folder)
            if not why:
                found[folder] = _copied(folder, run.paths.definitions / name, run.paths.dir)
        except OSError as error:
            why = f"cannot be copied: {error.strerror or error}"
        if why:
            log.warning(
                f"{folder} {why}: it is used where it is; leave it alone while the run lasts"
            )
    return found


def folders_of(run: Run) -> Iterator[tuple[str, Path]]:
    """The folders of a run's own definitions, each with a name."""
    for name, body in run.config.harnesses.items():
        for key in KEYS:
            given = getattr(body, key)
            if given and (folder := (run.base / Path(given).expanduser()).resolve()).is_dir():
                yield f"{name}-{key}", folder


def _not_by_itself(folder: Path) -> str:
    """Why a copy of a folder would not do, in half a sentence; empty: it would. Raises OSError."""
    size = sum(path.stat().st_size for path in files_below(folder))
    if size > LARGEST:
        return f"is large ({size_in_words(size)})"
    named = (path for path in files_below(folder) if path.suffix in (".yaml", ".yml"))
    if any("../" in path.read_text(errors="replace") for path in named):
        return "refers to files beside it"
    return ""


def _copied(folder: Path, beginning: Path, run: Path) -> str:
    """Raises OSError."""
    contents: Mapping[str, Path] = {
        path.relative_to(folder).as_posix(): path for path in files_below(folder)
    }
    over = hashlib.sha256()
    for name, path in contents.items():
        over.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    copy = beginning.with_name(f"{beginning.name}-{over.hexdigest()[:8]}")
    if not copy.is_dir():
        copy.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=copy.parent, prefix="."))
        made.chmod(copy.parent.stat().st_mode & 0o777)
        for name, path in contents.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, made / name)
        made.rename(copy)
    return copy.relative_to(run).as_posix()
