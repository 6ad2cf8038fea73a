"""Waiting for what will come true: with one deadline, which only a hang can reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600.0
"""Seconds. It says nothing of how long something may take: on a busy machine it takes longer."""


def wait_until(
    condition: Callable[[], Any],
    *,
    seconds: float = PATIENCE,
    every: float = 0.05,
    told: Callable[[], Any] = lambda: "it did not come true",
) -> None:
    """Returns when the condition holds; `TimeoutError`, with what `told` says, where it never does.

    every  seconds between two looks
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} s: {told()}")
        time.sleep(every)
