"""Kendall's tau-b against SciPy's, and the coverage of its intervals."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from orchestrator.stats.rank_agreement import between_units, within_groups

Values = NDArray[np.float64]


@pytest.mark.parametrize("n", [5, 9, 40])
@pytest.mark.parametrize("n_levels", [3, 1000])
def test_tau_is_scipys_with_ties_and_without(n: int, n_levels: int) -> None:
    rng = np.random.default_rng([n, n_levels])
    x, y = rng.integers(0, n_levels, (2, n)).astype(float)
    found = between_units(x, y)
    assert found.tau == pytest.approx(scipy_stats.kendalltau(x, y).statistic, abs=1e-12)
    assert found.interval.low <= found.tau <= found.interval.high
    assert found.n_pairs == n * (n - 1) // 2 and found.n_units == n
    mirrored = between_units(x, -y)
    assert (mirrored.tau, mirrored.n_alike) == (pytest.approx(-found.tau), found.n_opposed)


def test_the_same_order_of_five_is_no_chance_and_of_four_claims_nothing() -> None:
    five, four = (between_units(range(n), range(n)) for n in (5, 4))
    assert five.tau == four.tau == 1.0
    assert 0.0 < five.interval.low < 0.25 and five.interval.high == 1.0
    assert four.interval == (-1.0, 1.0)


def test_the_same_order_of_many_is_at_least_as_sure_as_that_of_twelve() -> None:
    twelve, thirty = (between_units(range(n), range(n)).interval for n in (12, 30))
    assert thirty == twelve and 0.8 < twelve.low < 0.9


def test_without_an_order_there_is_no_tau() -> None:
    equal = between_units([0.3] * 6, range(6))
    assert math.isnan(equal.tau) and equal.interval == (-1.0, 1.0)
    assert (equal.n_alike, equal.n_opposed) == (0, 0)
    assert math.isnan(between_units([], []).tau)


def test_pairs_across_groups_do_not_count() -> None:
    # Within both arms WER falls as PER rises, though the second arm is worse in both.
    per, wer = [0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.6, 0.5]
    found = within_groups(per, wer, ["a", "a", "b", "b"], [1, 2, 1, 2])
    assert (found.tau, found.n_alike, found.n_opposed, found.n_units) == (-1.0, 0, 2, 2)
    assert found.interval == (-1.0, 1.0)  # two blocks
    assert between_units(per, wer).tau == pytest.approx(2 / 6)


def test_leaving_out_one_of_many_blocks_is_the_jackknife() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 12))
    y = y + x
    found = within_groups(x, y, np.zeros(12), np.arange(12))
    left_out = [
        scipy_stats.kendalltau(np.delete(x, i), np.delete(y, i)).statistic for i in range(12)
    ]
    error = math.sqrt(11 / 12 * np.sum((left_out - np.mean(left_out)) ** 2))
    half = scipy_stats.t.ppf(0.975, 11) * error / (1 - found.tau**2)
    expected = np.tanh(np.arctanh(found.tau) + np.array([-half, half]))
    assert tuple(found.interval) == pytest.approx(expected, abs=1e-12)


def normal_pairs(rho: float, shape: tuple[int, ...], seed: int) -> tuple[Values, Values]:
    x, e = np.random.default_rng(seed).standard_normal((2, *shape))
    return x, rho * x + math.sqrt(1 - rho**2) * e


@pytest.mark.parametrize(("n", "rho"), [(5, 0.8), (5, 0.99), (8, 0.0), (12, 0.95), (20, 0.8)])
def test_the_interval_between_units_covers_where_fiellers_does_not(n: int, rho: float) -> None:
    true = 2 / math.pi * math.asin(rho)
    covered = fieller = 0
    for x, y in zip(*normal_pairs(rho, (400, n), n), strict=True):
        found = between_units(x, y)
        covered += found.interval.low <= true <= found.interval.high
        z = math.atanh(found.tau) if abs(found.tau) < 1 else math.copysign(math.inf, found.tau)
        half = 1.96 * math.sqrt(0.437 / (n - 4))
        fieller += math.tanh(z - half) <= true <= math.tanh(z + half)
    assert covered >= 0.93 * 400
    if (n, rho) == (5, 0.99):
        assert fieller < 0.5 * 400


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_the_interval_within_groups_covers_however_much_a_block_decides(shared: float) -> None:
    n_groups, n_blocks, rho = 8, 6, 0.5
    true = 2 / math.pi * math.asin(rho)
    own, common = (
        normal_pairs(rho, (300, groups, n_blocks), groups + round(10 * shared))
        for groups in (n_groups, 1)
    )
    x, y = (
        math.sqrt(1 - shared) * mine + math.sqrt(shared) * all_of_them
        for mine, all_of_them in zip(own, common, strict=True)
    )
    group, block = np.indices((n_groups, n_blocks)).reshape(2, -1)
    intervals = [
        within_groups(a.ravel(), b.ravel(), group, block).interval
        for a, b in zip(x, y, strict=True)
    ]
    assert sum(low <= true <= high for low, high in intervals) >= 0.93 * 300
