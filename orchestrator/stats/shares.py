"""Shares of runs (collapsed, diverged): tests, intervals and bounds that are exact for few runs."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from orchestrator.stats.effects import Interval
from orchestrator.stats.run_values import Bools, Floats

_N_RATES = 2001  # grid of the unknown common rate in Boschloo's test
_N_RATE_BLOCKS = 23  # parts of that grid that are computed one after the other, to save memory
_N_LOW_RATES = 101  # grid of the lower of two rates with a given difference


class Share(NamedTuple):
    """`n_events` of `n` runs."""

    n_events: int
    n: int


def boschloo(to: Share, reference: Share) -> float:
    """p of Boschloo's exact unconditional test that two shares are equal; 1 if an arm has no runs.

    Two-sided: twice the smaller one-sided p, as in `scipy.stats.boschloo_exact`. That takes
    milliseconds per table; here `boschloo_table` computes all tables of two arms at once.
    """
    return float(boschloo_table(to.n, reference.n)[to.n_events, reference.n_events])


@lru_cache(maxsize=64)
def boschloo_table(n_to: int, n_from: int) -> Floats:
    """Boschloo's p of every outcome of two arms.

    Returns:
        (n_to + 1, n_from + 1): ``[a, b]`` is the p of a events in `n_to` runs and b in `n_from`.
    """
    one, other = _one_sided_boschloo(n_to, n_from), _one_sided_boschloo(n_from, n_to).T
    return np.asarray(np.minimum(2 * np.minimum(one, other), 1.0))  # (n_to + 1, n_from + 1)


def _one_sided_boschloo(n_to: int, n_from: int) -> Floats:
    """p of the null hypothesis that the first share is not larger, for every outcome."""
    fisher = _one_sided_fisher(n_to, n_from)
    order = np.argsort(fisher, axis=None, kind="stable")
    ranked = fisher.ravel()[order]
    ties = np.searchsorted(ranked, ranked * (1 + 1e-9), side="right") - 1
    largest = np.zeros(fisher.size)
    for rates in np.array_split(np.linspace(0.0, 1.0, _N_RATES), _N_RATE_BLOCKS):
        joint = binomial_pmf(n_to, rates)[:, :, None] * binomial_pmf(n_from, rates)[:, None, :]
        as_extreme = np.cumsum(joint.reshape(len(rates), -1)[:, order], axis=1)
        largest = np.maximum(largest, as_extreme[:, ties].max(axis=0))
    p = np.empty(fisher.size)
    p[order] = largest
    return p.reshape(fisher.shape)


def _one_sided_fisher(n_to: int, n_from: int) -> Floats:
    """Fisher's p of the null hypothesis that the first share is not larger, for every outcome.

    Sums the hypergeometric distribution with `scipy.special` alone, since importing `scipy.stats`
    would slow down every report.
    """
    n = n_to + n_from
    p = np.empty((n_to + 1, n_from + 1))
    for n_events in range(n + 1):
        a = np.arange(max(0, n_events - n_from), min(n_to, n_events) + 1)
        chance = np.exp(
            _log_binom(n_events, a) + _log_binom(n - n_events, n_to - a) - _log_binom(n, n_to)
        )
        p[a, n_events - a] = np.minimum(chance[::-1].cumsum()[::-1], 1.0)
    return p  # (n_to + 1, n_from + 1)


def _log_binom(n: int, k: ArrayLike) -> Floats:
    """Logarithm of the number of ways to choose `k` of `n`."""
    k = np.asarray(k, dtype=np.float64)
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def binomial_pmf(n: int, rates: Floats) -> Floats:
    """Binomial probabilities of 0..n events at each rate."""
    k = np.arange(n + 1)
    p = special.binom(n, k) * rates[:, None] ** k * (1 - rates[:, None]) ** (n - k)
    return np.asarray(p)  # (n_rates, n + 1)


def wilson(share: Share, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of one share."""
    if share.n == 0:
        return Interval(0.0, 1.0)
    z = _normal_quantile(0.5 + confidence / 2)
    n, rate = share.n, share.n_events / share.n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound is the rate itself; rounding must not move the bound past it.
    return Interval(min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate))


def clopper_pearson(share: Share, confidence: float) -> Interval:
    """Clopper and Pearson's exact interval of one share."""
    error, k, n = (1 - confidence) / 2, share.n_events, share.n
    low = float(special.betaincinv(k, n - k + 1, error)) if k > 0 else 0.0
    high = float(special.betaincinv(k + 1, n - k, 1 - error)) if k < n else 1.0
    return Interval(low, high)


@lru_cache(maxsize=1024)
def _normal_quantile(probability: float) -> float:
    return float(special.ndtri(probability))


def share_contrast(
    shares: Sequence[Share],
    weights: Sequence[float],
    confidence: float = 0.95,
    limits: Callable[[Share, float], Interval] = wilson,
) -> Interval:
    """Interval of a weighted sum of independent shares.

    With weights 1 and -1 this is Newcombe's hybrid score interval (method 10, 1998). For other
    sums, such as differences of differences and averages over the arms of a fraction, it recovers
    variances in the same way (MOVER, Zou & Donner 2008).

    Args:
        shares: one per arm.
        weights: one per share, of any sign.
        confidence: two-sided coverage.
        limits: the interval of one share.
    """
    estimate, below, above = 0.0, 0.0, 0.0
    for share, weight in zip(shares, weights, strict=True):
        rate = share.n_events / share.n if share.n else 0.5
        low, high = limits(share, confidence)
        to_low, to_high = (rate - low, high - rate) if weight > 0 else (high - rate, rate - low)
        estimate += weight * rate
        below += (weight * to_low) ** 2
        above += (weight * to_high) ** 2
    return Interval(estimate - math.sqrt(below), estimate + math.sqrt(above))


