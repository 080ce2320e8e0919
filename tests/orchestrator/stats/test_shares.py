import math
from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from orchestrator.stats.shares import (
    Share,
    boschloo,
    boschloo_table,
    clopper_pearson,
    contrast_bounds,
    share_bounds,
    share_contrast,
    share_contrast_tost,
    share_difference,
    share_tost,
    wilson,
)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_bounds_of_a_share_difference_err_in_at_most_one_case_of_twenty(n: int) -> None:
    worst = 0.0
    for low, difference in product((0.0, 0.1, 0.3, 0.5), (0.0, 0.2, 0.5)):
        p_to = scipy_stats.binom.pmf(range(n + 1), n, low + difference)
        p_from = scipy_stats.binom.pmf(range(n + 1), n, low)
        wrong = sum(
            p_to[a] * p_from[b]
            for a, b in product(range(n + 1), repeat=2)
            if share_bounds(Share(a, n), Share(b, n)).high < difference
        )
        worst = max(worst, wrong)
    assert worst <= 0.0501


def test_bounds_of_a_share_difference_mirror_and_contain_the_newcombe_interval() -> None:
    a, b = Share(5, 6), Share(2, 6)
    bounds, mirrored = share_bounds(a, b), share_bounds(b, a)
    assert mirrored == pytest.approx((-bounds.high, -bounds.low))
    newcombe = share_difference([a], [b], 0.90)
    assert bounds.low <= newcombe.low and newcombe.high <= bounds.high
    # 0 of 3: the largest p with (1 - p)^3 > .05.
    none = share_bounds(Share(0, 3), Share(0, 3))
    assert none.high >= 1 - 0.05 ** (1 / 3) - 1e-6


@pytest.mark.parametrize(("k", "n"), [(0, 6), (6, 6), (2, 5), (1, 1), (7, 20)])
@pytest.mark.parametrize("confidence", [0.95, 0.90])
def test_wilson_is_statsmodels(k: int, n: int, confidence: float) -> None:
    expected = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    assert wilson(Share(k, n), confidence) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [((6, 6), (0, 6)), ((0, 6), (0, 6)), ((3, 5), (1, 4))])
@pytest.mark.parametrize("confidence", [0.95, 0.90])
def test_share_difference_is_newcombes_interval(
    a: tuple[int, int], b: tuple[int, int], confidence: float
) -> None:
    expected = confint_proportions_2indep(*a, *b, method="newcomb", alpha=1 - confidence)
    found = share_difference([Share(*a)], [Share(*b)], confidence)
    assert found == pytest.approx(expected, abs=1e-9)


def test_newcombes_interval_of_the_published_example() -> None:
    # Newcombe 1998, table II, contrast (a): 56/70 - 48/80, method 10.
    interval = share_difference([Share(56, 70)], [Share(48, 80)])
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_interval_of_a_difference_of_differences_is_wider_and_has_width_at_separation() -> None:
    all_, none = Share(6, 6), Share(0, 6)
    simple = share_difference([all_], [none])
    double = share_difference([all_, none], [none, none])
    assert double.low < simple.low < 1.0 and double.high >= 1.0
    swapped = share_difference([none, none], [all_, none])
    assert swapped == pytest.approx((-double.high, -double.low))


def test_boschloo_knows_which_margin_is_fixed() -> None:
    expected = scipy_stats.boschloo_exact([[5, 1], [1, 3]]).pvalue  # columns are groups: 6 and 4
    assert boschloo(Share(5, 6), Share(1, 4)) == pytest.approx(expected)
    assert boschloo(Share(1, 4), Share(5, 6)) == pytest.approx(expected)


@pytest.mark.parametrize("k", [0, 6])
def test_boschloo_of_equal_extremes_is_one(k: int) -> None:
    assert boschloo(Share(k, 6), Share(k, 6)) == 1.0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_boschloo_is_a_probability_for_every_small_table(n: int) -> None:
    for a, b in product(range(n + 1), repeat=2):
        assert 0 < boschloo(Share(a, n), Share(b, n)) <= 1


