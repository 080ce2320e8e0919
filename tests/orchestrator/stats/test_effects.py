"""`orchestrator.stats.effects`: by hand, by invariants, and against scipy and statsmodels."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import survdiff
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from orchestrator.stats import effects as stats

FLOATS = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 3))
DIFFERENCES = st.lists(FLOATS, min_size=2, max_size=8)


def test_sign_flip_of_a_case_done_by_hand() -> None:
    # |sum| of 3, 2, 1 with signs: 6 4 2 0 0 2 4 6; observed 4 → 4 of 8 are as large.
    assert stats.sign_flip([3.0, 2.0, -1.0]) == pytest.approx(0.5)


@given(DIFFERENCES)
@settings(max_examples=60, deadline=None)
def test_sign_flip_is_the_share_of_sign_patterns_as_extreme(values: list[float]) -> None:
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in product((1, -1), repeat=len(values))
    ]
    expected = np.mean(np.array(sums) >= abs(sum(values)) - 1e-9)
    assert stats.sign_flip(values) == pytest.approx(expected)
    assert stats.sign_flip([-value for value in values]) == pytest.approx(expected)


def test_sampled_sign_flip_is_reproducible_and_close_to_the_t_test() -> None:
    n = stats.EXACT_SIGN_FLIPS + 1
    values = np.random.default_rng(0).normal(0.3, 1, n)
    p = stats.sign_flip(values)
    n_extreme = p * (stats.N_RESAMPLES + 1)
    assert n_extreme == pytest.approx(round(n_extreme))  # a share of the sample
    assert stats.sign_flip(values) == p
    assert p == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_sign_flip_counts_every_pattern_up_to_its_limit() -> None:
    n = 32
    # As extreme as n - 1 ones and one -0.5 are: all of one sign, with either sign of the 0.5.
    assert stats.sign_flip([1.0] * (n - 1) + [-0.5]) == 4 / 2**n
    beyond = stats.sign_flip([1.0] * n + [-0.5])
    assert beyond == 1 / (stats.N_RESAMPLES + 1)  # no sampled pattern is as extreme


def test_log_rank_is_exact_up_to_its_limit() -> None:
    n = 8
    assert n == stats.EXACT_LOG_RANK
    assert math.comb(2 * n, n) <= stats.N_RESAMPLES < math.comb(2 * n + 2, n + 1)
    steps, yes = np.arange(1.0, n + 1), np.ones(n, bool)
    assert stats.log_rank(steps + 100, yes, steps, yes) == 2 / math.comb(2 * n, n)


def test_paired_t_interval_is_scipys() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.25])
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert stats.paired_t(values, 0.9) == pytest.approx((expected.low, expected.high))
    assert stats.paired_t([0.3]) == (-math.inf, math.inf)


def test_equal_values_have_an_interval_only_where_their_number_bears_the_error() -> None:
    # n equal values lie above the median by chance with probability 2^-n: 1/32 is above 2.5 %.
    assert stats.paired_t([0.25] * 5) == (-math.inf, math.inf)
    assert stats.paired_t([0.25] * 6) == (0.25, 0.25)
    assert stats.paired_bounds([0.25] * 4) == (-math.inf, math.inf)
    assert stats.paired_bounds([0.25] * 5) == (0.25, 0.25)


def test_the_studentized_test_is_students_where_differences_are_symmetric() -> None:
    symmetric = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    expected = scipy_stats.ttest_1samp(symmetric, 0.0).pvalue
    assert stats.studentized(symmetric) == pytest.approx(expected)
    assert stats.studentized(-symmetric) == pytest.approx(expected)


@given(DIFFERENCES)
@settings(max_examples=100, deadline=None)
def test_the_studentized_test_fits_its_interval_and_is_never_below_students(
    values: list[float],
) -> None:
    p = stats.studentized(values)
    assert 0 <= p <= 1 and p == pytest.approx(stats.studentized([-value for value in values]))
    if len(values) < 3:
        assert p == 1.0
        return
    low, high = stats.paired_interval(values)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (low > 0 or high < 0)
    if stats.has_spread(np.array(values)):
        assert p >= scipy_stats.ttest_1samp(values, 0.0).pvalue - 1e-9


def test_skewness_against_the_mean_costs_the_studentized_test_its_significance() -> None:
    # One large negative value more would take the mean back to zero: a long tail on that side.
    values = [0.05, 0.06, 0.055, 0.052, 0.005]
    assert scipy_stats.ttest_1samp(values, 0.0).pvalue < 0.02 < stats.studentized(values)
    mirrored = [0.05, 0.06, 0.055, 0.052, 0.105]
    assert stats.studentized(mirrored) == pytest.approx(
        scipy_stats.ttest_1samp(mirrored, 0.0).pvalue
    )


def test_equal_differences_are_tested_by_their_signs() -> None:
    assert stats.studentized([0.25] * 5) == pytest.approx(2 / 32)
    assert stats.studentized([0.25] * 6) == pytest.approx(2 / 64)
    assert stats.studentized([0.0] * 6) == 1.0
    assert stats.tost_paired([0.01] * 5, 0.02) == pytest.approx(1 / 32)
    assert stats.tost_paired([0.03] * 5, 0.02) == 1.0


@given(DIFFERENCES, st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_tost_agrees_with_the_one_sided_bounds(values: list[float], margin: float) -> None:
    bounds = stats.paired_bounds(values)
    inside = -margin < bounds.low and bounds.high < margin
    p = stats.tost_paired(values, margin)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == inside


def test_tost_of_symmetric_differences_is_statsmodels() -> None:
    a, b = np.array([0.3, 0.35, 0.28, 0.31, 0.3]), np.array([0.29, 0.36, 0.3, 0.29, 0.3])
    assert stats.tost_paired(a - b, 0.05) == pytest.approx(ttost_paired(a, b, -0.05, 0.05)[0])


@given(DIFFERENCES)
@settings(max_examples=60, deadline=None)
def test_bounds_are_never_inside_those_of_student(values: list[float]) -> None:
    bounds, student = stats.paired_bounds(values), stats.paired_t(values, 0.90)
    assert bounds.low <= student.low + 1e-9 and student.high - 1e-9 <= bounds.high
    mirrored = stats.paired_bounds([-value for value in values])
    assert mirrored == pytest.approx((-bounds.high, -bounds.low))


def test_bounds_of_a_skewed_case_done_by_hand() -> None:
    # 0, 0, 3: mean 1, variance 3, third moment 3 * (-1 - 1 + 8) / 2 = 9, t = 2.920 for 5 %.
    t = 2.919986
    term = 9 / (6 * 3 * 3) * (1 + 2 * t * t)
    assert stats.paired_bounds([0.0, 0.0, 3.0]) == pytest.approx((1 - t, 1 + t + term), abs=1e-4)


def test_bounds_of_skewed_outcomes_err_in_at_most_one_case_of_twenty() -> None:
    rng = np.random.default_rng(8)
    for n in (3, 6, 10):
        arms = np.exp(0.25 * rng.standard_normal((2, 40_000, n)))
        upper = stats.upper_bounds(1.2 * arms[0] - arms[1], 0.05)
        assert np.mean(upper < 0.2 * math.exp(0.25**2 / 2)) < 0.05


def test_log_rank_scores_of_a_case_done_by_hand() -> None:
    # At risk 4, 3, (2 censored) 1: hazards 1/4, 1/3, then 1 at the last event.
    scores = stats.log_rank_scores([1, 2, 3, 4], [True, True, False, True])
    assert scores == pytest.approx([1 - 1 / 4, 1 - 7 / 12, -7 / 12, 1 - 7 / 12 - 1])


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=9))
def test_log_rank_scores_add_up_to_zero(runs: list[tuple[int, bool]]) -> None:
    times, events = zip(*runs, strict=True)
    assert stats.log_rank_scores(times, events).sum() == pytest.approx(0, abs=1e-9)


def test_log_rank_statistic_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        times = rng.integers(1, 12, 14).astype(float)
        events, group = rng.random(14) < 0.8, np.repeat([0, 1], 7)
        variance = 0.0
        for time in np.unique(times[events]):
            at_risk, d = times >= time, np.sum(events & (times == time))
            n, n1 = at_risk.sum(), (at_risk & (group == 1)).sum()
            if n > 1:
                variance += d * n1 * (n - n1) * (n - d) / (n * n * (n - 1))
        chi_squared, _ = survdiff(times, events, group)
        score = stats.log_rank_scores(times, events)[group == 1].sum()
        assert score**2 / variance == pytest.approx(chi_squared)


def test_exact_log_rank_at_three_against_three_is_a_tenth_where_the_asymptotic_says_025() -> None:
    slow, fast = [400.0, 400.0, 400.0], [40.0, 60.0, 80.0]
    p = stats.log_rank(slow, [False] * 3, fast, [True] * 3)
    assert p == pytest.approx(0.1)
    _, asymptotic = survdiff(np.array(fast + slow), np.array([1, 1, 1, 0, 0, 0]), [0] * 3 + [1] * 3)
    assert round(asymptotic, 3) == 0.025


def test_log_rank_of_equal_arms_is_one_and_many_splits_are_sampled() -> None:
    steps, yes = np.arange(10.0, 22.0), np.ones(12, bool)
    assert stats.log_rank(steps[:3], yes[:3], steps[:3], yes[:3]) == 1.0
    p = stats.log_rank(steps + 100, yes, steps, yes)
    assert p == stats.log_rank(steps + 100, yes, steps, yes) == pytest.approx(1 / 20_001)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_holm_is_statsmodels(n: int) -> None:
    p_values = (np.random.default_rng(n).random(n) ** 3).tolist()
    expected = multipletests(p_values, method="holm")[1]
    assert stats.holm(p_values) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_benjamini_hochberg_is_statsmodels(n: int) -> None:
    p_values = (np.random.default_rng(n).random(n) ** 3).tolist()
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert stats.benjamini_hochberg(p_values) == pytest.approx(expected)


def test_benjamini_hochberg_by_hand() -> None:
    # .01 * 3 / 1, .03 * 3 / 2, .04 * 3 / 3, and none larger than the one after it.
    assert stats.benjamini_hochberg([0.04, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_benjamini_hochberg_lies_between_the_raw_p_and_holm(p_values: list[float]) -> None:
    adjusted = zip(p_values, stats.benjamini_hochberg(p_values), stats.holm(p_values), strict=True)
    for raw, found, holm in adjusted:
        assert raw - 1e-12 <= found <= holm + 1e-12


def test_sampled_sign_flip_agrees_with_the_exact_one() -> None:
    values = np.random.default_rng(1).normal(0.35, 1, stats.EXACT_SIGN_FLIPS + 1)
    assert stats.sign_flip(values) == pytest.approx(stats.sign_flip(values[:-1]), abs=0.1)
    # 20 ones and one -0.5: as extreme are all or all but the small one, of both signs.
    assert stats.sign_flip([1.0] * 20 + [-0.5]) == pytest.approx(4 / 2**21)


def test_pairing_by_hand() -> None:
    # Variances 1 and 4, covariance 2: the difference 3, 2, 1 has variance 1 instead of 5.
    found = stats.pairing([4.0, 5.0, 6.0], [1.0, 3.0, 5.0])
    assert found == pytest.approx((1.0, 0.8))
    assert np.isnan(stats.pairing([0.3, 0.4], [0.3, 0.5])).all()
    assert np.isnan(stats.pairing([0.3, 0.3, 0.3], [0.3, 0.5, 0.4])).all()


def test_what_pairing_saved_is_the_share_of_the_variance_it_removed() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 12))
    b = 0.7 * a + b
    removed = 1 - np.var(a - b, ddof=1) / (np.var(a, ddof=1) + np.var(b, ddof=1))
    assert stats.pairing(a, b).saved == pytest.approx(removed)
    assert stats.pairing(a, b).correlation == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_looking_after_every_seed_errs_three_times_too_often_and_spending_alpha_does_not() -> None:
    # The figures of VERDICTS.md, by paired t-tests: 16.6 % after every seed from 3 to 10, and
    # 4.6 % with .01 spent at 5 seeds and .04 at 10.
    values = np.random.default_rng(9).standard_normal((40_000, 10))
    p = {n: scipy_stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue for n in range(3, 11)}
    peeking = np.any([p[n] < 0.05 for n in p], axis=0).mean()
    spending = ((p[5] < 0.01) | (p[10] < 0.04)).mean()
    assert peeking == pytest.approx(0.166, abs=0.006)
    assert spending == pytest.approx(0.046, abs=0.003)


def test_too_few_values_are_no_evidence_and_two_have_students_interval() -> None:
    for p in (stats.sign_flip, stats.studentized, lambda v: stats.tost_paired(v, 9.0)):
        assert p([]) == p([0.3]) == 1.0
    two = np.array([0.1, 0.4])
    expected = scipy_stats.ttest_1samp(two, 0).confidence_interval(0.9)
    assert stats.paired_t(two, 0.9) == pytest.approx((expected.low, expected.high))
    assert stats.paired_bounds(two) == pytest.approx((expected.low, expected.high))
    assert stats.tost_paired(two, 2.0) == pytest.approx(ttost_paired(two, 0 * two, -2.0, 2.0)[0])


def test_equal_values_bear_an_error_of_just_their_chance_and_a_confidence_of_two_sides() -> None:
    assert stats.paired_bounds([0.25] * 5, 1 / 32) == (0.25, 0.25)
    assert stats.paired_t([0.25] * 5, 0.93) == (0.25, 0.25)  # 1/32 is below 3.5 %
    assert stats.tost_paired([0.25] * 5, 0.25) == 1.0  # at the margin, not inside it


def test_a_mean_beyond_the_margin_with_a_tail_away_from_it_has_a_p_of_one() -> None:
    assert stats.tost_paired([0.0, 0.0, 3.0], 0.1) == 1.0


@pytest.mark.parametrize("unit", [1e-6, 1e4])
def test_the_unit_of_the_outcome_changes_no_p_value(unit: float) -> None:
    values = np.array([0.05, 0.06, 0.055, 0.052, 0.005])
    assert stats.studentized(unit * values) == pytest.approx(stats.studentized(values))
    scaled = stats.tost_paired(unit * values, unit * 0.08)
    assert scaled == pytest.approx(stats.tost_paired(values, 0.08))
    bounds = stats.paired_bounds(values)
    assert stats.paired_bounds(unit * values) == pytest.approx(
        (unit * bounds.low, unit * bounds.high)
    )


def test_bounds_of_many_studies_are_those_of_each() -> None:
    for n in (2, 5):
        studies = np.random.default_rng(6).normal(size=(2, 3, n))
        found = stats.upper_bounds(studies, 0.05)
        each = [[stats.paired_bounds(one).high for one in row] for row in studies]
        assert found.shape == (2, 3) and found == pytest.approx(np.array(each))


SINGLE = np.array([0.7, 0.6, -0.5, 0.3, 0.3, -0.1], dtype=np.float32)


@pytest.mark.parametrize(
    "of",
    [
        stats.sign_flip,
        stats.studentized,
        stats.paired_t,
        stats.paired_bounds,
        lambda v: stats.tost_paired(v, 0.7),
        lambda v: stats.pairing(v, np.arange(6.0) ** 2),
        lambda v: stats.pairing(np.arange(6.0) ** 2, v),
        lambda v: stats.holm(abs(v)),
        lambda v: stats.benjamini_hochberg(abs(v)),
    ],
)
def test_numbers_of_single_precision_are_computed_with_in_double(of: Any) -> None:
    assert of(SINGLE) == of(SINGLE.astype(np.float64))


def test_a_sampled_log_rank_is_the_same_in_every_process() -> None:
    rng = np.random.default_rng(2)
    to, reference, yes = rng.random(12), rng.random(12) + 0.1, np.ones(12, bool)
    stats._splits.cache_clear()
    p = stats.log_rank(to, yes, reference, yes)
    stats._splits.cache_clear()
    assert 0.01 < p < 0.99 and stats.log_rank(to, yes, reference, yes) == p


def test_one_run_may_be_compared_with_several_and_none_says_nothing() -> None:
    # One split in five puts the last escape into an arm of its own.
    assert stats.log_rank([90.0], [True], [10.0, 20.0, 30.0, 40.0], [True] * 4) == 1 / 5
    assert stats.log_rank([], [], [10.0, 20.0], [True, True]) == 1.0
    assert stats.log_rank([10.0, 20.0], [1, 1], [], []) == 1.0


def test_escapes_may_be_given_as_ones_and_zeros() -> None:
    found = stats.log_rank_scores([1, 2, 3, 4], [1, 1, 0, 1])
    assert found == pytest.approx(stats.log_rank_scores([1, 2, 3, 4], [True, True, False, True]))


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.4])
def test_p_below_of_many_studies_is_that_of_the_upper_bound(margin: float) -> None:
    studies = np.random.default_rng(4).gamma(1.5, 1.0, (200, 6)) - 1.5
    found = stats.p_below(studies, margin)
    for error in (0.01, 0.05, 0.2):
        refuted = stats.upper_bounds(studies, error) < margin
        assert ((found < error) == refuted).all()
    assert 0 < (found < 0.2).sum() < 200
    two_sided = 2 * np.minimum(stats.p_below(studies, 0.0), stats.p_below(-studies, 0.0))
    assert np.minimum(1, two_sided) == pytest.approx([stats.studentized(one) for one in studies])
