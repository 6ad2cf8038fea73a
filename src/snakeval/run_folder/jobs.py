"""Jobs of a run, of whatever executor: one that lives, and the note of the one created last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakeval.job.files import now, read_json, write_atomically


@dataclass(frozen=True)
class Job:
    """A live job.

    waiting  in a queue, and not at work yet
    reason   why it waits, in the executor's own words
    where    it runs: a node, a service
    elapsed  seconds since it began; None where nobody knows
    """

    id: str
    waiting: bool = False
    reason: str = ""
    where: str = ""
    elapsed: float | None = None


@dataclass(frozen=True)
class LiveJobs:
    """The live jobs of a run by task, or why the executor could not be asked about them."""

    of_tasks: Mapping[str, Job] = field(default_factory=dict)
    unknown: str = ""


def note(
    file: Path,
    job: str,
    executor: str,
    digest: str,
    start: str,
    cause: str = "",
    waits: str = "",
) -> None:
    """`job.json`: the job that was created last for a task or a server.

    cause  why it came to nothing
    waits  why none could be created yet
    """
    content = {"job": job, "on": executor, "digest": digest, "start": start, "noted": now()}
    content |= {key: value for key, value in (("cause", cause), ("waits", waits)) if value}
    write_atomically(file, json.dumps(content, indent=1) + "\n")


def noted(file: Path) -> dict[str, Any]:
    """What `note` has written; empty when there is nothing that can be read."""
    return read_json(file)