@pytest.mark.parametrize(("n_to", "n_from"), [(1, 1), (3, 3), (5, 3), (6, 6)])
def test_boschloo_of_every_table_is_scipys(n_to: int, n_from: int) -> None:
    table = boschloo_table(n_to, n_from)
    for a, b in product(range(n_to + 1), range(n_from + 1)):
        if (a, b) not in ((0, 0), (n_to, n_from)):  # of which SciPy says NaN
            expected = scipy_stats.boschloo_exact([[a, b], [n_to - a, n_from - b]]).pvalue
            assert table[a, b] == pytest.approx(min(expected, 1.0), rel=1e-5)


def test_boschloo_at_many_seeds_is_scipys() -> None:
    for a, b in ((20, 13), (3, 12), (9, 10)):
        expected = scipy_stats.boschloo_exact([[a, b], [20 - a, 20 - b]]).pvalue
        assert boschloo(Share(a, 20), Share(b, 20)) == pytest.approx(min(expected, 1.0), rel=1e-5)


def test_contrast_of_averaged_shares_is_narrower_than_that_of_their_sum() -> None:
    shares = [Share(4, 6), Share(5, 6), Share(1, 6), Share(2, 6)]
    average = share_contrast(shares, [0.5, 0.5, -0.5, -0.5])
    whole = share_contrast(shares, [1, 1, -1, -1])
    assert average == pytest.approx((whole.low / 2, whole.high / 2))
    pair = share_contrast(shares[1:3], [1, -1])
    assert pair == pytest.approx(share_difference([shares[1]], [shares[2]]))


def test_equality_of_shares_by_hand() -> None:
    # No event in either arm: the worst pair of rates is 0 and the margin, (1 - .5)^6 = 1/64.
    assert share_tost(Share(0, 6), Share(0, 6), 0.5) == pytest.approx(1 / 64)
    assert share_tost(Share(0, 6), Share(6, 6), 0.5) == pytest.approx(1.0)
    assert share_tost(Share(0, 6), Share(0, 6), 1.0) == pytest.approx(0.0)
    assert share_tost(Share(0, 0), Share(0, 6), 0.5) == 1.0


@pytest.mark.parametrize(("n", "margin"), [(6, 0.5), (9, 0.3)])
def test_equality_is_shown_wrongly_in_at_most_one_case_of_twenty(n: int, margin: float) -> None:
    shown = np.array(
        [
            [share_tost(Share(a, n), Share(b, n), margin) < 0.05 for b in range(n + 1)]
            for a in range(n + 1)
        ]
    )
    for low in np.linspace(0, 1 - margin, 15):
        p_to = scipy_stats.binom.pmf(range(n + 1), n, low + margin)
        p_from = scipy_stats.binom.pmf(range(n + 1), n, low)
        assert p_to @ shown @ p_from <= 0.0501
    assert shown.any()


@pytest.mark.parametrize("error", [0.01, 0.04, 0.05])
def test_equality_of_shares_goes_with_their_bounds(error: float) -> None:
    for a, b in product(range(7), repeat=2):
        bounds = share_bounds(Share(a, 6), Share(b, 6), error)
        assert bounds.low <= (a - b) / 6 <= bounds.high
        wider = share_bounds(Share(a, 6), Share(b, 6), error / 2)
        assert wider.low <= bounds.low + 1e-9 and bounds.high <= wider.high + 1e-9


def test_equality_of_a_contrast_agrees_with_its_interval() -> None:
    shares, weights = [Share(1, 20), Share(0, 20), Share(2, 20), Share(0, 20)], [1, -1, -1, 1]
    for margin in (0.2, 0.3, 0.4):
        low, high = share_contrast(shares, weights, 0.90)
        inside = -margin < low and high < margin
        assert (share_contrast_tost(shares, weights, margin) < 0.05) == inside


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 5), (3, 7), (10, 10)])
def test_clopper_pearson_is_scipys_exact_interval(k: int, n: int) -> None:
    expected = scipy_stats.binomtest(k, n).proportion_ci(0.9, "exact")
    assert clopper_pearson(Share(k, n), 0.9) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n", [3, 6])
