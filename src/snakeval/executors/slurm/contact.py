"""Whether Slurm answers and takes jobs: what a start makes of that, and what it tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from snakeval.executors.slurm import queue
from snakeval.executors.slurm.submit import Full, NoAnswer

TOLD_AFTER = 3
"""Failed queries in a row after which the person who waits is told."""


class Contact:
    """What is known of Slurm now.

    held      why nothing is submitted now; empty: jobs are taken
    full      whether that is because there is no room
    given_up  why nothing more is tried; empty: somebody has answered within `controller_patience`
    """

    def __init__(self, logger: Any) -> None:
        self.held, self.full, self.given_up = "", False, ""
        self._told, self._told_alone = "", False
        self._logger, self._failures, self._silent = logger, 0, 0.0

    def answered(self) -> None:
        """A query was answered; what waits may be tried again."""
        if self._failures >= TOLD_AFTER or self._silent:
            self._logger.info("Slurm answers again")
        self.held, self._failures, self._silent = "", 0, 0.0

    def failed(self, error: Exception) -> None:
        """A query was not answered."""
        self._failures += 1
        if self._failures == TOLD_AFTER:
            self._logger.warning(f"Slurm does not answer ({error}); the jobs go on")
        self._wait(error)

    def hold(self, why: Full | NoAnswer) -> None:
        """A submission was not answered, or there is no room: the others of this round wait."""
        self.full = isinstance(why, Full)
        if self.full:
            held = f"Slurm takes no more jobs now ({why}): submitted as room comes"
        else:
            held = f"Slurm does not answer ({why}): the queue is looked at, then submitted again"
            self._wait(why)
        if held != self._told:
            self._logger.warning(held)
        self.held = self._told = held

    def held_by_our_own(self, jobs: Sequence[str]) -> None:
        """There is no room, and the user's only jobs are the run's controller and servers."""
        if not self._told_alone:
            self._logger.warning(
                f"your only jobs are the run's own controller and servers ({', '.join(jobs)}): "
                "where the limit counts those alone, no room comes while they run. A larger limit, "
                "`placement: colocated`, or a start without controller=job makes some"
            )
        self._told_alone = True

    def _wait(self, error: Exception) -> None:
        self._silent = self._silent or time.monotonic()
        if time.monotonic() - self._silent > queue.patience():
            self.given_up = (
                f"Slurm has not answered for {queue.patience():g} s "
                f"(execution.controller_patience): {error}"
            )
