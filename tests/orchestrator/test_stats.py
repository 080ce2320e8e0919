import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from orchestrator import stats
from orchestrator.stats import Share

FLOATS = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 3))
DIFFERENCES = st.lists(FLOATS, min_size=2, max_size=8)


# The table of VERDICTS.md: the lowest two-sided p that complete separation can reach.
@pytest.mark.parametrize(
    ("n_seeds", "fisher", "boschloo", "sign_flip"),
    [
        (3, 0.100, 0.031, 0.250),
        (4, 0.029, 0.008, 0.125),
        (5, 0.008, 0.002, 0.0625),
        (6, 0.002, 0.0005, 0.031),
    ],
)
def test_lowest_p_of_each_test_is_that_of_the_seed_table(
    n_seeds: int, fisher: float, boschloo: float, sign_flip: float
) -> None:
    assert round(stats.lowest_p("boschloo", n_seeds), 3 if n_seeds < 6 else 4) == boschloo
    assert round(stats.lowest_p("sign_flip", n_seeds), 4 if n_seeds == 5 else 3) == sign_flip
    exact = scipy_stats.fisher_exact([[n_seeds, 0], [0, n_seeds]]).pvalue
    assert round(exact, 3) == fisher
    # A log-rank permutation has as many splits as Fisher's table.
    assert stats.lowest_p("log_rank", n_seeds) == pytest.approx(exact)


def test_lowest_p_is_reached_by_complete_separation() -> None:
    for n in (2, 3, 5, 6):
        assert stats.sign_flip(np.full(n, 0.2)) == pytest.approx(stats.lowest_p("sign_flip", n))
        steps, never = np.arange(n) + 10.0, np.full(n, 400.0)
        p = stats.log_rank(never, np.zeros(n, bool), steps, np.ones(n, bool))
        assert p == pytest.approx(stats.lowest_p("log_rank", n))


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


def test_sign_flip_says_the_same_twice_where_it_samples() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 20)
    assert stats.sign_flip(values) == stats.sign_flip(values)
    exact = scipy_stats.ttest_1samp(values, 0).pvalue
    assert stats.sign_flip(values) == pytest.approx(exact, abs=0.03)


def test_paired_t_interval_is_scipys() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.25])
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert stats.paired_t(values, 0.9) == pytest.approx((expected.low, expected.high))
    assert stats.paired_t([0.3]) == (-math.inf, math.inf)


def test_equal_values_have_an_interval_only_from_five_on() -> None:
    assert stats.paired_t([0.25] * 4) == (-math.inf, math.inf)
    assert stats.paired_t([0.25] * 5) == (0.25, 0.25)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_bounds_of_a_share_difference_err_in_at_most_one_case_of_twenty(n: int) -> None:
    worst = 0.0
    for low, difference in product((0.0, 0.1, 0.3, 0.5), (0.0, 0.2, 0.5)):
        p_to = scipy_stats.binom.pmf(range(n + 1), n, low + difference)
        p_from = scipy_stats.binom.pmf(range(n + 1), n, low)
        wrong = sum(
            p_to[a] * p_from[b]
            for a, b in product(range(n + 1), repeat=2)
            if stats.share_bounds(Share(a, n), Share(b, n)).high < difference
        )
        worst = max(worst, wrong)
    assert worst <= 0.0501


def test_bounds_of_a_share_difference_mirror_and_contain_the_newcombe_interval() -> None:
    a, b = Share(5, 6), Share(2, 6)
    bounds, mirrored = stats.share_bounds(a, b), stats.share_bounds(b, a)
    assert mirrored == pytest.approx((-bounds.high, -bounds.low))
    newcombe = stats.share_difference([a], [b], 0.90)
    assert bounds.low <= newcombe.low and newcombe.high <= bounds.high
    # 0 of 3: the largest p with (1 - p)^3 > .05.
    none = stats.share_bounds(Share(0, 3), Share(0, 3))
    assert none.high >= 1 - 0.05 ** (1 / 3) - 1e-6


@given(DIFFERENCES, st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_tost_agrees_with_the_90_percent_interval(values: list[float], margin: float) -> None:
    interval = stats.paired_t(values, 0.90)
    inside = -margin < interval.low and interval.high < margin
    p = stats.tost_paired(values, margin)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == inside


def test_tost_is_statsmodels() -> None:
    a, b = np.array([0.3, 0.35, 0.28, 0.31]), np.array([0.29, 0.36, 0.3, 0.27])
    assert stats.tost_paired(a - b, 0.05) == pytest.approx(ttost_paired(a, b, -0.05, 0.05)[0])


@pytest.mark.parametrize(("k", "n"), [(0, 6), (6, 6), (2, 5), (1, 1), (7, 20)])
@pytest.mark.parametrize("confidence", [0.95, 0.90])
def test_wilson_is_statsmodels(k: int, n: int, confidence: float) -> None:
    expected = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    assert stats.wilson(Share(k, n), confidence) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [((6, 6), (0, 6)), ((0, 6), (0, 6)), ((3, 5), (1, 4))])
@pytest.mark.parametrize("confidence", [0.95, 0.90])
def test_share_difference_is_newcombes_interval(
    a: tuple[int, int], b: tuple[int, int], confidence: float
) -> None:
    expected = confint_proportions_2indep(*a, *b, method="newcomb", alpha=1 - confidence)
    found = stats.share_difference([Share(*a)], [Share(*b)], confidence)
    assert found == pytest.approx(expected, abs=1e-9)


