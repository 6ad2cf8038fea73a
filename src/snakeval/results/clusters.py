"""Repeats of a question are one cluster: they tell of one question, not of several.

Samples with the same prompt in the same part of a benchmark are repeats, also where the harness
gives each of them an id of its own.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def of_questions(values: NDArray[np.float64], questions: Sequence[Hashable]) -> NDArray[np.float64]:
    """One value per question, with the mean of all values; their spread is that of the questions.

    Of questions that were asked equally often it is the mean of each; else the linearised ratio of
    sums (cluster-robust: Liang and Zeger 1986).
    """
    import numpy as np

    _, cluster = np.unique(_numbered(questions), return_inverse=True)
    sizes = np.bincount(cluster)
    if len(sizes) == len(values):
        return values
    mean = values.mean()
    residuals = np.bincount(cluster, weights=values - mean)
    found: NDArray[np.float64] = mean + residuals * len(sizes) / len(values)
    return found


def _numbered(questions: Sequence[Hashable]) -> list[int]:
    known: dict[Hashable, int] = {}
    return [known.setdefault(question, len(known)) for question in questions]


def of_repeats(
    stderr: float | None, n: int | None, repeats: int
) -> tuple[float | None, int | None]:
    """Standard error and number of questions, of a harness that takes repeats for questions.

    How alike repeats are is not known without single samples: as if they were all the same, which
    is never too narrow. `n` that is no multiple of the repeats counts questions already.
    """
    if repeats < 2 or not n or n % repeats:
        return stderr, n
    return None if stderr is None else stderr * math.sqrt(repeats), n // repeats
