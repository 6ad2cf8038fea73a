"""Fills the shared Hugging Face cache, where a harness can be asked for its datasets.

lm-eval downloads the data of a task when it makes the task, before any request. Of other harnesses
nobody knows what they will load: one sample with internet fills the cache for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from snakeval.plan import Run, Task


def bring(run: Run, tasks: Sequence[Task], runtime: str, say: Callable[[str], None]) -> None:
    """Raises InputError with every task whose datasets cannot be had."""