def test_newcombes_interval_of_the_published_example() -> None:
    # Newcombe 1998, table II, contrast (a): 56/70 - 48/80, method 10.
    interval = stats.share_difference([Share(56, 70)], [Share(48, 80)])
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_interval_of_a_difference_of_differences_is_wider_and_has_width_at_separation() -> None:
    all_, none = Share(6, 6), Share(0, 6)
    simple = stats.share_difference([all_], [none])
    double = stats.share_difference([all_, none], [none, none])
    assert double.low < simple.low < 1.0 and double.high >= 1.0
    swapped = stats.share_difference([none, none], [all_, none])
    assert swapped == pytest.approx((-double.high, -double.low))


def test_boschloo_knows_which_margin_is_fixed() -> None:
    expected = scipy_stats.boschloo_exact([[5, 1], [1, 3]]).pvalue  # columns are groups: 6 and 4
    assert stats.boschloo(Share(5, 6), Share(1, 4)) == pytest.approx(expected)
    assert stats.boschloo(Share(1, 4), Share(5, 6)) == pytest.approx(expected)


@pytest.mark.parametrize("k", [0, 6])
def test_boschloo_of_equal_extremes_is_one(k: int) -> None:
    assert stats.boschloo(Share(k, 6), Share(k, 6)) == 1.0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_boschloo_is_a_probability_for_every_small_table(n: int) -> None:
    for a, b in product(range(n + 1), repeat=2):
        assert 0 < stats.boschloo(Share(a, n), Share(b, n)) <= 1


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


def test_log_rank_of_equal_arms_is_one_and_it_samples_where_splits_are_many() -> None:
    steps, yes = np.arange(10.0, 22.0), np.ones(12, bool)
    assert stats.log_rank(steps[:3], yes[:3], steps[:3], yes[:3]) == 1.0
    p = stats.log_rank(steps + 100, yes, steps, yes)
    assert p == stats.log_rank(steps + 100, yes, steps, yes) == pytest.approx(1 / 20_001)


def test_restricted_mean_is_the_area_under_the_kaplan_meier_curve() -> None:
    steps, budget = np.array([40.0, 120.0, math.nan, 60.0, 380.0, math.nan]), 400.0
    escaped = ~np.isnan(steps)
    curve = SurvfuncRight(np.where(escaped, steps, budget), escaped)
    edges = np.concatenate([[0.0], curve.surv_times[curve.surv_times < budget], [budget]])
    heights = np.concatenate([[1.0], curve.surv_prob[curve.surv_times < budget]])
    area = float(np.sum(np.diff(edges) * heights))
    assert stats.restricted(steps, budget).mean() == pytest.approx(area)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_holm_is_statsmodels(n: int) -> None:
    p_values = (np.random.default_rng(n).random(n) ** 3).tolist()
    expected = multipletests(p_values, method="holm")[1]
    assert stats.holm(p_values) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_attainable_is_holm_of_the_best_each_test_can_do() -> None:
    assert stats.attainable(["sign_flip"] * 2, 6) == pytest.approx([0.0625, 0.0625])
    assert stats.attainable(["boschloo", "sign_flip"], 6) == pytest.approx(
        [2 / 2**11 / 2 * 2, 2**-5]
    )
    assert stats.seeds_to_reach(["sign_flip"], 0, 0.05) == 6
    assert stats.seeds_to_reach(["sign_flip"] * 4, 2, 0.05) == 8
    assert stats.seeds_to_reach(["boschloo"], 0, 0.05) == 3


@pytest.mark.parametrize(("n", "effect"), [(8, 1.0), (10, 0.5), (20, 0.7), (50, 0.4)])
def test_power_is_that_of_the_paired_t_test(n: int, effect: float) -> None:
    expected = TTestPower().power(effect, n, 0.05)
    assert stats.power_paired(effect, 1.0, n, 0.05) == pytest.approx(expected, abs=0.005)


def test_power_at_the_fewest_seeds_is_the_chance_that_all_agree() -> None:
    rng = np.random.default_rng(5)
    samples = rng.normal(1.2, 1.0, (4000, 6))
    agree = np.mean((samples > 0).all(axis=1))
    assert stats.power_paired(1.2, 1.0, 6, 0.05) == pytest.approx(agree, abs=0.02)
    assert stats.power_paired(100.0, 1.0, 5, 0.05) == 0.0


def test_minimum_detectable_effect_has_80_percent_power() -> None:
    for n in (6, 9, 15):
        effect = stats.minimum_detectable_paired(0.02, n, 0.05)
        assert stats.power_paired(effect, 0.02, n, 0.05) == pytest.approx(0.8, abs=1e-6)
    change = stats.minimum_detectable_shares(0.1, 1, 12, 0.05)
    assert stats.power_shares(0.1 + change, 0.1, 12, 0.05) == pytest.approx(0.8, abs=1e-6)
    assert stats.minimum_detectable_paired(0.02, 5, 0.05) == math.inf
    assert math.isnan(stats.minimum_detectable_paired(0.0, 6, 0.05))


def test_seeds_needed_are_the_fewest_with_80_percent_power() -> None:
    n = stats.seeds_for_paired(0.02, 0.02, 0.05)
    assert n is not None
    assert stats.power_paired(0.02, 0.02, n, 0.05) >= 0.8
    assert stats.power_paired(0.02, 0.02, n - 1, 0.05) < 0.8
    assert stats.seeds_for_paired(1e-6, 1.0, 0.05) is None
    assert stats.seeds_for_shares(0.2, 0.2, 0.05) is None
    found = stats.seeds_for_shares(1.0, 0.0, 0.05)
    assert found is not None and 3 <= found <= 5
