"""Arrays in, effects, intervals and p-values out: the tests a verdict rests on. No I/O.

Every test is exact where the enumeration is small, and else a Monte-Carlo test with a fixed
generator, so that a rebuilt report says the same. All p-values are two-sided.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Test = Literal["sign_flip", "boschloo", "log_rank"]

N_RESAMPLES = 20_000  # largest enumeration, and the size of a Monte-Carlo sample beyond it
_MONTE_CARLO_SEED = 20_220_425
_N_SEEDS_SEARCHED = 1000
_POWER = 0.8
_N_WITHOUT_SPREAD = 5

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A confidence interval; infinite where the data allow none."""

    low: float
    high: float


class Share(NamedTuple):
    """`n_events` of `n` runs."""

    n_events: int
    n: int


def sign_flip(differences: ArrayLike) -> float:
    """Exact sign-flip permutation test of "the paired differences are symmetric about zero".

    Enumerates all 2^n sign patterns up to 2^n = ``N_RESAMPLES``, samples that many beyond it.

    Args:
        differences: (n,) one difference per seed.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or not values.any():
        return 1.0
    result = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=N_RESAMPLES,
        rng=np.random.default_rng(_MONTE_CARLO_SEED),
    )
    return float(result.pvalue)


def paired_t(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean; infinite for fewer than two values.

    Its end at ``confidence = 0.90`` is the one-sided 95 % bound. Values that are all equal give
    no spread to go by: from five on the interval is that value (all of five lie on one side of
    the median in 1 of 32 cases), below it is infinite.

    Args:
        differences: (n,) one difference per seed.
        confidence: two-sided coverage.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values):
        return Interval(-math.inf, math.inf)
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values)
    return Interval(float(values.mean() - half), float(values.mean() + half))


def _has_interval(values: Floats) -> bool:
    if len(values) < 2:
        return False
    return len(values) >= _N_WITHOUT_SPREAD or float(np.ptp(values)) > 1e-12 * abs(values).max()


def tost_paired(differences: ArrayLike, margin: float) -> float:
    """p of the two one-sided t tests of "the mean difference is beyond ±margin".

    Below .05 exactly when the 90 % interval of `paired_t` lies inside ±margin.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values):
        return 1.0
    mean, error = float(values.mean()), float(stats.sem(values))
    if error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    return float(stats.t.sf((margin - abs(mean)) / error, len(values) - 1))


def boschloo(to: Share, reference: Share) -> float:
    """Boschloo's exact unconditional test that two shares are equal; 1 where both are 0 or 1."""
    if to.n == 0 or reference.n == 0:
        return 1.0
    # SciPy's columns are the groups.
    table = [[to.n_events, reference.n_events], [_rest(to), _rest(reference)]]
    p = float(stats.boschloo_exact(table).pvalue)
    return 1.0 if math.isnan(p) else min(p, 1.0)


