"""Text as bash: words, settings, comments, `#SBATCH` lines. Nothing that is rendered breaks out.

Every script of a run is made of these, so that one place decides what a quote, a newline or a
control character in a name can do: nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from snakeval.errors import InputError, Problem


def word(text: str) -> str:
    """A text as one word of bash. Raises InputError for NUL, which no script can hold."""
    if "\0" in text:
        raise InputError([Problem("", f"{text!r} holds a NUL character", "leave it out")])
    return shlex.quote(text)


def words(texts: Iterable[str]) -> str:
    """Texts as words of one command."""
    return " ".join(map(word, texts))


def assigned(settings: Mapping[str, str | Iterable[str]]) -> list[str]:
    """Settings as lines of bash: words, and lists of words."""
    return [
        f"{name}={word(value)}" if isinstance(value, str) else f"{name}=({words(value)})"
        for name, value in settings.items()
    ]


def comment(text: str) -> str:
    """A comment of one line, whatever is in the text."""
    return f"# {printable(text)}".rstrip()


def printable(text: str) -> str:
    """A text on one line, without anything that a terminal obeys."""
    return "".join(char if char.isprintable() else "?" for char in text)


def sbatch(flags: Sequence[str]) -> str:
    """One `#SBATCH` line. sbatch reads it by rules of its own, and a newline would end it: what it
    cannot hold is refused. Raises InputError."""
    for flag in flags:
        if not flag.isprintable():
            raise InputError(
                [
                    Problem(
                        "sbatch",
                        f"the flag {flag!r} holds a control character",
                        "write it on one line, without tabs",
                    )
                ]
            )
    return f"#SBATCH {words(flags)}"


def here_document(command: str, text: str) -> list[str]:
    """Lines that give a text to a command as it is: nothing in it is expanded, or ends it."""
    word(text)
    mark = "END"
    while f"\n{mark}\n" in f"\n{text}\n":
        mark += "_"
    first, _, rest = command.partition(" || ")
    return [f"{first} <<'{mark}'{f' || {rest}' if rest else ''}", text.rstrip("\n"), mark]