def test_bounds_of_an_interaction_of_shares_err_in_one_case_of_eighteen_at_most(n: int) -> None:
    """Every table of four arms, weighted by its exact chance, at an interaction of one half."""
    weights, margin = (1, -1, -1, 1), 0.5
    tables = list(product(range(n + 1), repeat=4))
    if n == 6:  # rates at which the bounds from Wilson's limits err most
        rates = [(0.25, 0.0, 0.25, 0.5), (0.4, 0.3, 0.4, 0.8), (0.5, 0.25, 0.25, 0.5)]
    else:
        rates = [(0.5, 0.5, 0.0, 0.5), (0.25, 0.0, 0.25, 0.5), (1.0, 0.9, 0.3, 0.7)]
    errors = {"exact": [0.0] * len(rates), "Wilson": [0.0] * len(rates)}
    pmf = [[scipy_stats.binom.pmf(np.arange(n + 1), n, rate) for rate in four] for four in rates]
    for table in tables:
        shares = [Share(k, n) for k in table]
        found = {
            "exact": contrast_bounds(shares, weights, 0.05),
            "Wilson": share_contrast(shares, weights, 0.9),
        }
        for name, bounds in found.items():
            if bounds.high < margin:
                for index, four in enumerate(pmf):
                    errors[name][index] += math.prod(p[k] for p, k in zip(four, table, strict=True))
    assert max(errors["exact"]) < 0.055
    assert max(errors["Wilson"]) > 0.06


def test_an_arm_without_runs_may_have_any_share() -> None:
    nothing, some = Share(0, 0), Share(2, 6)
    assert wilson(nothing) == (0.0, 1.0)
    assert share_bounds(nothing, some) == share_bounds(some, nothing) == (-1.0, 1.0)
    assert boschloo(nothing, some) == boschloo(some, nothing) == boschloo(nothing, nothing) == 1.0


def test_bounds_of_single_runs_by_hand() -> None:
    # One run without the event: a share above 1 - .05 would show it with a chance of 95 %.
    assert share_bounds(Share(0, 1), Share(0, 1)).high == pytest.approx(0.95, abs=1e-5)
    assert share_tost(Share(0, 1), Share(0, 1), 0.95) == pytest.approx(0.05)


@pytest.mark.parametrize(("a", "b"), [(0, 12), (2, 12), (5, 12), (0, 7)])
def test_bounds_are_newcombes_where_these_err_seldom_enough(a: int, b: int) -> None:
    to, reference = Share(a, 12), Share(b, 12)
    expected = share_difference([to], [reference], 0.9).high
    assert share_bounds(to, reference).high == pytest.approx(expected, abs=1e-12)


def test_a_contrast_far_beyond_the_margin_has_a_p_of_one() -> None:
    shares = [Share(6, 6), Share(0, 6), Share(0, 6), Share(6, 6)]
    assert share_contrast_tost(shares, [1, -1, -1, 1], 0.1) == 1.0


def test_no_difference_of_shares_is_beyond_a_margin_of_one() -> None:
    for a, b in ((6, 0), (3, 1), (0, 6)):
        to, reference = Share(a, 6), Share(b, 6)
        assert share_tost(to, reference, 1.5) == share_tost(to, reference, 1.0)


@pytest.mark.parametrize("n", [7, 11])  # tables of other sizes may be cached
def test_runs_that_escape_count_like_runs_that_collapse(n: int) -> None:
    """Outcomes that Fisher's test ranks alike have the same p, whichever is looked at first."""
    for a in range(n + 1):
        for b in range(n + 1):
            turned = boschloo(Share(n - b, n), Share(n - a, n))
            assert boschloo(Share(a, n), Share(b, n)) == pytest.approx(turned, rel=1e-12)


def test_a_share_without_runs_may_be_anything() -> None:
    assert share_contrast([Share(0, 0)], [1.0]) == pytest.approx((0.0, 1.0))
    assert share_contrast([Share(0, 0)], [-1.0]) == pytest.approx((-1.0, 0.0))
