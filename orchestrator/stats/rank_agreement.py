"""Whether two outcomes put runs in the same order: Kendall's tau-b and intervals that cover.

Kendall's rather than Spearman's, because it counts what is asked: of all pairs that both outcomes
order, the share in the same order is (1 + tau) / 2.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.stats.effects import Interval, t_quantile
from orchestrator.stats.run_values import Floats

# Of five independent units, all ten pairs agree by chance in 1 of 60 cases; of four, in 1 of 12.
FEWEST_UNITS = 5
# The jackknife divides by their number less one; with four, Student's t still has three degrees.
FEWEST_BLOCKS = 4
# Above so many units the jackknife covers for any distribution; below, it does not near ±1.
_MOST_INVERTED = 12
_N_SAMPLES = 20_000
_ERROR = 0.025  # on each side
_SEED = 20_261_128


class Agreement(NamedTuple):
    """How far two outcomes order the same pairs alike.

    Attributes:
        tau: Kendall's tau-b, from -1 to 1; NaN if one of the outcomes orders no pair.
        interval: of 95 %; see `between_units` and `within_groups`. -1 to 1 if there is none.
        n_alike, n_opposed: pairs that both outcomes order, in the same and in opposite order.
        n_pairs: all pairs, ties included.
        n_units: independent units behind the interval.
    """

    tau: float
    interval: Interval
    n_alike: int
    n_opposed: int
    n_pairs: int
    n_units: int


class _Pairs(NamedTuple):
    """Signs of the differences of each pair in both outcomes, and the units of its two ends."""

    x: Floats
    y: Floats
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def tau(self, kept: NDArray[np.bool_] | slice = slice(None)) -> float:
        x, y = self.x[kept], self.y[kept]
        ordered = math.sqrt(float(np.abs(x).sum()) * float(np.abs(y).sum()))
        return float(x @ y) / ordered if ordered else math.nan


def between_units(x: ArrayLike, y: ArrayLike) -> Agreement:
    """Agreement over units that are independent, such as the means of arms.

    Up to 12 units, the interval holds each tau of bivariate normal data, or of any monotone
    transform of them, that gives a tau as extreme as the observed one in at least 2.5 % of samples
    on either side. Above, it is that of `within_groups`. In the
    simulations of ``benchmarks/rank_agreement.py``, of normal, heavy-tailed and two-cluster data
    with 5 to 40 units, it covers in at least 91 of 100 cases, and in 97 on average. Fieller's
    interval covers in as few as 26, with five units and a tau near 1.

    Args:
        x, y: (n,) finite values of both outcomes for each unit.
    """
    units = np.arange(np.size(x))
    pairs = _pairs(x, y, np.zeros_like(units), units)
    tau = pairs.tau()
    if len(units) < FEWEST_UNITS or math.isnan(tau):
        return _agreement(pairs, tau, Interval(-1.0, 1.0), len(units))
    if len(units) > _MOST_INVERTED and abs(tau) < 1.0:
        return _agreement(pairs, tau, _jackknife(pairs, tau), len(units))
    low, high = _limits(min(len(units), _MOST_INVERTED))
    n_alike = (tau + 1) / 2 * (len(low) - 1)
    interval = Interval(low[math.floor(n_alike + 1e-9)], high[math.ceil(n_alike - 1e-9)])
    return _agreement(pairs, tau, interval, len(units))


def within_groups(x: ArrayLike, y: ArrayLike, group: ArrayLike, block: ArrayLike) -> Agreement:
    """Agreement over pairs of runs of the same group, whose runs share blocks with other groups.

    All groups of a block may vary together, as arms of one seed do, so blocks are the independent
    units: the interval leaves out one block at a time (jackknife, on Fisher's scale, with Student's
    t). In simulations of 4 to 10 blocks in 4 to 10 groups it covers in at least 94 of 100 cases,
    whatever share of the variance the block decides; an interval that takes runs for independent
    covers in as few as 50.

    Args:
        x, y: (n,) finite values of both outcomes for each run.
        group: (n,) such as the arm; pairs across groups do not count.
        block: (n,) such as the seed.
    """
    pairs = _pairs(x, y, group, block)
    tau, units = pairs.tau(), np.unique(np.concatenate([pairs.first, pairs.second]))
    known = len(units) >= FEWEST_BLOCKS and abs(tau) < 1.0
    interval = _jackknife(pairs, tau) if known else Interval(-1.0, 1.0)
    return _agreement(pairs, tau, interval, len(units))


def _pairs(x: ArrayLike, y: ArrayLike, group: ArrayLike, unit: ArrayLike) -> _Pairs:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    first, second = np.triu_indices(len(a), 1)
    alike = np.asarray(group)[first] == np.asarray(group)[second]
    first, second = first[alike], second[alike]
    units = np.unique(np.asarray(unit), return_inverse=True)[1]
    x_signs, y_signs = (np.sign(values[first] - values[second]) for values in (a, b))
    return _Pairs(x_signs, y_signs, units[first], units[second])


def _agreement(pairs: _Pairs, tau: float, interval: Interval, n_units: int) -> Agreement:
    products = pairs.x * pairs.y
    counts = (int((products > 0).sum()), int((products < 0).sum()), len(products))
    return Agreement(tau, interval, *counts, n_units)


def _jackknife(pairs: _Pairs, tau: float) -> Interval:
    units = np.unique(np.concatenate([pairs.first, pairs.second]))
    left_out = np.array([pairs.tau((pairs.first != u) & (pairs.second != u)) for u in units])
    if np.isnan(left_out).any():
        return Interval(-1.0, 1.0)
    n = len(units)
    error = math.sqrt((n - 1) * float(left_out.var()))
    half = t_quantile(1 - _ERROR, n - 1) * error / (1 - tau**2)
    return Interval(math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half))


@lru_cache(maxsize=_MOST_INVERTED)
def _limits(n_units: int) -> tuple[list[float], list[float]]:
    """Lower and upper limit of tau for each number of pairs in the same order.

    Of y = rho x + sqrt(1 - rho²) e, a pair is in the same order as soon as rho / sqrt(1 - rho²)
    exceeds a number that x and e decide. So k pairs or more are if it exceeds the k-th smallest of
    these numbers, and its limits are quantiles of it. Their arc tangent is tau, but for 2 / pi.
    """
    rng = np.random.default_rng(_SEED)
    x, e = rng.standard_normal((2, _N_SAMPLES, n_units))
    i, j = np.triu_indices(n_units, 1)
    turns = np.sort((e[:, j] - e[:, i]) / (x[:, i] - x[:, j]), axis=1)  # (samples, pairs)
    low, high = (2 / np.pi * np.arctan(np.quantile(turns, q, axis=0)) for q in (_ERROR, 1 - _ERROR))
    return [-1.0, *low.tolist()], [*high.tolist(), 1.0]
