"""The jobs of this start that the service may have: from before their creation to their deletion.

Snakemake forgets the jobs that it is just asking about: a Ctrl-C at that moment would leave them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_lepton.client import Denied, Missing, ServiceError, Unauthorized
from snakemake_executor_plugin_lepton.spec import Wanted
from snakemake_executor_plugin_lepton.storage import Staging
from snakemake_executor_plugin_lepton.watch import Exit, Verdict, Watch


@dataclass
class Tracked:
    """One job.

    name     ours, of this attempt; its folder on the storage has it too
    folder   where this machine sees what the job reads and writes about itself
    id       the service's; None until the service has said so
    """

    job: Any
    name: str
    folder: Path
    wanted: Wanted
    labels: Mapping[str, str]
    watch: Watch
    staging: Staging | None = None
    id: str | None = None
    lost_answer: bool = False
    refused: str = ""
    failures: int = 0
    adopted: bool = False
    made: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> dict[str, str]:
        """The label that this job alone has."""
        return {"snakemake-attempt": self.name}

    @property
    def written(self) -> Exit | None:
        """What the job has written at its end, if it can be seen here."""
        try:
            return Exit.parsed((self.folder / "exit").read_text(encoding="utf-8"))
        except OSError:
            return None

    @property
    def log(self) -> Path:
        return self.folder / "job.log"


class Registry:
    """The jobs by their names; asked from several threads."""

    def __init__(self) -> None:
        self._jobs: dict[str, Tracked] = {}
        self._lock = threading.Lock()

    def add(self, tracked: Tracked) -> None:
        with self._lock:
            self._jobs[tracked.name] = tracked

    def discard(self, tracked: Tracked) -> None:
        with self._lock:
            self._jobs.pop(tracked.name, None)

    @property
    def all(self) -> list[Tracked]:
        with self._lock:
            return list(self._jobs.values())


def tried(call: Callable[[], None], times: int, pause: Callable[[float], object]) -> str:
    """Makes a call until it holds; what it said last where it never did."""
    said = ""
    for number in range(times):
        if number and pause(min(2.0**number, 8.0)):
            break
        try:
            call()
        except Missing:
            return ""
        except ServiceError as error:
            said = str(error)
            if isinstance(error, Denied) and not isinstance(error, Unauthorized):
                break
        else:
            return ""
    return said


__all__ = ["Registry", "Tracked", "Verdict", "tried"]
