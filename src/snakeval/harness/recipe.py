"""What `run.sh` needs to know of a harness."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakeval.errors import InputError, Problem
from snakeval.plan.run import Task


@dataclass(frozen=True)
class Recipe:
    """How one task is run by its harness.

    command      `sh` script; its exit code is the harness's
    format       the format of its results, one of `snakeval.job.verify`'s
    programs     what must be on the PATH when it runs without a container; one is enough
    results      the result file, for formats that leave it open; relative to the work folder
    written      files for the task's record that the harness reads, by name
    stale        what an earlier attempt left and this one must not find: names relative to the
                 work folder; after `**/` a pattern for the last part of a name, wherever it is;
                 after `!` a pattern of what stays in the work folder, where all else goes
    files        host folder with the benchmark's own files, or None
    environment  fixed variables of the harness
    key_variable variable in which the harness expects the API key; None: under its own name
    cached       whether equal requests are answered from a cache
    repeats      how often each sample is asked
    seeded       whether repeats differ in what they send
    own_cache    what stands in a file of `written` since the gateway keeps the answers, and what is
                 to stand there without one
    own_folder   it starts in the image's working directory, and is told where the work folder is
    """

    command: str
    format: str
    programs: tuple[str, ...]
    results: str | None = None
    written: dict[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    files: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    key_variable: str | None = None
    cached: bool = True
    repeats: int = 1
    seeded: bool = False
    own_cache: tuple[str, str] | None = None
    own_folder: bool = False


def words(value: Any) -> str:
    """A parameter as one word of a command line: true/false in lower case, None is empty."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def argument_words(task: Task) -> list[str]:
    """The words of `params.extra.args`, the user's own part of a harness's command line. Raises
    InputError where a quote is not closed."""
    try:
        return shlex.split(words(task.params.get("extra", {}).get("args")))
    except ValueError:
        raise InputError(
            [
                Problem(
                    f"{task.where}: params.extra.args",
                    "a quote is not closed",
                    "write words as a shell reads them",
                )
            ]
        ) from None
