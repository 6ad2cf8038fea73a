"""How often a comparison calls equal models different, and sees a real difference, by simulation.

The models find questions hard in ways of their own, and answer one and the same question alike.
What is tested is what compare does: single samples, repeats of a question, published values alone.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rig.reliability import note
from snakeval.compare import statistics
from snakeval.results.clusters import of_repeats

Answers = NDArray[np.float64]

COMPARISONS = 1000
STATED = 0.05
CHANCE = 3 * np.sqrt(STATED * (1 - STATED) / COMPARISONS)
"""Three standard errors of a share that was simulated."""


def answers(
    rng: np.random.Generator, questions: int, repeats: int, drop: float
) -> tuple[Answers, Answers]:
    """Right (1) or wrong (0) of two models, a row per question."""
    hard = rng.beta(0.5, 0.5, questions)
    chances = (np.clip(hard + rng.normal(0, 0.25, questions) - by, 0, 1) for by in (0.0, drop))
    base, candidate = (
        (rng.random((questions, repeats)) < chance[:, None]).astype(float) for chance in chances
    )
    return base, candidate


def by_samples(base: Answers, candidate: Answers) -> float | None:
    """Every answer under a sample's id of its own, as harnesses that repeat do."""
    repeats = base.shape[1]
    questions = [number // repeats for number in range(base.size)]
    return statistics.paired(base.ravel(), candidate.ravel(), questions).p


def by_values(base: Answers, candidate: Answers) -> float | None:
    """The published means, with errors of a harness that takes repeats for questions."""
    told = []
    for found in (base, candidate):
        stderr = float(found.std(ddof=1)) / np.sqrt(found.size)
        told += [float(found.mean()), of_repeats(stderr, found.size, found.shape[1])[0]]
    return statistics.unpaired(*told).p


def naively(base: Answers, candidate: Answers) -> float | None:
    """As if every answer were to a question of its own."""
    return statistics.paired(base.ravel(), candidate.ravel()).p


def seen(
    test: Callable[[Answers, Answers], float | None], questions: int, repeats: int, drop: float
) -> float:
    """The share of comparisons that see a difference at 5%."""
    rng = np.random.default_rng(20)
    ps = [test(*answers(rng, questions, repeats, drop)) for _ in range(COMPARISONS)]
    return sum(p is not None and p < STATED for p in ps) / COMPARISONS


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "test", "questions", "repeats"),
    [
        ("400 questions once", by_samples, 400, 1),
        ("100 questions once", by_samples, 100, 1),
        ("100 questions 5 times", by_samples, 100, 5),
        ("30 questions 5 times", by_samples, 30, 5),
        ("100 questions 5 times, published values alone", by_values, 100, 5),
    ],
)
def test_equal_models_are_called_different_no_more_often_than_stated(
    what: str,
    test: Callable[[Answers, Answers], float | None],
    questions: int,
    repeats: int,
) -> None:
    alarms = seen(test, questions, repeats, 0.0)
    power = {drop: seen(test, questions, repeats, drop) for drop in (0.1, 0.2)}

    shown = ", ".join(f"of {drop:.0%} in {share:.1%}" for drop, share in power.items())
    note(
        f"false alarms and power, {what}",
        f"{COMPARISONS:,} comparisons: false alarms {alarms:.1%} of stated 5%; a drop {shown}",
    )
    assert alarms < STATED + CHANCE
    assert power[0.2] > power[0.1] > alarms


@pytest.mark.long
def test_simulation_shows_what_repeats_that_are_taken_for_questions_would_do() -> None:
    alarms = seen(naively, 100, 5, 0.0)

    note("false alarms, 100 questions 5 times taken for 500", f"{alarms:.1%} of stated 5%")
    assert alarms > 2 * STATED