def wilson(share: Share, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of one share."""
    if share.n == 0:
        return Interval(0.0, 1.0)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    n, rate = share.n, share.n_events / share.n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound is the rate itself; rounding must not move it past.
    return Interval(min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate))


def share_difference(
    to: Sequence[Share], reference: Sequence[Share], confidence: float = 0.95
) -> Interval:
    """Interval of the sum of the shares in `to` minus the sum of those in `reference`.

    For one share on each side this is Newcombe's hybrid score interval (method 10, 1998); for a
    difference of differences it is the same recovery of variances (MOVER, Zou & Donner 2008).
    """
    estimate, below, above = 0.0, 0.0, 0.0
    for sign, shares in ((1, to), (-1, reference)):
        for share in shares:
            rate = share.n_events / share.n if share.n else 0.5
            low, high = wilson(share, confidence)
            estimate += sign * rate
            below += (rate - low if sign > 0 else high - rate) ** 2
            above += (high - rate if sign > 0 else rate - low) ** 2
    return Interval(estimate - math.sqrt(below), estimate + math.sqrt(above))


@lru_cache(maxsize=1024)
def share_bounds(to: Share, reference: Share) -> Interval:
    """One-sided 95 % bounds of a difference of two shares, right at few runs too.

    The ends of the 90 % Newcombe-Wilson interval, moved outwards until the exact chance of a
    bound as far off, whatever the two shares are, is at most 5 %. At 0 of 3 against 0 of 3 the
    interval alone would rule out a true difference of one half in one case out of eight.
    """
    upper = _exact_upper(to, reference)
    return Interval(-_exact_upper(reference, to), upper)


def _exact_upper(to: Share, reference: Share) -> float:
    if to.n == 0 or reference.n == 0:
        return 1.0
    bounds = np.array(
        [
            [
                share_difference([Share(a, to.n)], [Share(b, reference.n)], 0.90).high
                for b in range(reference.n + 1)
            ]
            for a in range(to.n + 1)
        ]
    )
    observed = float(bounds[to.n_events, reference.n_events])
    as_low = bounds <= observed + 1e-12  # (to.n + 1, reference.n + 1)

    def chance(difference: float) -> float:
        low = np.linspace(max(0.0, -difference), min(1.0, 1.0 - difference), 101)
        p_to = stats.binom.pmf(np.arange(to.n + 1), to.n, (low + difference)[:, None])
        p_from = stats.binom.pmf(np.arange(reference.n + 1), reference.n, low[:, None])
        return float(np.einsum("ga,ab,gb->g", p_to, as_low, p_from).max())

    if chance(observed) <= 0.05:
        return observed
    inside, outside = observed, 1.0
    for _ in range(20):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if chance(middle) > 0.05 else (inside, middle)
    return outside


def restricted(steps: ArrayLike, budget: ArrayLike) -> Floats:
    """Steps to escape, cut at the budget; NaN (never escaped) counts as the budget.

    As every run is watched up to the budget, the mean of these is the restricted mean, the area
    under the Kaplan-Meier curve.
    """
    values = np.asarray(steps, dtype=np.float64)
    return np.where(np.isnan(values), budget, np.minimum(values, budget))


def log_rank_scores(steps: ArrayLike, escaped: ArrayLike) -> Floats:
    """Log-rank score of each run: its event minus the hazard it lived through (Nelson-Aalen).

    The scores of one group add up to that group's observed minus expected events, and all
    scores add up to zero.

    Args:
        steps: (n,) step of escape or of censoring.
        escaped: (n,) whether the run escaped.
    """
    times = np.asarray(steps, dtype=np.float64)
    events = np.asarray(escaped, dtype=bool)
    hazard = np.zeros_like(times)
    for time in np.unique(times[events]):
        hazard[times >= time] += np.sum(events & (times == time)) / np.sum(times >= time)
    return events - hazard


def log_rank(
    to_steps: ArrayLike, to_escaped: ArrayLike, from_steps: ArrayLike, from_escaped: ArrayLike
) -> float:
    """Permutation test of the log-rank statistic |observed - expected| of two arms.

    Enumerates all splits up to ``N_RESAMPLES``, samples that many beyond it (the observed split
    counted among them). The asymptotic p is not used: at 3 against 3 it is four times too small.

    Args:
        to_steps, from_steps: (n,) step of escape or of censoring.
        to_escaped, from_escaped: (n,) whether the run escaped.
    """
    n_to = len(np.atleast_1d(np.asarray(to_steps)))
    scores = log_rank_scores(np.r_[to_steps, from_steps], np.r_[to_escaped, from_escaped])
    n = len(scores)
    if n_to in (0, n):
        return 1.0
    observed = abs(scores[:n_to].sum()) * (1 - 1e-9) - 1e-12
    if math.comb(n, n_to) <= N_RESAMPLES:
        splits = np.array(list(combinations(range(n), n_to)))  # (n_splits, n_to)
        return float(np.mean(np.abs(scores[splits].sum(axis=1)) >= observed))
    rng = np.random.default_rng(_MONTE_CARLO_SEED)
    splits = np.argsort(rng.random((N_RESAMPLES, n)), axis=1)[:, :n_to]
    n_extreme = int(np.sum(np.abs(scores[splits].sum(axis=1)) >= observed))
    return (n_extreme + 1) / (N_RESAMPLES + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


# What a design can reach --------------------------------------------------------------------


@lru_cache(maxsize=4096)
def lowest_p(test: Test, n_seeds: int) -> float:
    """The lowest two-sided p `test` can reach with `n_seeds` per arm: complete separation."""
    if n_seeds < 1:
        return 1.0
    if test == "sign_flip":
        return min(1.0, 2.0 ** (1 - n_seeds))
    if test == "log_rank":
        return min(1.0, 2 / math.comb(2 * n_seeds, n_seeds))
    if n_seeds > 30:  # far below any level of interest, and costly to compute
        return lowest_p("boschloo", 30)
    return boschloo(Share(n_seeds, n_seeds), Share(0, n_seeds))


def attainable(tests: Sequence[Test], n_seeds: int) -> list[float]:
    """The lowest Holm-adjusted p of each test of a family, when all of them do their best."""
    return holm([lowest_p(test, n_seeds) for test in tests])


def seeds_to_reach(tests: Sequence[Test], index: int, alpha: float) -> int:
    """Fewest seeds per arm at which test `index` of a family can come below `alpha`."""
    n_seeds = 2
    while attainable(tests, n_seeds)[index] >= alpha:
        n_seeds += 1
    return n_seeds


# Power, for what an inconclusive verdict should say -----------------------------------------


def power_paired(effect: float, spread: float, n_seeds: int, alpha: float) -> float:
    """Power of the sign-flip test on normal differences, through the paired t test.

    Where only complete agreement of all seeds can reach `alpha`, the probability of that is
    the limit.

    Args:
        effect: true mean difference; spread: standard deviation of a difference (> 0).
    """
    if n_seeds < 2 or lowest_p("sign_flip", n_seeds) >= alpha:
        return 0.0
    standardized = min(abs(effect) / spread, 20.0)
    critical = float(stats.t.ppf(1 - alpha / 2, n_seeds - 1))
    shift = standardized * math.sqrt(n_seeds)
    # Johnson & Welch's normal approximation: the noncentral t itself overflows for large shifts.
    freedom = n_seeds - 1
    scale = math.sqrt(1 + critical * critical / (2 * freedom))
    power = float(stats.norm.sf((critical * (1 - 1 / (4 * freedom)) - shift) / scale))
    if 2 * lowest_p("sign_flip", n_seeds) >= alpha:
        power = min(power, float(stats.norm.cdf(standardized)) ** n_seeds)
    return power


def minimum_detectable_paired(spread: float, n_seeds: int, alpha: float) -> float:
    """Mean difference found with 80 % power; infinite where `alpha` is out of reach."""
    if spread == 0 or not math.isfinite(spread):
        return math.nan
    if power_paired(20 * spread, spread, n_seeds, alpha) < _POWER:
        return math.inf
    return _bisect(lambda effect: power_paired(effect, spread, n_seeds, alpha), 20 * spread)


def seeds_for_paired(effect: float, spread: float, alpha: float) -> int | None:
    """Seeds for 80 % power at a mean difference of `effect`; None beyond 1000 or without spread."""
    if spread == 0 or not math.isfinite(spread):
        return None
    return _first_n(lambda n: power_paired(effect, spread, n, alpha))


def power_shares(rate_to: float, rate_from: float, n_seeds: int, alpha: float) -> float:
    """Power of a test of two shares, by the arcsine approximation, zero out of Boschloo's reach."""
    if lowest_p("boschloo", n_seeds) >= alpha:
        return 0.0
    distance = 2 * abs(math.asin(math.sqrt(rate_to)) - math.asin(math.sqrt(rate_from)))
    critical = float(stats.norm.ppf(1 - alpha / 2))
    return float(stats.norm.sf(critical - distance * math.sqrt(n_seeds / 2)))


def minimum_detectable_shares(rate_from: float, sign: int, n_seeds: int, alpha: float) -> float:
    """Change of a share, away from `rate_from` towards `sign`, found with 80 % power."""
    room = 1 - rate_from if sign > 0 else rate_from

    def power(change: float) -> float:
        return power_shares(rate_from + sign * change, rate_from, n_seeds, alpha)

    return _bisect(power, room) if power(room) >= _POWER else math.inf


def seeds_for_shares(rate_to: float, rate_from: float, alpha: float) -> int | None:
    """Seeds per arm for 80 % power to tell two shares apart; None beyond 1000."""
    return _first_n(lambda n: power_shares(rate_to, rate_from, n, alpha))


def _bisect(power: Callable[[float], float], high: float) -> float:
    low = 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < _POWER else (low, middle)
    return high


def _first_n(power: Callable[[int], float]) -> int | None:
    if power(_N_SEEDS_SEARCHED) < _POWER:
        return None
    low, high = 1, _N_SEEDS_SEARCHED  # power(low) is too small, power(high) enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(middle) < _POWER else (low, middle)
    return high


def _rest(share: Share) -> int:
    return share.n - share.n_events
