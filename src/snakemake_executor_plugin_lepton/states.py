"""The service's job states, and what each of them means for who waits. Pure."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    WAITING = "waiting"  # not yet, or not again, at work
    RUNNING = "running"
    ENDING = "ending"  # on its way out; the state after it counts
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    GONE = "gone"  # nothing runs, and the state does not say how it ended
    UNKNOWN = "unknown"

    @property
    def live(self) -> bool:
        """Whether something of the job may still run, or start to."""
        return self in (Phase.WAITING, Phase.RUNNING, Phase.ENDING, Phase.UNKNOWN)


PHASES = {
    "Queueing": Phase.WAITING,
    "Awaiting": Phase.WAITING,
    "Starting": Phase.WAITING,
    "Restarting": Phase.WAITING,
    "PendingRetry": Phase.WAITING,
    "Running": Phase.RUNNING,
    "Stopping": Phase.ENDING,
    "Terminating": Phase.ENDING,
    "Deleting": Phase.ENDING,
    "Completed": Phase.COMPLETED,
    "Failed": Phase.FAILED,
    "Stopped": Phase.STOPPED,
    "Deleted": Phase.GONE,
    "Archived": Phase.GONE,
    "UNK": Phase.UNKNOWN,
}
"""The states of `LeptonJobState` in leptonai 0.47.1."""


def phase_of(state: str | None) -> Phase:
    """A state that is not known, or none, is an unknown one: never an ended job."""
    return PHASES.get(state or "", Phase.UNKNOWN)
