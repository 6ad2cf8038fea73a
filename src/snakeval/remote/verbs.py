"""What is asked about a run on a login node from elsewhere: the same words, said there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from snakeval.remote.notes import Note
from snakeval.remote.ssh import Connection

STAYS = (
    *("work", "published", "artifacts", "huggingface", "lib", "lease", "users", "controller.json"),
    *("ledger*", "answers*", "__pycache__"),
)
"""What `fetch` leaves there: work folders and links to them, what is of a moment, and the
gateway's answers, which may be many."""


def ask(note: Note, verb: str, words: Sequence[str]) -> int:
    """`snakeval VERB` about that run, on the login node; its exit code. Raises InputError."""
    said = [note.login.snakeval, verb, note.run, "--output-dir", str(Path(note.dir).parent), *words]
    return Connection(note.login).hand_over(note.login.entered(f"exec {shlex.join(said)}"))


def fetch(note: Note) -> int:
    """Brings a run's results here, without its work folders. Raises InputError."""
    left = [f"--exclude={name}" for name in STAYS]
    Connection(note.login).take(note.dir, note.fetched, "--delete", *left)
    print(f"{note.run} of {note.login.target}: {note.fetched}")
    table = note.fetched / "results" / "results.csv"
    if not table.exists():
        print("it has no tables yet: they are written when the run ends")
    return 0
