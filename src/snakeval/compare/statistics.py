"""Statistics of scores: intervals of one score, paired tests of two, correction for several.

Every interval is two-sided. Where a test and an interval stand together they answer the same
question, but the exact McNemar test is more cautious than Tango's interval: close to the limit the
one may see a difference where the other does not yet.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from snakeval.results.clusters import of_questions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["mcnemar", "bootstrap", "clusters", "unpaired", "cautious", "suite"]
Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 20_260_101
"""Fixed: the same two runs give the same numbers, on every machine."""

DRAWS_AT_ONCE = 4_000_000
"""Bounds the memory of a bootstrap to some 100 MB."""


@dataclass(frozen=True)
class Difference:
    """Candidate minus base. `kind`: how it was tested; p and interval None: it could not be."""

    kind: Kind
    value: float
    interval: Interval | None
    p: float | None


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """1.96 for 95%."""
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)


def score_interval(value: float, stderr: float | None, n: int | None) -> Interval | None:
    """The interval of one score: Wilson's for a share of right answers, else the normal one.

    A score is a share where its standard error is that of n right or wrong answers. None where
    nothing is known but the score.
    """
    if stderr is None:
        return None
    if n and n > 1 and is_share(value, stderr, n):
        return wilson(value, n)
    half = normal_quantile() * stderr
    return value - half, value + half


def is_share(value: float, stderr: float, n: int) -> bool:
    """Whether a mean and its standard error (of n or n-1 degrees) are those of zeros and ones."""
    if not 0 <= value <= 1 or n < 2:
        return False
    variance = value * (1 - value)
    return any(
        math.isclose(stderr, math.sqrt(variance / of), rel_tol=1e-3, abs_tol=1e-9)
        for of in (n, n - 1)
    )


def wilson(share: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval (1927) of a share of n."""
    z = normal_quantile(confidence)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired(
    base: NDArray[np.float64],
    candidate: NDArray[np.float64],
    questions: Sequence[Hashable] = (),
    confidence: float = CONFIDENCE,
) -> Difference:
    """The difference of two scores over the same samples, in the same order.

    questions  what tells the samples' questions apart; none: every sample is one

    Right or wrong on both sides: exact McNemar, Tango's interval. Else, or where questions were
    repeated: bootstrap of the pairs, or of the questions.
    """
    import numpy as np

    if len(set(questions)) < len(questions):
        found = bootstrap(of_questions(candidate - base, questions), confidence)
        return replace(found, kind="clusters")

    both = np.concatenate([base, candidate])
    if np.isin(both, (0.0, 1.0)).all():
        lost = int(((base == 1) & (candidate == 0)).sum())
        won = int(((base == 0) & (candidate == 1)).sum())
        n = len(base)
        return Difference(
            "mcnemar", (won - lost) / n, tango(won, lost, n, confidence), mcnemar(won, lost)
        )
    return bootstrap(candidate - base, confidence)


def mcnemar(won: int, lost: int) -> float:
    """p of the exact (conditional) McNemar test: a sign test of the samples that flipped."""
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def tango(won: int, lost: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Tango's score interval (1998) of a difference of two shares of the same n samples.

    It has a width where nothing flipped, too.
    """
    from scipy.optimize import brentq

    z = normal_quantile(confidence)

    def score(difference: float) -> float:
        """How many standard errors what was seen lies above this true difference."""
        b = (2 * n - won + lost) * difference - won - lost
        c = -lost * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * share + difference * (1 - difference))
        gap = won - lost - n * difference
        if abs(gap) < 1e-12:
            return 0.0
        return gap / math.sqrt(variance) if variance > 1e-15 else math.copysign(math.inf, gap)

    seen, edge = (won - lost) / n, 1 - 1e-12
    low = brentq(lambda at: min(score(at), 1e9) - z, -edge, seen) if score(-edge) > z else -1.0
    high = brentq(lambda at: max(score(at), -1e9) + z, seen, edge) if score(edge) < -z else 1.0
    return float(low), float(high)


def bootstrap(
    differences: NDArray[np.float64],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Difference:
    """Studentised bootstrap of the mean of paired differences (Efron and Tibshirani, ch. 12).

    Test and interval come from the same distribution of |mean* - mean| / stderr*, so that p is
    below 1 - confidence exactly where the interval leaves out 0.
    """
    import numpy as np

    n = len(differences)
    mean = float(differences.mean())
    if n < 2:
        return Difference("bootstrap", mean, None, None)
    stderr = float(differences.std(ddof=1)) / math.sqrt(n)
    if stderr < 1e-12:
        # The same difference everywhere: nothing to draw from but its sign.
        p = 1.0 if abs(mean) < 1e-12 else max(1 / (resamples + 1), 2.0 ** (1 - n))
        return Difference("bootstrap", mean, (mean, mean), p)
    drawn = np.abs(studentised(differences, resamples, seed))
    reach = float(np.quantile(drawn, confidence, method="higher"))
    p = (1 + int((drawn >= abs(mean) / stderr).sum())) / (resamples + 1)
    half = reach * stderr
    return Difference("bootstrap", mean, (mean - half, mean + half), float(p))


def studentised(
    values: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """(mean* - mean) / stderr* of resamples of values that are not all the same."""
    import numpy as np

    n, mean = len(values), values.mean()
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    step = max(1, DRAWS_AT_ONCE // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        sample = values[rng.integers(0, n, (size, n))]
        gaps = sample.mean(axis=1) - mean
        errors = sample.std(axis=1, ddof=1) / math.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn[start : start + size] = np.where(np.abs(gaps) < 1e-12, 0.0, gaps / errors)
    return drawn


def unpaired(
    base: float,
    base_stderr: float | None,
    candidate: float,
    candidate_stderr: float | None,
) -> Difference:
    """The difference where no single samples are known, from the two standard errors.

    It takes the runs for independent, which is too cautious for the same samples.
    """
    from statistics import NormalDist

    value = candidate - base
    if base_stderr is None or candidate_stderr is None:
        return Difference("unpaired", value, None, None)
    stderr = math.hypot(base_stderr, candidate_stderr)
    if stderr == 0:
        return Difference("unpaired", value, None, None)
    half = normal_quantile() * stderr
    p = 2 * NormalDist().cdf(-abs(value) / stderr)
    return Difference("unpaired", value, (value - half, value + half), p)


def pooled(
    differences: Sequence[Difference], confidence: float = CONFIDENCE
) -> tuple[float, Interval]:
    """The mean of independent differences, and its interval; all of them must have one."""
    z = normal_quantile(confidence)
    errors = [
        (each.interval[1] - each.interval[0]) / (2 * z) for each in differences if each.interval
    ]
    mean = sum(each.value for each in differences) / len(differences)
    half = z * math.hypot(*errors) / len(differences)
    return mean, (mean - half, mean + half)


def stderr_at_the_end(n: int) -> float:
    """A standard error of a share of n answers that are all right, or all wrong.

    What the harness says there is 0; Wilson's interval has a width there, too.
    """
    low, _ = wilson(1.0, n)
    return (1.0 - low) / normal_quantile()


def cautious_stderr(
    value: float, n: int | None, lowest: float | None, highest: float | None
) -> float | None:
    """A standard error that n answers hardly exceed, of a score of which none is known.

    Twice that of n answers at the two ends of the range. None where the range is not known.
    """
    if not n or lowest is None or highest is None or not lowest <= value <= highest:
        return None
    return (highest - lowest) / math.sqrt(n)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): the chance of any false alarm stays below alpha."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected
