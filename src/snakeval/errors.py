"""What a person is told when the input is wrong: all of it at once, each with a fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from snakeval.job.text import plain


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it stands, what it is, what to do about it.

    A `warning` is told and recorded, and refuses nothing.
    """

    where: str
    what: str
    fix: str = ""
    warning: bool = False

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return plain(f"{text}\n    -> {self.fix}" if self.fix else text)


class InputError(Exception):
    """The input cannot be used. `problems` holds every reason that was found."""

    def __init__(self, problems: Iterable[Problem], heading: str = "") -> None:
        self.problems = list(problems)
        self.heading = heading or count(len(self.problems), "problem") + "; nothing was started"
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join([self.heading + ":", *(f"  {problem}" for problem in self.problems)])


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def size_in_words(size: int) -> str:
    """`1.2 GB`, of bytes."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def nearest(word: str, candidates: Sequence[str]) -> str:
    """A half sentence that names the nearest candidates, or lists a few of them."""
    close = alike(word, candidates)
    if close:
        return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    if 0 < len(candidates) <= 12:
        return "possible: " + ", ".join(sorted(candidates))
    return ""


def alike(word: str, candidates: Sequence[str]) -> list[str]:
    """The candidates that a word may have been meant to be, the nearest first."""
    plain = {_plain(name): name for name in candidates}
    return [plain[name] for name in get_close_matches(_plain(word), list(plain), n=3, cutoff=0.6)]


def _plain(name: str) -> str:
    """A name as it is compared: MMLU-Pro is near mmlu_pro."""
    return name.lower().replace("-", "_")