def share_difference(
    to: Sequence[Share], reference: Sequence[Share], confidence: float = 0.95
) -> Interval:
    """Interval of the sum of the shares in `to` minus the sum of those in `reference`.

    See `share_contrast`.
    """
    weights = [1.0] * len(to) + [-1.0] * len(reference)
    return share_contrast([*to, *reference], weights, confidence)


def contrast_bounds(shares: Sequence[Share], weights: Sequence[float], error: float) -> Interval:
    """One-sided bounds, each with `error`, of a weighted sum of more than two shares.

    They are `share_contrast` with exact limits. With six seeds and a nominal error of 5 %, bounds
    from Wilson's limits miss a difference of differences in 6 to 12 % of cases; these miss it in at
    most 5.5 % for any shares, and usually in 2 to 4 %.
    """
    return share_contrast(shares, weights, 1 - 2 * error, clopper_pearson)


def share_contrast_p(shares: Sequence[Share], weights: Sequence[float]) -> float:
    """Two-sided p of the null hypothesis that the weighted sum of shares is zero.

    That is twice the smallest error at which `contrast_bounds` exclude zero; 1 if there is none.
    """

    def excluded(error: float) -> bool:
        low, high = contrast_bounds(shares, weights, error)
        return low > 0 or high < 0

    return min(1.0, 2 * _smallest_error(excluded))


def _smallest_error(holds: Callable[[float], bool]) -> float:
    """The smallest error of bounds at which a condition holds; 1 if it holds at none."""
    low, high = 0.0, 0.499
    if not holds(high):
        return 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def share_contrast_tost(shares: Sequence[Share], weights: Sequence[float], margin: float) -> float:
    """p of the null hypothesis that the weighted sum of shares is beyond ±margin.

    That is the smallest error at which `contrast_bounds` lie inside ±margin; 1 if there is none.
    """

    def inside(error: float) -> bool:
        low, high = contrast_bounds(shares, weights, error)
        return -margin < low and high < margin

    return _smallest_error(inside)


@lru_cache(maxsize=4096)
def share_bounds(to: Share, reference: Share, error: float = 0.05) -> Interval:
    """One-sided bounds, each with `error`, of a difference of two shares; exact for few runs.

    They are the ends of the Newcombe-Wilson interval, moved outwards until the exact probability of
    missing the true difference is at most `error` for any two shares. With 0 of 3 runs against 0 of
    3, the interval alone would exclude a true difference of one half in one case out of eight.
    """
    upper = _exact_upper(to, reference, error)
    return Interval(-_exact_upper(reference, to, error), upper)


def share_tost(to: Share, reference: Share, margin: float) -> float:
    """Exact p of the null hypothesis that the difference of two shares is beyond ±margin.

    It is the larger of two one-sided p. Each is the probability of an outcome at least as far
    inside the margin, for the least favourable pair of rates that differ by `margin`.
    """
    if to.n == 0 or reference.n == 0:
        return 1.0
    margin = min(margin, 1.0)
    one = _chance_as_low(to.n, reference.n, _as_low(to, reference, 0.05), margin)
    other = _chance_as_low(reference.n, to.n, _as_low(reference, to, 0.05), margin)
    return max(one, other)


@lru_cache(maxsize=256)
def _upper_ends(n_to: int, n_from: int, error: float) -> Floats:
    """Upper end of the Newcombe-Wilson interval of every outcome, (n_to + 1, n_from + 1)."""
    confidence = 1 - 2 * error
    of_to = np.array([wilson(Share(a, n_to), confidence) for a in range(n_to + 1)])
    of_from = np.array([wilson(Share(b, n_from), confidence) for b in range(n_from + 1)])
    rate_to = np.arange(n_to + 1) / n_to
    rate_from = np.arange(n_from + 1) / n_from
    up = (of_to[:, 1] - rate_to)[:, None] ** 2 + (rate_from - of_from[:, 0])[None, :] ** 2
    return np.asarray(rate_to[:, None] - rate_from[None, :] + np.sqrt(up))


def _as_low(to: Share, reference: Share, error: float) -> Bools:
    """Whether the upper end of every outcome is not above that of the given outcome."""
    ends = _upper_ends(to.n, reference.n, error)
    return np.asarray(ends <= ends[to.n_events, reference.n_events] + 1e-12)


def _chance_as_low(n_to: int, n_from: int, as_low: Bools, difference: float) -> float:
    """Largest probability of the marked outcomes, over all pairs of rates `difference` apart."""
    low = np.linspace(max(0.0, -difference), min(1.0, 1.0 - difference), _N_LOW_RATES)
    p_to, p_from = binomial_pmf(n_to, low + difference), binomial_pmf(n_from, low)
    return float(((p_to @ as_low) * p_from).sum(axis=1).max())


def _exact_upper(to: Share, reference: Share, error: float) -> float:
    if to.n == 0 or reference.n == 0:
        return 1.0
    observed = float(_upper_ends(to.n, reference.n, error)[to.n_events, reference.n_events])
    as_low = _as_low(to, reference, error)

    def chance(difference: float) -> float:
        return _chance_as_low(to.n, reference.n, as_low, difference)

    if chance(observed) <= error:
        return observed
    inside, outside = observed, 1.0
    for _ in range(20):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if chance(middle) > error else (inside, middle)
    return outside
