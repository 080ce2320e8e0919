"""Arrays in, effects, intervals and p-values out: the tests a verdict rests on. No I/O.

Every test is exact where the enumeration is small, and else a Monte-Carlo test with a fixed
generator, so that a rebuilt report says the same. p-values of differences are two-sided.
Shares of runs are in `orchestrator.stats.shares`, power and reach in `orchestrator.stats.power`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

N_RESAMPLES = 20_000  # largest enumeration of splits, and the size of a Monte-Carlo sample
# Most runs of each arm whose splits are all enumerated.
EXACT_LOG_RANK = max(n for n in range(1, 20) if math.comb(2 * n, n) <= N_RESAMPLES)
_MONTE_CARLO_SEED = 20_220_425
EXACT_SIGN_FLIPS = 32  # most values whose 2^n sign patterns are counted, half by half
_N_WITHOUT_SPREAD = 5

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A confidence interval; infinite where the data allow none."""

    low: float
    high: float


def sign_flip(differences: ArrayLike) -> float:
    """Exact sign-flip permutation test of "the paired differences are symmetric about zero".

    Counts the patterns among all 2^n that are as extreme, up to n =
    `EXACT_SIGN_FLIPS`; samples beyond. Every pattern is one of the first half plus one of the
    second, so sorting 2^(n/2) sums is enough.

    Args:
        differences: (n,) one difference per seed.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return 1.0
    # Sums of equal magnitude are ties, whatever rounding made of them.
    observed = abs(float(values.sum())) - 1e-9 * float(np.abs(values).sum())
    if observed <= 0:
        return 1.0
    if len(values) > EXACT_SIGN_FLIPS:
        rng = np.random.default_rng(_MONTE_CARLO_SEED)
        signs = rng.integers(0, 2, (N_RESAMPLES, len(values))) * 2.0 - 1.0
        n_extreme = int(np.sum(np.abs(signs @ values) >= observed))
        return (n_extreme + 1) / (N_RESAMPLES + 1)
    half = len(values) // 2
    first, second = _signed_sums(values[:half]), np.sort(_signed_sums(values[half:]))
    n_above = len(first) * len(second) - int(np.searchsorted(second, observed - first).sum())
    return float(2 * n_above / (len(first) * len(second)))


def _signed_sums(values: Floats) -> Floats:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums  # (2^n,)


def paired_t(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean; infinite for fewer than two values.

    Values that are all equal give no spread to go by: from five on the interval is that value
    (all of five lie on one side of the median in 1 of 32 cases), below it is infinite.

    Args:
        differences: (n,) one difference per seed.
        confidence: two-sided coverage.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values):
        return Interval(-math.inf, math.inf)
    half = t_quantile(0.5 + confidence / 2, len(values) - 1) * _standard_error(values)
    return Interval(float(values.mean() - half), float(values.mean() + half))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, probability))


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _has_interval(values: Floats) -> bool:
    if len(values) < 2:
        return False
    return len(values) >= _N_WITHOUT_SPREAD or float(np.ptp(values)) > 1e-12 * abs(values).max()


def paired_bounds(differences: ArrayLike, error: float = 0.05) -> Interval:
    """One-sided bounds of a mean, each with `error`: Student's t with Johnson's term.

    Johnson's correction for skewness (1978) is taken outwards only. Without it, differences of
    a skewness that learning curves show break the promise of 5 % by a few tenths of a percent;
    it costs little where differences are symmetric. Infinite where `paired_t` is.

    Args:
        differences: (n,) one difference per seed.
        error: of each bound.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values):
        return Interval(-math.inf, math.inf)
    return Interval(-float(upper_bounds(-values, error)), float(upper_bounds(values, error)))


def upper_bounds(differences: Floats, error: float) -> Floats:
    """The upper one of `paired_bounds`, of many studies at once, each of which varies.

    Args:
        differences: (..., n) one difference per seed.
        error: of each bound.
    """
    n = differences.shape[-1]
    t = t_quantile(1 - error, n - 1)
    reach = t * differences.std(axis=-1, ddof=1) / math.sqrt(n)
    bounds = differences.mean(axis=-1) + reach + _johnson(differences) * (1 + 2 * t * t)
    return np.asarray(bounds)  # (...)


