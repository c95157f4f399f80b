"""The judge: each test against scipy's own or a plain loop, and its verdicts against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel_lab.report.statistics import comparison, paired
from bevel_lab.report.statistics.arrays import LEVEL, POWER, Floats
from bevel_lab.report.statistics.bootstrap import bca
from bevel_lab.report.statistics.calibration import calibrate
from bevel_lab.report.statistics.comparison import Verdict
from bevel_lab.report.statistics.power import pairs_needed, smallest_effect
from bevel_lab.report.statistics.sign_flips import EXACT_PAIRS, PATTERNS, sign_flip

EXPERIMENTS = 2_000
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)
DIFFERENCES = st.lists(st.integers(-50, 50).map(lambda n: n / 16), min_size=2, max_size=9)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(pairs: int, *, rows: int = 1, seed: int = 0) -> Floats:
    return rng(seed).exponential(size=(rows, pairs)) - 0.6


# -- sign-flip test


@pytest.mark.parametrize("pairs", [2, 5, 10])
def test_sign_flip_is_scipys_exact_permutation_test(pairs: int) -> None:
    from scipy import stats as scipy_stats

    rows = noise(pairs, rows=8)
    theirs = [
        scipy_stats.permutation_test((row,), np.sum, permutation_type="samples", n_resamples=2**pairs).pvalue
        for row in rows
    ]
    np.testing.assert_allclose(sign_flip(rows, rng()), theirs, rtol=1e-12)


@pytest.mark.parametrize("pairs", [1, 2, 6, 10, EXACT_PAIRS])
def test_the_most_extreme_outcome_has_p_two_over_two_to_the_pairs(pairs: int) -> None:
    assert float(sign_flip(np.linspace(1, 2, pairs), rng())) == 2 / 2**pairs


def test_sign_flip_without_a_difference_has_p_one() -> None:
    assert float(sign_flip(np.zeros(7), rng())) == 1.0


@given(st.lists(st.integers(-30, 30), min_size=1, max_size=9))
def test_equal_sums_count_as_equally_extreme_despite_rounding(values: list[int]) -> None:
    # accuracies are counts over a number of samples: tenths of integers must be judged as the integers are
    assert float(sign_flip(np.array(values) / 10, rng())) == float(sign_flip(np.array(values), rng()))


def test_monte_carlo_takes_over_above_the_exact_range_and_never_reaches_zero() -> None:
    from scipy import stats as scipy_stats

    pairs = EXACT_PAIRS + 4
    assert float(sign_flip(np.ones(pairs), rng())) == pytest.approx(1 / (1 + PATTERNS), rel=1.5)
    assert float(sign_flip(np.ones(pairs), rng())) >= 1 / (1 + PATTERNS)
    row = rng(3).normal(0.35, 1, pairs)
    theirs = scipy_stats.permutation_test((row,), np.sum, permutation_type="samples", n_resamples=200_000, rng=rng(5))
    assert float(sign_flip(row, rng())) == pytest.approx(theirs.pvalue, abs=0.015)


def test_the_generator_reaches_the_draws() -> None:
    row = noise(20)[0]
    assert float(sign_flip(row, rng(1))) == float(sign_flip(row, rng(1)))
    assert float(sign_flip(row, rng(1))) != float(sign_flip(row, rng(2)))
    assert bca(row, rng(1)) == bca(row, rng(1))
    assert bca(row, rng(1)) != bca(row, rng(2))
    assert smallest_effect(12, 7, rng(1)) != smallest_effect(12, 7, rng(2))


@given(DIFFERENCES)
def test_sign_flip_knows_neither_direction_nor_unit(values: list[float]) -> None:
    row = np.array(values)
    p = float(sign_flip(row, rng()))
    assert 2 / 2 ** len(values) <= p <= 1
    assert float(sign_flip(-row, rng())) == p
    assert float(sign_flip(row * 1e-3, rng())) == p


# -- interval


@pytest.mark.parametrize("pairs", [4, 10, 30])
def test_bca_is_scipys(pairs: int) -> None:
    from scipy import stats as scipy_stats

    row = noise(pairs, seed=2)[0]
    low, high = bca(row, rng(1), 60_000)
    theirs = scipy_stats.bootstrap((row,), np.mean, n_resamples=60_000, rng=rng(2)).confidence_interval
    assert (float(low), float(high)) == pytest.approx(theirs, abs=0.02 * row.std())


def test_bca_rows_are_judged_one_by_one() -> None:
    rows = noise(8, rows=5)
    low, high = bca(rows, rng())
    for i, row in enumerate(rows):
        assert (float(low[i]), float(high[i])) == pytest.approx(tuple(map(float, bca(row, rng()))))


@pytest.mark.parametrize("value", [0.0, 0.25, 0.1 + 0.2, -1e-3])
def test_equal_differences_give_an_interval_of_no_width(value: float) -> None:
    low, high = bca(np.full(7, value), rng())
    assert (float(low), float(high)) == pytest.approx((value, value), abs=1e-15)


def test_small_samples_have_an_interval_or_none() -> None:
    low, high = bca(np.array([0.0, 1.0]), rng())
    assert (float(low), float(high)) == (0.0, 1.0)
    assert np.isnan(bca(np.array([0.5]), rng())).all()


@given(DIFFERENCES)
@settings(max_examples=30)
def test_bca_stays_within_the_data(values: list[float]) -> None:
    low, high = bca(np.array(values), rng(), 999)
    assert min(values) - 1e-12 <= float(low) <= float(high) <= max(values) + 1e-12


# -- Holm, counting, effects


def test_holm_on_a_worked_example() -> None:
    adjusted = paired.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])


@given(P_VALUES)
def test_holm_decides_as_the_step_down_procedure_does(values: list[float]) -> None:
    adjusted = paired.holm(np.array(values))
    rejected = set()
    for step, i in enumerate(np.argsort(values, kind="stable")):
        if values[i] * (len(values) - step) > LEVEL:
            break
        rejected.add(int(i))
    assert {i for i, p in enumerate(adjusted) if p <= LEVEL} == rejected
    assert (adjusted >= np.array(values)).all()


@pytest.mark.parametrize(("arms", "pairs"), [(1, 6), (2, 7), (7, 9), (10, 9), (13, 10)])
def test_pairs_needed(arms: int, pairs: int) -> None:
    assert pairs_needed(arms) == pairs
    assert arms * 2 / 2**pairs <= LEVEL < arms * 2 / 2 ** (pairs - 1)


def test_improvement_counts_ties_half() -> None:
    assert float(paired.improvement(np.array([1.0, -2.0, 0.0, 3.0]))) == 0.625


@pytest.mark.parametrize(("pairs", "arms"), [(8, 7), (5, 1), (1, 1), (0, 1)])
def test_nothing_is_detectable_with_too_few_pairs(pairs: int, arms: int) -> None:
    assert smallest_effect(pairs, arms, rng()) == math.inf


@pytest.mark.parametrize(("pairs", "arms"), [(9, 7), (10, 7), (12, 1), (17, 7)])
def test_the_smallest_effect_is_found_in_eighty_per_cent(pairs: int, arms: int) -> None:
    effect = smallest_effect(pairs, arms, rng(1))
    # alone against its Bonferroni level: Holm's first step, and so what "smallest detectable" promises
    rows = rng(2).standard_normal((EXPERIMENTS, pairs)) + effect
    p = sign_flip(rows, rng(3))
    assert float((p <= LEVEL / arms).mean()) == pytest.approx(POWER, abs=0.03)
    # and through the whole judge, interval included, whose later steps can only help a little
    experiments = EXPERIMENTS if pairs <= EXACT_PAIRS else EXPERIMENTS // 4
    found = calibrate(experiments=experiments, arms=arms, pairs=pairs, effect=effect, rng=rng(4)).found
    assert POWER - 0.04 <= found <= POWER + 0.06


def test_the_smallest_effect_approaches_the_noncentral_t() -> None:
    from scipy import stats as scipy_stats

    pairs, level = 40, LEVEL / 7
    effect = smallest_effect(pairs, 7, rng())
    bar = scipy_stats.t.isf(level / 2, pairs - 1)
    assert scipy_stats.nct.sf(bar, pairs - 1, effect * math.sqrt(pairs)) == pytest.approx(POWER, abs=0.03)


# -- verdicts


@pytest.mark.parametrize(
    ("adjusted", "low", "high", "pairs", "verdict"),
    [
        (0.05, 0.1, 0.9, 10, Verdict.BETTER),
        (0.05, -0.9, -0.1, 10, Verdict.WORSE),
        (0.051, 0.1, 0.9, 10, Verdict.NO_EVIDENCE),
        (0.05, 0.0, 0.9, 10, Verdict.NO_EVIDENCE),
        (0.05, -0.1, 0.9, 10, Verdict.NO_EVIDENCE),
        (0.0625, 0.1, 0.9, 5, Verdict.TOO_FEW),
        (1.0, math.nan, math.nan, 0, Verdict.TOO_FEW),
    ],
)
def test_better_and_worse_need_both_criteria(
    adjusted: float, low: float, high: float, pairs: int, verdict: Verdict
) -> None:
    assert list(comparison.verdicts(np.array([adjusted]), np.array([low]), np.array([high]), 2.0 ** (1 - pairs))) == [
        verdict
    ]


def test_no_verdict_of_too_few_could_have_been_another() -> None:
    # eight pairs among seven equal arms can never do; one arm that lost two of ten pairs still can, as Holm's last
    never = comparison.verdicts(paired.holm(np.full(7, 2 / 2**8)), np.ones(7), np.ones(7), 2 / 2**8)
    assert set(never) == {Verdict.TOO_FEW}
    pairs = np.array([10] * 6 + [8])
    still = comparison.verdicts(paired.holm(2.0 / 2.0**pairs), np.ones(7), np.ones(7), 2.0 / 2.0**pairs)
    assert set(still) == {Verdict.BETTER}


def test_compare_pairs_on_common_seeds_and_says_how_many_were_lost() -> None:
    base = {seed: 0.5 + 0.01 * seed for seed in range(8)}
    arm = {seed: 0.6 + 0.012 * seed for seed in range(10)} | {3: math.nan}
    found = comparison.compare({"relu": base, "arm": arm}, "relu", rng())["arm"]
    expected = [arm[seed] - base[seed] for seed in (0, 1, 2, 4, 5, 6, 7)]
    assert (found.pairs, found.unpaired) == (7, 3)
    assert found.difference == pytest.approx(np.mean(expected))
    assert (found.p, found.adjusted, found.improvement) == (2 / 2**7, 2 / 2**7, 1.0)
    assert found.low <= found.difference <= found.high
    assert found.verdict is Verdict.BETTER
    effect = smallest_effect(7, 1, rng(9))
    assert found.detectable == pytest.approx(effect * np.std(expected, ddof=1), rel=0.05)


def test_compare_a_single_arm_with_itself_finds_nothing() -> None:
    scores = {seed: 0.9 + 0.001 * seed for seed in range(10)}
    found = comparison.compare({"relu": scores, "again": dict(scores)}, "relu", rng())["again"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.verdict is Verdict.NO_EVIDENCE


def test_compare_without_common_seeds_or_arms() -> None:
    found = comparison.compare({"relu": {0: 1.0}, "arm": {1: 1.0}}, "relu", rng())["arm"]
    assert (found.pairs, found.unpaired, found.verdict, found.needed) == (0, 2, Verdict.TOO_FEW, 6)
    assert math.isnan(found.difference)
    assert comparison.compare({"relu": {0: 1.0}}, "relu", rng()) == {}


def test_summary_counts_what_it_cannot_average() -> None:
    found = comparison.summary({0: 1.0, 1: math.nan, 2: 3.0})
    assert (found.runs, found.failed, found.mean, found.sd) == (2, 1, 2.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(comparison.summary({0: 1.0}).sd)
    assert math.isnan(comparison.summary({0: math.nan}).mean)


# -- the judge, judged


@pytest.mark.parametrize(("arms", "pairs", "least"), [(7, 10, 0.94), (10, 10, 0.90), (10, 12, 0.97)])
def test_a_difference_of_two_sd_is_found(arms: int, pairs: int, least: float) -> None:
    result = calibrate(experiments=EXPERIMENTS, arms=arms, pairs=pairs, effect=2.0, rng=rng(7))
    assert result.found >= least
    assert result.false <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / EXPERIMENTS)


def test_a_true_loss_is_called_worse() -> None:
    assert calibrate(experiments=400, arms=3, pairs=10, effect=-2.0, rng=rng(8)).found >= 0.95


@pytest.mark.parametrize(("arms", "pairs"), [(1, 6), (7, 9), (7, 10), (10, 10), (7, 17)])
def test_without_a_difference_false_verdicts_stay_below_five_per_cent(arms: int, pairs: int) -> None:
    experiments = EXPERIMENTS if pairs <= EXACT_PAIRS else EXPERIMENTS // 4  # the Monte-Carlo test takes longer
    result = calibrate(experiments=experiments, arms=arms, pairs=pairs, effect=0.0, rng=rng(9))
    assert math.isnan(result.found)
    assert result.false <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / experiments)


def test_with_too_few_pairs_nothing_is_ever_found() -> None:
    result = calibrate(experiments=300, arms=7, pairs=8, effect=5.0, rng=rng(10))
    assert (result.found, result.false) == (0.0, 0.0)
