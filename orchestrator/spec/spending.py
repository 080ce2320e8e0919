"""How a sequence of looks shares an error rate: alpha spending with exact levels of paired t tests.

A spending function says how much of the error rate may be spent by each look (Lan & DeMets 1983).
The level of a look is then the largest nominal p-value at which the probability of a false positive
at this look or before equals what may be spent by it. It depends on how the test statistics of the
looks correlate. For a t test of normal differences, their joint distribution does not depend on
mean or spread of the runs: the statistics are a Markov chain, so one recursion over the looks gives
it exactly (Armitage, McPherson & Rowe 1969, for known spreads).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

_N_BINS = 64  # of the statistic that has not crossed, between zero and the critical value
_N_NODES = 8  # of the share of the sum of squares that the earlier runs have
_N_HALVINGS = 40  # when a level is searched for


def spent(fraction: float, alpha: float) -> float:
    """How much of an error rate may be spent when a fraction of all seeds is complete.

    It is spent in proportion to the seeds: the first of Kim and DeMets's power functions (1987).
    O'Brien and Fleming's would leave almost nothing to a look at four seeds, Pocock's too little to
    the last one; ``python benchmarks/verdict_calibration.py --sequential spending`` compares them.

    Args:
        fraction: seeds of the look over all seeds, above 0 and at most 1.
        alpha: the error rate of all looks together.
    """
    return alpha * fraction


@lru_cache(maxsize=256)
def look_levels(seeds: tuple[int, ...], alpha: float, n_claims: int = 1) -> tuple[float, ...]:
    """The level that each look may use, before the correction for multiple claims.

    Holm's correction divides it by the number of claims that are not rejected yet. Looks correlate
    less at smaller levels, so they are computed for ``alpha / n_claims``, the smallest level that
    the correction asks for, and multiplied by `n_claims`; they then hold at every step of it
    (Maurer & Bretz 2013).

    Args:
        seeds: the number of seeds of each look, increasing, at least 2.
        alpha: the error rate of all looks together.
        n_claims: claims that are corrected together.

    Returns:
        One level per look, rounded down to six digits. Their sum is more than `alpha`.
    """
    fractions = [n / seeds[-1] for n in seeds]
    levels = levels_that_spend(seeds, [spent(fraction, alpha / n_claims) for fraction in fractions])
    return tuple(_rounded_down(n_claims * level) for level in levels)


def crossing_probabilities(seeds: Sequence[int], levels: Sequence[float]) -> list[float]:
    """The probability that a two-sided paired t test is significant at each look or before.

    Args:
        seeds: the number of seeds of each look, increasing, at least 2.
        levels: the level of the test at each look.
    """
    walk = _Walk(seeds[0])
    crossed = [walk.cross(levels[0])]
    for n, level in zip(seeds[1:], levels[1:], strict=True):
        walk.step(n)
        crossed.append(crossed[-1] + walk.cross(level))
    return crossed


def levels_that_spend(seeds: Sequence[int], targets: Sequence[float]) -> list[float]:
    """The levels at which the probabilities of `crossing_probabilities` are the targets.

    Args:
        seeds: the number of seeds of each look, increasing, at least 2.
        targets: what may be spent by each look, increasing.
    """
    walk = _Walk(seeds[0])
    found = [targets[0]]
    walk.cross(targets[0])
    for index, n in enumerate(seeds[1:], 1):
        walk.step(n)
        room = targets[index] - targets[index - 1]
        # In logarithms, between what this look adds alone and all that may be spent by now.
        low, high = math.log(room) - 1e-9, math.log(targets[index])
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            if walk.chance_beyond(math.exp(middle)) < room:
                low = middle
            else:
                high = middle
        found.append(math.exp(low))
        walk.cross(found[-1])
    return found


class _Walk:
    """The distribution of the size of the t statistic over the looks, while none has crossed.

    The statistic is held as ``r = sum / sqrt(n * sum of squares)`` of n differences, which grows
    with t. Without an effect, r is independent of the sum of squares, so r at the next look
    depends on r at this look alone.
    """

    def __init__(self, n_seeds: int) -> None:
        self._n, self._new = n_seeds, 0
        self._points: Floats = np.zeros(0)  # (n_bins,) sizes of r at the look before
        self._masses: Floats = np.ones(1)  # (n_bins,)

    def step(self, n_seeds: int) -> None:
        """Go on to the next look."""
        self._new, self._n = n_seeds - self._n, n_seeds

    def chance_beyond(self, level: float) -> float:
        """Probability that no look before crossed, and this one does at this level."""
        return float(self._masses @ self._beyond(np.array([level]))[:, 0])

    def cross(self, level: float) -> float:
        """The same, and keep what has not crossed."""
        high = -float(special.ndtri(level / 2))
        edges = np.linspace(0.0, high, _N_BINS + 1)
        above = self._masses @ self._beyond(2 * special.ndtr(-edges))  # (n_bins + 1,)
        middles = (edges[1:] + edges[:-1]) / 2
        self._points = self._critical(2 * special.ndtr(-middles), self._n)
        self._masses = np.maximum(above[:-1] - above[1:], 0.0)
        return float(above[-1])

    @staticmethod
    def _critical(levels: Floats, n_seeds: int) -> Floats:
        """The size of r at which the t test of n differences has these p-values."""
        rest = special.betaincinv((n_seeds - 1) / 2, 0.5, levels)  # of 1 - r²
        return np.asarray(np.sqrt(1 - rest))

    def _beyond(self, levels: Floats) -> Floats:
        """Probability that r is significant at each level, for each point: (points, levels)."""
        if not len(self._points):
            return levels[None, :]
        critical = self._critical(levels, self._n)
        sides = (self._points, -self._points)
        above, below = (_chance_above(side, critical, self._n, self._new) for side in sides)
        return above + below


def _chance_above(before: Floats, critical: Floats, n_seeds: int, n_new: int) -> Floats:
    """Probability that r exceeds a critical value, given r at the look before.

    With b the share of the sum of squares that the earlier differences have, not counting the mean
    of the new ones, and v that mean over the root of it, scaled by the root of `n_new`:
    ``r = (before * sqrt(n_old * b) + v * sqrt(n_new)) / sqrt(n_seeds * (1 + v²))``.
    b has a beta distribution and v a t distribution, independent of b and of `before`.

    Args:
        before: (points,) r at the look before.
        critical: (levels,) above 0.
        n_seeds: differences at this look.
        n_new: how many of them are new.

    Returns:
        (points, levels)
    """
    n_old, freedom = n_seeds - n_new, n_seeds - 1
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES if n_new > 1 else 1)
    shares = np.ones(1)
    if n_new > 1:
        shares = special.betaincinv(n_old / 2, (n_new - 1) / 2, (nodes + 1) / 2)
    start = before[:, None, None] * np.sqrt(n_old * shares)  # (points, 1, nodes)
    squared = n_seeds * critical[None, :, None] ** 2
    lead = n_new - squared
    lead = np.where(lead == 0, 1e-12, lead)
    inside = n_new + start**2 - squared
    root = np.sqrt(squared * np.maximum(inside, 0.0))
    one = (-start * math.sqrt(n_new) - root) / lead
    other = (-start * math.sqrt(n_new) + root) / lead
    scale = math.sqrt(freedom)
    low, high = scale * np.minimum(one, other), scale * np.maximum(one, other)
    # Few new differences cannot carry r past the value alone, and an outlier among them adds more
    # to the root of the sum of squares than to the sum.
    within = special.stdtr(freedom, high) - special.stdtr(freedom, low)
    within = np.where((start > 0) & (inside > 0), within, 0.0)
    return np.asarray(np.where(lead > 0, special.stdtr(freedom, -high), within) @ (weights / 2))


def _rounded_down(value: float) -> float:
    digits = 5 - math.floor(math.log10(value))
    return float(math.floor(value * 10**digits) / 10**digits)
