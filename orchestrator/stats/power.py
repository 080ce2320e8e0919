"""Power: what effects a number of seeds can detect, and how many seeds an effect needs."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from orchestrator.spec.claims import Test
from orchestrator.spec.schema import Hypothesis
from orchestrator.stats import effects as stats
from orchestrator.stats.reach import first_seeds, lowest_p
from orchestrator.stats.run_values import Floats
from orchestrator.stats.shares import Share, binomial_pmf, boschloo_table, clopper_pearson

POWER = 0.8
_N_SPREADS = 400  # quantiles of the sample standard deviation over which power is averaged
_N_STUDIES = 10_000
_N_SHARE_STUDIES = 4_000
_N_NO_SKEWNESS = 50  # seeds from which Johnson's correction is negligible
_N_EXACT_SHARES = 30  # most seeds per arm for which every table of two shares is enumerated


# Power --------------------------------------------------------------------------------------


def power_studentized(
    effect: float, spread: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Power of `studentized`: significance in the true direction, and an estimate of the margin.

    Below 50 seeds it is the share of a fixed sample of studies with normal differences, accurate to
    half a percentage point. From 50 seeds on, where Johnson's correction is negligible, it follows
    from the t distribution.

    Args:
        effect: true mean difference, positive in the claimed direction.
        spread: standard deviation of a difference (> 0).
        n_seeds: seeds per arm.
        alpha: two-sided level.
        margin: smallest estimate that supports the claim.
    """
    if n_seeds < stats.FEWEST_STUDENTIZED:
        return 0.0
    if n_seeds < _N_NO_SKEWNESS:
        means, critical = _studentized_studies(n_seeds, alpha)
        needed = np.maximum(critical, margin / spread - means)
        return float((needed < effect / spread).mean())
    return _power_t(effect, spread, n_seeds, alpha, margin, n_seeds - 1)


def _power_t(
    effect: float, spread: float, n_seeds: int, alpha: float, margin: float, freedom: int
) -> float:
    """Power of Student's t with some degrees of freedom, and an estimate of the margin."""
    root = math.sqrt(n_seeds)
    critical = stats.t_quantile(1 - alpha / 2, freedom) * _spread_ratios(freedom + 1)
    needed = np.maximum(critical, margin * root / spread)
    return float(special.ndtr(effect * root / spread - needed).mean())


@lru_cache(maxsize=256)
def _studentized_studies(n_seeds: int, alpha: float) -> tuple[Floats, Floats]:
    """The mean of each of many studies without an effect, and the effect that would have made it
    significant, in standard deviations of a difference."""
    studies = np.random.default_rng(n_seeds).standard_normal((_N_STUDIES, n_seeds))
    return studies.mean(axis=1), stats.upper_bounds(-studies, alpha / 2)


@lru_cache(maxsize=256)
def _spread_ratios(n_seeds: int) -> Floats:
    """Quantiles of the sample over the true standard deviation, for `n_seeds` normal values."""
    chances = (np.arange(_N_SPREADS) + 0.5) / _N_SPREADS
    freedom = n_seeds - 1
    return np.asarray(np.sqrt(2 * special.gammaincinv(freedom / 2, chances) / freedom))


