"""Whether a job has ended, and how: decided from what was seen of it. Pure, with the clock given.

The exit code that the job itself has written decides wherever there is one; the service's state
only where there is none, because it knows no exit codes, and because a job that was restarted,
archived or lost ends in states that say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from snakemake_executor_plugin_lepton.states import Phase

UNKNOWN_GRACE = 60.0
"""Seconds that a job may be in no known state."""
MISSING_LIMIT = 3
"""Looks in a row that do not find the job."""
ENDING_GRACE = 180.0
"""Seconds that a job may be on its way out."""
SOON = 10.0
"""Seconds after which the end of a job without a written exit code is told, where the state says
that it was no success."""
REFUSED_PATIENCE = 900.0
"""Seconds for which the service may refuse to say anything of a job (401, 403)."""
MARGIN = 60.0
"""Seconds after the time limit at which the job is stopped from outside. Inside it is `timeout`
that ends it, and the job can still say so."""


@dataclass(frozen=True)
class Exit:
    """What a job has written when its command ended."""

    code: int
    timed_out: bool = False

    @classmethod
    def parsed(cls, text: str) -> Exit | None:
        words = text.split()
        if not words or not words[0].isdigit():
            return None
        return cls(int(words[0]), "timeout" in words[1:])


@dataclass(frozen=True)
class Verdict:
    """How a job has ended; `cause` is empty for a success.

    left  it may still run, and is left to: nobody could ask
    """

    cause: str = ""
    left: bool = False

    @property
    def success(self) -> bool:
        return not self.cause


SUCCESS = Verdict()


@dataclass
class Watch:
    """What was seen of one job. All times are seconds of one clock.

    limit        seconds of work, None: without
    latency      seconds until a file that was written on the storage must be seen here
    queue_limit  seconds of waiting without a break, None: without
    queue_setting  where that limit is set
    """

    limit: float | None = None
    latency: float = 10.0
    queue_limit: float | None = None
    queue_setting: str = "lepton-queue-limit"
    worked: float = 0.0
    _running_at: float | None = None
    _unknown_since: float | None = None
    _ended_since: float | None = None
    _ending_since: float | None = None
    _missing: int = 0
    _refused_since: float | None = None
    _waiting_since: float | None = None

    def look(self, phase: Phase | None, written: Exit | None, now: float) -> Verdict | None:
        """The verdict after one look; None: it goes on.

        phase    None: the service could not be asked, which says nothing about the job
        written  what the job has written at its end
        """
        self._count(phase, now)
        if written is not None:
            return self._by_exit(written)
        if self.limit is not None and self.worked > self.limit + MARGIN:
            return Verdict(self._over())
        if phase is None:
            return None
        self._refused_since = None
        if phase is not Phase.UNKNOWN:
            self._unknown_since = None
        if phase is not Phase.ENDING:
            self._ending_since = None
        self._missing = 0
        if phase is Phase.UNKNOWN:
            self._unknown_since = now if self._unknown_since is None else self._unknown_since
            if now - self._unknown_since > UNKNOWN_GRACE:
                return Verdict(f"has been in no known state for {UNKNOWN_GRACE:g} s")
            return None
        if phase is Phase.ENDING:
            self._ending_since = now if self._ending_since is None else self._ending_since
            if now - self._ending_since > ENDING_GRACE:
                return Verdict("was stopped from outside, and does not end")
            return None
        if phase.live:
            self._ended_since = None
            return self._waited(phase, now)
        self._ended_since = now if self._ended_since is None else self._ended_since
        perhaps_well = phase in (Phase.COMPLETED, Phase.GONE)
        latency = self.latency if perhaps_well else min(self.latency, SOON)
        if now - self._ended_since < latency:  # the file may yet be seen
            return None
        return Verdict(_ENDED[phase])

    def _waited(self, phase: Phase, now: float) -> Verdict | None:
        if phase is not Phase.WAITING:
            self._waiting_since = None
            return None
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if self.queue_limit is None or now - self._waiting_since <= self.queue_limit:
            return None
        minutes = self.queue_limit / 60
        return Verdict(
            f"has waited for {minutes:g} minutes and was not started: is there a machine of its "
            f"shape in its node group? ({self.queue_setting})"
        )

    def missing(self, written: Exit | None, now: float) -> Verdict | None:
        """The service says that there is no such job."""
        self._count(None, now)
        if written is not None:
            return self._by_exit(written)
        self._missing += 1
        if self._missing < MISSING_LIMIT:
            return None
        return Verdict("has vanished: the service does not know it any more")

    def refused(self, said: str, written: Exit | None, now: float) -> Verdict | None:
        """The service does not say how it is: the token is not taken, or may not ask. That says
        nothing of the job, which goes on.

        said  the service's words
        """
        if verdict := self.look(None, written, now):
            return verdict
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since < REFUSED_PATIENCE:
            return None
        return Verdict(
            f"was left running: for {REFUSED_PATIENCE / 60:g} minutes the service has not said how "
            f"it is ({said}). A further start or attempt waits for it",
            left=True,
        )

    def _count(self, phase: Phase | None, now: float) -> None:
        """Time between two looks that both saw it running was work; so is time without a look."""
        if self._running_at is not None and phase in (Phase.RUNNING, None):
            self.worked += now - self._running_at
            self._running_at = now
        if phase is Phase.RUNNING:
            self._running_at = now
        elif phase is not None:
            self._running_at = None

    def _by_exit(self, written: Exit) -> Verdict:
        if written.timed_out:
            return Verdict(self._over())
        return (
            Verdict(f"its command ended with exit code {written.code}")
            if written.code
            else (SUCCESS)
        )

    def _over(self) -> str:
        minutes = (self.limit or 0) / 60
        return f"its time limit of {minutes:g} minutes is used up (resource runtime)"


_ENDED = {
    Phase.COMPLETED: "is Completed, but its exit code is not on the storage: is what the job "
    "mounts the storage that this machine sees?",
    Phase.FAILED: "has Failed before its command could end: its image cannot be started, its "
    "storage is not there, or it was killed (memory, node, preemption)",
    Phase.STOPPED: "was stopped from outside",
    Phase.GONE: "was deleted from outside",
}
