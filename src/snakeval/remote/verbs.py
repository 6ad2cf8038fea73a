"""What is asked about a run on a login node from elsewhere: the same words, said there."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from snakeval.errors import InputError, Problem
from snakeval.remote.notes import Note, meant, notes_in
from snakeval.remote.ssh import Connection

STAYS = (
    *("work", "published", "artifacts", "huggingface", "lib", "lease", "users", "controller.json"),
    *("ledger*", "answers*", "__pycache__"),
)
"""What `fetch` leaves there: work folders and links to them, what is of a moment, and the
gateway's answers, which may be many."""


def ask(notes: Sequence[Note], verb: str, words: Sequence[str], files: Sequence[str] = ()) -> int:
    """`snakeval VERB` about runs of one login node, said there; its exit code. Raises InputError.

    words  after the runs
    files  those of the words that are files of this machine: they are brought
    """
    login = notes[0].login
    if others := {note.login.target for note in notes} - {login.target}:
        what = f"is about runs on {login.target} and on {', '.join(sorted(others))}"
        raise InputError([Problem(verb, what, "ask about those of one login node")])
    there = Connection(login)
    if files:
        place = login.place(files)
        there.bring([Path(file) for file in files], place)
        words = [f"{place}/{Path(word).name}" if word in files else word for word in words]
    folders = dict.fromkeys(str(Path(note.dir).parent) for note in notes)
    where = [word for folder in folders for word in ("--output-dir", folder)]
    said = [login.snakeval, verb, *(note.run for note in notes), *where, *words]
    return there.hand_over(login.entered(f"exec {shlex.join(said)}"))


def named(prefix: str | None, runs: Collection[str], folders: Sequence[Path]) -> list[Note]:
    """The runs on login nodes that a target of Snakemake's is about.

    prefix  what `run=` says; else
    runs    the ids that the config comes to here; else it is the latest one
    """
    if prefix or not runs:
        return meant(prefix, [], {}, folders)
    digits = {run[-8:] for run in runs}
    found = {note.run[-8:]: note for note in notes_in(folders) if note.run[-8:] in digits}
    return list(found.values())


def fetch(note: Note) -> int:
    """Brings a run's results here, without its work folders. Raises InputError."""
    left = [f"--exclude={name}" for name in STAYS]
    Connection(note.login).take(note.dir, note.fetched, "--delete", *left)
    print(f"{note.run} of {note.login.target}: {note.fetched}")
    table = note.fetched / "results" / "results.csv"
    if not table.exists():
        print("it has no tables yet: they are written when the run ends")
    return 0
