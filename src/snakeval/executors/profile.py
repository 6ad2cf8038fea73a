"""What Snakemake's profile says of all jobs alike: known before there are jobs."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_RUNTIME = "docker"
"""Of a profile that names no container runtime."""

OF_A_JOB = re.compile(r"\b(attempt|threads|input|wildcards|system_tmpdir)\b")
"""What Snakemake knows only when it makes a job."""

BARE_WORD = re.compile(r"^[\w./:@=,-]+$")


@dataclass(frozen=True)
class Profile:
    """What a start needs to know of Snakemake's profile.

    defaults  `default-resources`, but for those that are computed for each job
    """

    defaults: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        """The container runtime of jobs that ask for none of their own."""
        value = self.defaults.get("container_runtime")
        return value if isinstance(value, str) else DEFAULT_RUNTIME


def of_all_jobs(expressions: Mapping[str, object]) -> dict[str, int | str]:
    """What `default-resources` say, but for what is computed for each job.

    Snakemake keeps all but numbers as expressions, `'docker'` and `cpu` too, until a job is made.
    """
    said = {name: _said(expression) for name, expression in expressions.items()}
    return {name: value for name, value in said.items() if value is not None}


def _said(expression: object) -> int | str | None:
    """What an expression of `default-resources` says for every job alike; None: it does not."""
    if isinstance(expression, int):
        return expression
    if not isinstance(expression, str) or OF_A_JOB.search(expression):
        return None
    text = os.path.expandvars(expression)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a word without quotes, as Snakemake takes it
        return text if BARE_WORD.match(text) else None
    return value if isinstance(value, int | str) else None
