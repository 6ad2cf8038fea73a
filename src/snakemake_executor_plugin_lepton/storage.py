"""The storage that this machine and the jobs share, and where each of them sees it.

Three ways, told apart by where the files of a job are:
- on the storage, seen at the same path on both sides: nothing is copied;
- on the storage, seen at another path in the jobs: nothing is copied, and absolute paths in the
  command are those of the jobs;
- not on the storage: inputs are copied to it, outputs from it, compared before success is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any


class Unusable(Exception):
    """A setting or a job that cannot be used, in one sentence."""


@dataclass(frozen=True)
class Mount:
    """A part of a storage in a job.

    source  the storage, as Lepton names it (`from`)
    path    the folder of the storage
    at      where jobs see it
    here    where this machine sees it
    """

    source: str
    path: str
    at: str
    here: Path

    def body(self) -> dict[str, str]:
        """As the service has it."""
        return {"from": self.source, "path": self.path, "mount_path": self.at}


def parse_mounts(text: str | None, storage: str | None = None) -> tuple[Mount, ...]:
    """Mounts of a setting or a resource: `FROM:PATH:MOUNT_PATH ...`, or JSON as Lepton has it,
    where `here` may say where this machine sees it. Raises Unusable.

    storage  where this machine sees the first one
    """
    if not text or not text.strip():
        return ()
    found: list[Mount] = []
    for entry in _entries(text):
        source, path, at = (str(entry.get(key) or "") for key in ("from", "path", "mount_path"))
        if not source or not path.startswith("/") or not at.startswith("/"):
            raise Unusable(
                f"'{text}' is no list of mounts: write FROM:PATH:MOUNT_PATH, such as "
                "node-nfs:fs1:/shared:/shared"
            )
        here = entry.get("here") or (storage if storage and not found else at)
        found.append(Mount(source, path, _plain(at), Path(_plain(str(here)))))
    return tuple(found)


def _entries(text: str) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise Unusable(f"'{text}' is no list of mounts: {error}") from None
        if all(isinstance(entry, dict) for entry in entries):
            return list(entries)
        raise Unusable(f"'{text}' is no list of mounts: each has from, path and mount_path")
    entries = []
    for word in text.split():
        source, path, at = ["", "", *word.rsplit(":", 2)][-3:]
        entries.append({"from": source, "path": path, "mount_path": at})
    return entries


def _plain(path: str) -> str:
    return str(PurePosixPath(path))


def seen_in_job(path: Path, mounts: Iterable[Mount]) -> str | None:
    """Where a job sees a path of this machine (absolute); None: it does not."""
    found = _mount_of(path, mounts)
    return str(PurePosixPath(found.at) / path.relative_to(found.here)) if found else None


def mount_for(path: Path, at: str, mounts: Iterable[Mount]) -> Mount | None:
    """A further mount that shows a folder of the storage at another place; None: not on it."""
    found = _mount_of(path, mounts)
    if not found:
        return None
    folder = str(PurePosixPath(found.path) / path.relative_to(found.here))
    return Mount(found.source, folder, at, path)


def _mount_of(path: Path, mounts: Iterable[Mount]) -> Mount | None:
    """The innermost mount that has a path."""
    holding = [mount for mount in mounts if path.is_relative_to(mount.here)]
    return max(holding, key=lambda mount: len(mount.here.parts), default=None)


def translated(command: str, mounts: Iterable[Mount]) -> str:
    """A command with this machine's paths on the storage as the jobs see them."""
    for mount in mounts:
        if str(mount.here) != mount.at:
            command = re.sub(
                rf"(?<![\w./-]){re.escape(str(mount.here))}(?=/|\s|$|[\"':;&|)])",
                lambda _, at=mount.at: at,  # type: ignore[misc]
                command,
            )
    return command


@dataclass(frozen=True)
class Staging:
    """A folder of the storage that stands for the working directory of one job."""

    workdir: Path
    folder: Path

    def bring(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Copies inputs to the storage; makes the outputs' folders. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in inputs:
            copy(self.workdir / name, self.folder / name)
        for name in outputs:
            remove(self.folder / name)
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)

    def fetch(self, outputs: Sequence[str], latency: float = 0.0) -> None:
        """Copies outputs from the storage, each complete before it has its name. Raises OSError.

        latency  seconds until a file that was written there must be seen here
        """
        deadline = time.monotonic() + latency
        for name in outputs:
            while not (self.folder / name).exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            if (self.folder / name).exists():  # else Snakemake says that it is missing
                copy(self.folder / name, self.workdir / name)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """Copies a file or a folder, compares, and only then puts it at its place. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    remove(partial)
    if source.is_dir():
        shutil.copytree(source, partial, symlinks=True)
    else:
        shutil.copy2(source, partial)
    if checksum(source) != checksum(partial):
        remove(partial)
        raise OSError(f"the copy of {source} is not what {source} is")
    remove(target)
    partial.rename(target)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Over names and contents; a link counts with its target."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        total.update(f"{file.relative_to(path)}\0".encode())
        if file.is_symlink() and file != path:
            total.update(str(file.readlink()).encode())
        elif file.is_file():
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