def power_paired(
    effect: float, spread: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Power of `sign_flip`: significance in the claimed direction, and an estimate of the margin.

    Normal differences are assumed, and the power is that of the paired t test, which is close to
    that of the sign-flip test. If p reaches `alpha` only when all seeds agree, the power is at most
    the probability that they do.

    Args:
        effect: true mean difference, positive in the claimed direction.
        spread: standard deviation of a difference (> 0).
        n_seeds: seeds per arm.
        alpha: two-sided level.
        margin: smallest estimate that supports the claim.
    """
    if lowest_p("sign_flip", n_seeds) >= alpha:
        return 0.0
    power = _power_t(effect, spread, n_seeds, alpha, margin, n_seeds - 1)
    if 2 * lowest_p("sign_flip", n_seeds) >= alpha:
        power = min(power, float(special.ndtr(effect / spread)) ** n_seeds)
    return power


def power_equivalence(margin: float, spread: float, n_seeds: int, alpha: float) -> float:
    """Power of two one-sided tests to show that a true difference of zero lies inside ±margin.

    Below 50 seeds it is the share of a fixed sample of studies, accurate to half a percentage
    point. From 50 seeds on, where Johnson's correction is negligible, it follows from the t
    distribution.

    Args:
        margin: half width of the equivalence region.
        spread: standard deviation of a normal difference (> 0).
        n_seeds: seeds per arm.
        alpha: level of each one-sided test.
    """
    if n_seeds < 2:
        return 0.0
    if n_seeds < _N_NO_SKEWNESS:
        return float((_studies(n_seeds, alpha) < margin / spread).mean())
    critical = stats.t_quantile(1 - alpha, n_seeds - 1) * _spread_ratios(n_seeds)
    room = np.maximum(margin * math.sqrt(n_seeds) / spread - critical, 0.0)
    return float((2 * special.ndtr(room) - 1).mean())


@lru_cache(maxsize=256)
def _studies(n_seeds: int, alpha: float) -> Floats:
    """The smallest margin that each of many studies without an effect supports.

    In standard deviations of a difference.
    """
    studies = np.random.default_rng(n_seeds).standard_normal((_N_STUDIES, n_seeds))
    above, below = stats.upper_bounds(studies, alpha), stats.upper_bounds(-studies, alpha)
    return np.maximum(above, below)


def power_log_rank(
    effect: float, spread: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Power of the log-rank test for steps to escape that are normal and independent.

    It is computed from the t distribution, as in `power_paired`. If p reaches `alpha` only when
    the arms are completely separated, the power is at most the exact probability of that.

    Args:
        effect: true difference of means.
        spread: standard deviation of a per-seed difference.
        n_seeds, alpha, margin: as in `power_paired`.
    """
    lowest = lowest_p("log_rank", n_seeds)
    if lowest >= alpha:
        return 0.0
    power = _power_t(effect, spread, n_seeds, alpha, margin, 2 * n_seeds - 2)
    if 2 * lowest >= alpha:
        power = min(power, separation(effect / spread * math.sqrt(2), n_seeds))
    return power


def separation(standardized: float, n_seeds: int) -> float:
    """Probability that all of n normal values exceed all of n others.

    The means of the two groups are `standardized` standard deviations apart.
    """
    grid = np.linspace(-9.0, 9.0, 2001)
    below = special.ndtr(grid) ** n_seeds  # the largest of the lower ones is below the grid point
    above = (1 - special.ndtr(grid - standardized)) ** n_seeds
    middle = (above[1:] + above[:-1]) / 2
    return float(np.sum(np.diff(below) * middle))


def power_shares(
    rate_to: float, rate_from: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Power of Boschloo's test: significance in the true direction, and an estimate of the margin.

    Exact up to 30 seeds per arm; beyond, by the arcsine approximation, without the margin.
    """
    sign = 1 if rate_to >= rate_from else -1
    if n_seeds > _N_EXACT_SHARES:
        distance = 2 * abs(math.asin(math.sqrt(rate_to)) - math.asin(math.sqrt(rate_from)))
        critical = float(special.ndtri(1 - alpha / 2))
        return float(special.ndtr(distance * math.sqrt(n_seeds / 2) - critical))
    k = np.arange(n_seeds + 1)
    seen = sign * (k[:, None] - k[None, :]) / n_seeds
    counts = (boschloo_table(n_seeds, n_seeds) < alpha) & (seen > 0) & (seen >= margin - 1e-12)
    p_to, p_from = binomial_pmf(n_seeds, np.array([rate_to, rate_from]))
    return float(p_to @ counts @ p_from)


def power_share_contrast(
    rates: Sequence[float],
    weights: Sequence[float],
    n_seeds: int,
    alpha: float,
    margin: float = 0.0,
) -> float:
    """Power of `share_contrast_p`: significance in the true direction, an estimate of the margin.

    It is the share of a fixed sample of studies, accurate to one percentage point.

    Args:
        rates: true share of runs in each arm.
        weights: of the arms.
        n_seeds, alpha, margin: as in `power_shares`.
    """
    if n_seeds < 2:
        return 0.0
    sign = 1 if math.fsum(w * r for w, r in zip(weights, rates, strict=True)) >= 0 else -1
    limits = np.array(
        [clopper_pearson(Share(k, n_seeds), 1 - alpha) for k in range(n_seeds + 1)]
    )  # (n_seeds + 1, 2)
    effect, squares = np.zeros(_N_SHARE_STUDIES), np.zeros(_N_SHARE_STUDIES)
    for weight, chances, pmf in zip(
        np.multiply(sign, weights),
        np.random.default_rng(0).random((len(rates), _N_SHARE_STUDIES)),
        binomial_pmf(n_seeds, np.asarray(rates)),
        strict=True,
    ):
        counts = np.minimum(np.searchsorted(np.cumsum(pmf), chances), n_seeds)
        nearer = limits[counts, 0 if weight > 0 else 1]
        effect += weight * counts / n_seeds
        squares += (weight * (counts / n_seeds - nearer)) ** 2
    return float(((effect - np.sqrt(squares) > 0) & (effect >= margin - 1e-12)).mean())


# Detectable effects and seeds ---------------------------------------------------------------


class Outlook(NamedTuple):
    """What one test can detect with a number of seeds.

    Attributes:
        power: probability of significance if the true effect equals the margin; for an equivalence
            claim, if there is no effect.
        detectable: smallest true effect that is supported with 80 % power; for an equivalence
            claim, the smallest margin. Infinite if no effect is, NaN if the spread is unknown.
        seeds_needed: seeds per arm for a `power` of 80 %; None if unknown or above 1000.
    """

    power: float
    detectable: float
    seeds_needed: int | None


def outlook(
    test: Test,
    hypothesis: Hypothesis,
    n_seeds: int,
    alpha: float,
    spread: float = math.nan,
    rate_from: float | None = None,
    weights: Sequence[float] = (1, -1),
) -> Outlook:
    """What `test` can detect.

    Args:
        test: the test of the hypothesis.
        hypothesis: the claim, for its direction and margin.
        n_seeds: seeds per arm.
        alpha: level after correction for multiple claims.
        spread: standard deviation of per-seed differences; not needed for tests of shares.
        rate_from: share in the reference arm, for tests of shares; None takes the best case.
        weights: of the arms compared, for tests of shares of more than two.
    """
    margin = hypothesis.margin
    if test in ("boschloo", "share_contrast"):
        return _outlook_shares(test, hypothesis, n_seeds, alpha, rate_from, weights)
    if test in ("tost_shares", "tost_contrast"):
        return _outlook_equal_shares(test, margin, n_seeds, alpha, tuple(weights))
    if not math.isfinite(spread) or spread <= 0:
        return Outlook(math.nan, math.nan, None)
    if test == "tost":
        return Outlook(
            power_equivalence(margin, spread, n_seeds, alpha),
            _smallest(lambda half: power_equivalence(half, spread, n_seeds, alpha), 1e4 * spread),
            first_seeds(lambda n: power_equivalence(margin, spread, n, alpha) >= POWER),
        )
    power_of = {"log_rank": power_log_rank, "sign_flip": power_paired}.get(test, power_studentized)
    largest = 20 * spread + margin
    return Outlook(
        power_of(margin, spread, n_seeds, alpha),
        _smallest(lambda effect: power_of(effect, spread, n_seeds, alpha, margin), largest),
        first_seeds(lambda n: power_of(margin, spread, n, alpha) >= POWER),
    )


def _outlook_shares(
    test: Test,
    hypothesis: Hypothesis,
    n_seeds: int,
    alpha: float,
    rate_from: float | None,
    weights: Sequence[float],
) -> Outlook:
    """An effect on the share of one side, from `rate_from` or from the share with most room."""
    margin, direction = hypothesis.margin, hypothesis.direction
    best = 1.0 if direction == "decrease" else 0.0
    start = best if rate_from is None else rate_from
    falls = direction == "decrease" or (direction == "either" and start > 0.5)
    sign, room = (-1, start) if falls else (1, 1 - start)
    n_changed = len(weights) // (4 if hypothesis.interaction is not None else 2)

    def of_change(change: float, n: int, least: float) -> float:
        moved = start + sign * min(change, room)
        if test == "boschloo":
            return power_shares(moved, start, n, alpha, least)
        rates = [moved] * n_changed + [start] * (len(weights) - n_changed)
        return power_share_contrast(rates, weights, n, alpha, least)

    return Outlook(
        of_change(margin, n_seeds, 0.0),
        _smallest(lambda change: of_change(change, n_seeds, margin), room),
        first_seeds(lambda n: of_change(margin, n, 0.0) >= POWER),
    )


def _outlook_equal_shares(
    test: Test, margin: float, n_seeds: int, alpha: float, weights: tuple[float, ...]
) -> Outlook:
    """The best case of an equivalence claim about shares: no events in any arm."""

    def shown(half: float, n: int) -> float:
        return 1.0 if lowest_p(test, n, half, weights) < alpha else 0.0

    return Outlook(
        shown(margin, n_seeds),
        _smallest(lambda half: shown(half, n_seeds), 1.0),
        first_seeds(lambda n: shown(margin, n) >= POWER),
    )


def _smallest(power: Callable[[float], float], high: float) -> float:
    """The smallest effect with 80 % power; infinite if the power is less even at `high`."""
    if power(high) < POWER:
        return math.inf
    low = 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high
