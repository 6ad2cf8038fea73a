"""What a watch knows from one look to the next, and after a restart: one JSON file."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from snakeval.errors import InputError, Problem
from snakeval.job.files import read_json, write_atomically


@dataclass
class Checkpoint:
    """One folder.

    looks     what its files looked like at the last look; since: when they were first seen so
    run       the folder of its run, which stays when the checkpoint is deleted
    finished  whether the run was, at the last look
    training  what the checkpoint is one of; step: its place in it
    starts    how often an evaluation of it has ended and left it unfinished
    cut_off   how often the watch died during one; that of a live watch counts
    verdict   of the gate; base: the run that it was held against
    told      whether a NO-GO was handed on; owed: who has not heard of it yet
    """

    looks: str = ""
    since: float = 0.0
    complete: bool = False
    run: str = ""
    finished: bool = False
    training: str = ""
    step: int | None = None
    starts: int = 0
    cut_off: int = 0
    verdict: str | None = None
    base: str | None = None
    told: bool = False
    owed: list[str] = field(default_factory=list)


@dataclass
class State:
    """Of all folders that were seen, by their paths."""

    path: Path
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> State:
        content = read_json(path).get("checkpoints")
        found = content if isinstance(content, dict) else {}
        known = set(Checkpoint.__dataclass_fields__)
        return cls(
            path,
            {
                folder: Checkpoint(**{key: value[key] for key in known & value.keys()})
                for folder, value in found.items()
                if isinstance(value, dict)
            },
        )

    def write(self) -> None:
        content = {"checkpoints": {name: asdict(each) for name, each in self.checkpoints.items()}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(content, indent=1) + "\n")

    def of(self, folder: Path) -> Checkpoint:
        return self.checkpoints.setdefault(str(folder), Checkpoint())


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the watch of a folder of state. Raises InputError where another process has it.

    The folder is its owner's alone: it gets a copy of the config's `models`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fix = "end that one first, or let it go on"
            raise InputError(
                [Problem(str(folder), "another process watches these checkpoints", fix)]
            ) from None
        yield
