"""Tests and intervals give what published examples give; false alarms are as rare as stated."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from snakeval.compare import statistics
from snakeval.results.clusters import of_questions, of_repeats

STUDENT_1908 = [
    # extra hours of sleep with two drugs, 10 patients
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
]
EFRON_MICE = [52, 104, 146, 10, 51, 30, 40, 27, 46]
"""Days of survival: Efron and Tibshirani, An Introduction to the Bootstrap, table 2.1."""


def answers(won: int, lost: int, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    base = [0.0] * won + [1.0] * lost + [1.0] * right + [0.0] * wrong
    candidate = [1.0] * won + [0.0] * lost + [1.0] * right + [0.0] * wrong
    return np.array(base), np.array(candidate)


@pytest.mark.parametrize(
    ("won", "lost", "right", "wrong", "p"),
    [
        # Armitage and Berry 1994: two media for tubercle bacilli
        pytest.param(12, 2, 20, 16, 0.0129, id="Armitage and Berry"),
        # Fagerland, Lydersen and Laake 2013, table 1: Bentur et al. 2009
        pytest.param(1, 7, 1, 12, 0.0703, id="Bentur"),
        # the same, table 2: Cavo et al. 2012
        pytest.param(6, 16, 59, 80, 0.0525, id="Cavo"),
    ],
)
def test_exact_mcnemar_gives_the_published_p(
    won: int, lost: int, right: int, wrong: int, p: float
) -> None:
    found = statistics.paired(*answers(won, lost, right, wrong))

    assert found.kind == "mcnemar"
    assert found.p == pytest.approx(p, abs=5e-5)
    table = [[right, lost], [won, wrong]]
    assert found.p == pytest.approx(reference_mcnemar(table, exact=True).pvalue, rel=1e-12)


def test_interval_of_a_paired_difference_is_tangos() -> None:
    # Fagerland, Lydersen and Laake 2014, the data of Bentur et al.: -0.517 to -0.026
    assert statistics.tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    # Nothing flipped: z^2 / (n + z^2)
    assert statistics.tango(0, 0, 100) == pytest.approx((-0.03699, 0.03699), abs=1e-5)
    for won, lost, n in ((5, 0, 5), (0, 5, 5), (1, 0, 1), (300, 0, 20_000)):
        low, high = statistics.tango(won, lost, n)
        assert -1 <= low <= (won - lost) / n <= high <= 1


def test_studentised_bootstrap_draws_what_efron_and_tibshirani_draw() -> None:
    mice = np.array(EFRON_MICE, dtype=float)
    drawn = statistics.studentised(mice)

    # chapter 12: the 90% interval is 35.82 to 116.74, from 1,000 resamples
    stderr = mice.std(ddof=1) / 3
    low, high = mice.mean() - stderr * np.quantile(drawn, [0.95, 0.05])
    assert low == pytest.approx(35.82, abs=1)
    assert high == pytest.approx(116.74, abs=6)


def test_bootstrap_of_students_sleep_data_finds_the_known_difference() -> None:
    base, candidate = map(np.array, STUDENT_1908)

    found = statistics.paired(base, candidate)

    assert found.kind == "bootstrap"
    assert found.value == pytest.approx(1.58)
    assert found.interval is not None and found.p is not None
    assert found.p < 0.05 and found.interval[0] > 0  # t test: p 0.0028; ours fears the outlier more
    assert found == statistics.paired(base, candidate), "the seed is fixed"


def test_bootstrap_agrees_with_the_t_test_on_many_samples() -> None:
    from scipy.stats import ttest_1samp

    gaps = np.random.default_rng(1).normal(0.02, 0.2, 400)

    found, known = statistics.bootstrap(gaps), ttest_1samp(gaps, 0)

    assert found.p == pytest.approx(known.pvalue, abs=0.01)
    assert found.interval == pytest.approx(tuple(known.confidence_interval()), abs=0.002)


def test_bootstrap_of_nothing_to_draw_from_says_so() -> None:
    assert statistics.bootstrap(np.array([0.5])).p is None
    same = statistics.bootstrap(np.zeros(50))
    assert (same.p, same.interval) == (1.0, (0.0, 0.0))
    shifted = statistics.bootstrap(np.full(50, 0.1))
    assert shifted.p == pytest.approx(1 / 10_001)


def test_wilson_and_holm_are_those_of_statsmodels() -> None:
    for right, n in ((0, 20), (7, 20), (81, 263), (20, 20)):
        known = proportion_confint(right, n, method="wilson")
        assert statistics.wilson(right / n, n) == pytest.approx(known)
    # Newcombe 1998, table 1: 81 of 263
    assert statistics.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    ps = [0.01, 0.04, 0.03, 0.005]  # the worked example of many textbooks
    assert statistics.holm(ps) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    many = list(np.random.default_rng(2).uniform(size=40))
    assert statistics.holm(many) == pytest.approx(list(multipletests(many, method="holm")[1]))


def test_interval_of_a_score_knows_shares_from_other_means() -> None:
    share = statistics.score_interval(1.0, 0.0, 24)
    assert share is not None and share[0] == pytest.approx(0.862, abs=1e-3)
    mean = statistics.score_interval(0.5, 0.02, 100)
    assert mean == pytest.approx((0.4608, 0.5392), abs=1e-4)
    assert statistics.score_interval(0.5, None, 100) is None


def test_false_alarms_over_1000_null_comparisons_stay_at_the_stated_rate() -> None:
    # given two equally good models, right or wrong, that disagree in a fifth of 400 questions
    rng = np.random.default_rng(3)
    flips = rng.binomial(400, 0.2, 1000)
    won = rng.binomial(flips, 0.5)

    ps = np.array([statistics.mcnemar(int(w), int(f - w)) for w, f in zip(won, flips, strict=True)])
    alarms = (ps < 0.05).mean()

    assert 0.02 < alarms < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_bootstrap_has_1000_null_comparisons_at_the_stated_rate() -> None:
    # given graded answers (0, a half, 1) to 100 questions, by two equally good models
    rng = np.random.default_rng(4)
    graded = rng.choice([0.0, 0.5, 1.0], size=(1000, 2, 100))

    found = [
        statistics.bootstrap(other - one, resamples=999, seed=number)
        for number, (one, other) in enumerate(graded)
    ]

    assert np.mean([each.p < 0.05 for each in found]) == pytest.approx(0.05, abs=0.021)
    covered = np.mean([each.interval[0] <= 0 <= each.interval[1] for each in found])
    assert covered == pytest.approx(0.95, abs=0.021)


def test_holm_keeps_false_alarms_of_a_whole_comparison_at_the_stated_rate() -> None:
    # given 1,000 comparisons of 20 benchmarks each, with nothing to see in any
    ps = np.random.default_rng(5).uniform(size=(1000, 20))

    alarmed = np.mean([min(statistics.holm(list(row))) < 0.05 for row in ps])

    assert alarmed < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert np.mean(ps.min(axis=1) < 0.05) > 0.5, "without the correction most would alarm"


def false_alarms(shift: float, comparisons: int = 300) -> float:
    """The share of comparisons at 5% that see a difference: 100 questions, each asked 5 times."""
    rng = np.random.default_rng(7)
    questions = np.repeat(np.arange(100), 5)
    seen = 0
    for _ in range(comparisons):
        hard = rng.beta(0.5, 0.5, 100)
        # What a model finds hard is its own; its answers to one question are alike.
        one, other = (np.clip(hard + rng.normal(0, 0.25, 100) + by, 0, 1) for by in (0, shift))
        base, candidate = (
            (rng.random(500) < chance[questions]).astype(float) for chance in (one, other)
        )
        values = of_questions(candidate - base, list(questions))
        seen += (statistics.bootstrap(values, resamples=400).p or 0) < 0.05
    return seen / comparisons


def test_repeated_questions_raise_no_more_false_alarms_than_stated() -> None:
    assert 0.02 < false_alarms(0.0) < 0.09


def test_repeated_questions_keep_the_power_to_see_a_difference() -> None:
    assert false_alarms(0.2) > 0.9


def test_questions_asked_unequally_often_keep_the_mean() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0, 0.5])

    found = of_questions(values, ["a", "a", "a", "b", "c"])

    assert len(found) == 3
    assert found.mean() == pytest.approx(values.mean())


def test_repeats_without_samples_are_taken_for_one_and_the_same_answer() -> None:
    assert of_repeats(0.02, 500, 5) == (pytest.approx(0.02 * 5**0.5), 100)
    assert of_repeats(0.05, 30, 7) == (0.05, 30)