def tost_paired(differences: ArrayLike, margin: float) -> float:
    """p of the two one-sided tests of "the mean difference is beyond ±margin".

    Below `error` exactly when `paired_bounds` with that error lies inside ±margin.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values):
        return 1.0
    return max(_p_below(values, margin), _p_below(-values, margin))


def _p_below(values: Floats, margin: float) -> float:
    """p of "the mean is at least `margin`": the error at which the upper bound comes to it."""
    room, error, term = (
        margin - float(values.mean()),
        _standard_error(values),
        float(_johnson(values)),
    )
    if error == 0:
        return 0.0 if room > 0 else 1.0
    if term <= 1e-9 * error:
        return float(special.stdtr(len(values) - 1, -room / error))
    # The bound is mean + t * error + term * (1 + 2 t²); this is its root for t.
    inside = error**2 - 8 * term * (term - room)
    if inside < 0:
        return 1.0
    t = (math.sqrt(inside) - error) / (4 * term)
    return float(special.stdtr(len(values) - 1, -t))


def _johnson(values: Floats) -> Floats:
    """Third moment over 6 n variances along the last axis, 0 where skewed to the left."""
    n = values.shape[-1]
    if n < 3:
        return np.zeros(values.shape[:-1])
    centred = values - values.mean(axis=-1, keepdims=True)
    variance = (centred**2).sum(axis=-1) / (n - 1)
    third = (centred**3).sum(axis=-1) * n / ((n - 1) * (n - 2))
    return np.asarray(np.maximum(third, 0.0) / (6 * n * np.maximum(variance, 1e-300)))


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
    extreme = np.abs(_splits(n, n_to) @ scores) >= observed
    if math.comb(n, n_to) <= N_RESAMPLES:
        return float(extreme.mean())
    return (int(extreme.sum()) + 1) / (N_RESAMPLES + 1)


@lru_cache(maxsize=8)
def _splits(n: int, n_to: int) -> Floats:
    """Which of `n` runs fall to the first arm, 1 or 0: every split, or a sample of them."""
    if math.comb(n, n_to) <= N_RESAMPLES:
        chosen = np.array(list(combinations(range(n), n_to)))
    else:
        rng = np.random.default_rng(_MONTE_CARLO_SEED)
        chosen = np.argsort(rng.random((N_RESAMPLES, n)), axis=1)[:, :n_to]
    indicators = np.zeros((len(chosen), n))
    np.put_along_axis(indicators, chosen, 1.0, axis=1)
    return indicators  # (n_splits, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values (1995), in the order given.

    Calling those below a level significant keeps the expected share of false ones among them
    at that level, for tests that are independent or positively dependent.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


class Pairing(NamedTuple):
    """What the seeds, shared by the arms, did to a comparison.

    Attributes:
        correlation: of the two arms' outcomes over the seeds; NaN if an arm does not vary.
        saved: share of the seeds that blocking saved: 1 - variance of the differences over the
            sum of the arms' variances. Negative where pairing cost precision.
    """

    correlation: float
    saved: float


def pairing(to: ArrayLike, reference: ArrayLike) -> Pairing:
    """How the outcomes of two arms go together over the seeds.

    Args:
        to, reference: (n,) one value per seed, in the same order.
    """
    a, b = np.asarray(to, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if len(a) < 3:
        return Pairing(math.nan, math.nan)
    of_a, of_b = float(a.var(ddof=1)), float(b.var(ddof=1))
    if min(of_a, of_b) <= 1e-24:
        return Pairing(math.nan, math.nan)
    covariance = float((a - a.mean()) @ (b - b.mean())) / (len(a) - 1)
    return Pairing(covariance / math.sqrt(of_a * of_b), 2 * covariance / (of_a + of_b))
