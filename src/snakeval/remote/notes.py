"""Which runs were started from here on a login node: a small file for each, in this machine's
output folder, `<output folder>/remote/<run id>.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snakeval.config.layers import dig
from snakeval.config.read import read_mapping
from snakeval.errors import InputError, Problem
from snakeval.executors.login import Login
from snakeval.job.files import read_json, write_atomically
from snakeval.run_folder.layout import RUN_ID, runs_in

REMOTE = "remote"
"""The folder of the notes, and of what `fetch` has brought, below the output folder."""


@dataclass(frozen=True)
class Note:
    """A run on a login node.

    dir     its folder there, absolute
    files   of the config here, absolute
    values  of `--config`, as they were given
    here    the output folder of this machine
    """

    run: str
    login: Login
    dir: str
    files: tuple[str, ...]
    values: Mapping[str, Any]
    here: Path

    def write(self) -> None:
        folder = self.here / REMOTE
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "login": asdict(self.login),
            "dir": self.dir,
            "files": self.files,
            "values": self.values,
        }
        write_atomically(folder / f"{self.run}.json", json.dumps(content, indent=1) + "\n")

    @property
    def fetched(self) -> Path:
        """Where its results are put here."""
        return self.here / REMOTE / self.run


def output_folder(files: Iterable[Path]) -> Path:
    """This machine's output folder of a config: its `output_dir`, where that is a relative path;
    others are the cluster's."""
    found = "results"
    for file in files:
        given = dig(read_mapping(file), "execution", "output_dir")
        found = given if isinstance(given, str) else found
    relative = found and not found.startswith(("/", "~", "?")) and "${" not in found
    return Path(found if relative else "results")


def notes_in(folders: Iterable[Path]) -> list[Note]:
    """The notes below output folders, the oldest run first."""
    return sorted((note for each in folders for note in _notes(each)), key=lambda note: note.run)


def _notes(here: Path) -> Iterator[Note]:
    for file in (here / REMOTE).glob("*.json"):
        content = read_json(file)
        login = content.get("login")
        if RUN_ID.match(file.stem) and isinstance(login, dict) and content.get("dir"):
            files = tuple(map(str, content.get("files") or ()))
            values = content.get("values") or {}
            yield Note(file.stem, Login(**login), content["dir"], files, values, here)


def meant(
    named: str | None,
    files: Sequence[Path],
    values: Mapping[str, Any],
    folders: Sequence[Path],
) -> list[Note]:
    """The runs on login nodes that are meant; none: what is meant is on this machine, where it may
    have been copied with all that is in it.

    named   a run's id, or its beginning, or that of its last 8 digits
    files   of a config, with `values` of `--config`: its newest runs
    Neither: the latest run, if that is on a login node.
    Raises InputError where several are meant.
    """
    here = {run.id for folder in folders for run in runs_in(folder)}
    notes = [note for note in notes_in(folders) if note.run not in here]
    if named:
        found = [each for each in notes if _is_called(each.run, named)]
        if len({note.run[-8:] for note in found}) > 1:
            fix = "write more of one of " + ", ".join(note.run for note in found)
            raise InputError([Problem(named, "is the beginning of several runs", fix)])
        return found[-1:]
    if files:
        paths = tuple(str(file.resolve()) for file in files)
        own = [note for note in notes if note.files == paths and _same(note.values, values)]
        newest = {note.run[-8:]: note for note in own}
        return list(newest.values())
    return notes[-1:] if notes and notes[-1].run > max(here, default="") else []


def _is_called(run: str, named: str) -> bool:
    return run.startswith(named) or run[-8:].startswith(named)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether values of `--config` mean the same run."""
    about = [{k: v for k, v in each.items() if k not in ("tasks", "new_run", "fresh")}
             for each in (one, other)]  # fmt: skip
    return about[0] == about[1]
