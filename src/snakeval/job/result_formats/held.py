"""What every format is held to: the model, repeats, empty answers."""

from __future__ import annotations

from typing import Any

from .model import EVERY_ANSWER_EMPTY, CheckFailed, Spec


def check_model(served: Any, spec: Spec) -> None:
    if served and spec.model_id and served != spec.model_id:
        raise CheckFailed(f'the result is of the model "{served}", not of "{spec.model_id}"')


def check_repeats(repeats: int, spec: Spec, what: str, cached: bool | None = None) -> None:
    """Repeats with one and the same request body are one answer counted several times."""
    if repeats > 1 and (spec.cached if cached is None else cached) and not spec.seeded:
        raise CheckFailed(
            f"{what} asks every sample {repeats} times, but the cache gives every repeat the "
            "same answer: switch the cache off or give each repeat its own seed"
        )


def check_not_all_empty(scored: int, empty: int) -> None:
    """A model that never says anything is not one that is always wrong."""
    if scored and empty == scored:
        raise CheckFailed(EVERY_ANSWER_EMPTY)
