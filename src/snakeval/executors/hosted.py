"""Servers that a service runs, seen from this machine: where they are, and how they end.

Their supervisor is a process here, as that of a local server is; what it keeps up has a name, which
a note in the deployment's folder holds from before its creation until it is deleted
(`hosted_life.py` is how it lives).
"""

from __future__ import annotations

from abc import abstractmethod

from snakeval.executors.local import server as local
from snakeval.job.files import read_json
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import ServerPaths


class Servers(local.Servers):
    """Servers of a service.

    called  what the service has, in messages
    note    the file in the deployment's folder that names it
    down    seconds in which it is deleted, though the service refuses for a while
    """

    called: str
    note: str
    down: float

    @property
    def on_this_machine(self) -> bool:
        return False

    def named(self, paths: ServerPaths) -> str:
        """The name of what there is, or may be; empty when there is none."""
        return str(read_json(paths.dir / self.note).get("name") or "")

    @abstractmethod
    def sweep(self, paths: ServerPaths) -> None:
        """Deletes what a note names and nobody supervises; says what keeps it there."""

    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        """Asks for its end and waits for it; whether it is deleted."""
        if state.supervisor_of(paths) and not state.ask_to_end(paths, when, self.down):
            return False
        if self.named(paths):
            self.sweep(paths)
        return not self.named(paths)

    def where(self, paths: ServerPaths) -> str:
        name, owner = self.named(paths), state.supervisor_of(paths)
        told = [f"{self.called} {name}"] if name else []
        return ", ".join(
            [*told, *([f"supervised on {owner.host} by pid {owner.pid}"] if owner else [])]
        )

    def left_over(self, paths: ServerPaths) -> str:
        name = self.named(paths)
        return f"{self.called} {name}" if name and not state.supervisor_of(paths) else ""
