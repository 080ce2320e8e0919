"""The effects, intervals and tests of verdicts: arrays in, numbers out.

Permutation tests are exact up to `EXACT_SIGN_FLIPS` values and `EXACT_LOG_RANK` runs per arm.
Beyond that they draw a Monte-Carlo sample with a fixed generator, so that a report rebuilt from the
same records has the same numbers. p-values of differences are two-sided. Shares of runs are in
`orchestrator.stats.shares`, power in `orchestrator.stats.power`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from orchestrator.stats.run_values import Floats as Floats

# Most differences for which `sign_flip` counts all 2^n sign patterns. Time and memory grow with
# 2^(n/2): 32 differences take about 20 ms, 40 would take 16 times as long.
EXACT_SIGN_FLIPS = 32
N_RESAMPLES = 20_000  # most splits that `log_rank` enumerates, and the size of a Monte-Carlo sample
# Most runs in each of two equal arms for which `log_rank` enumerates all splits: 16 over 8 is
# 12,870 splits, 18 over 9 would be 48,620.
EXACT_LOG_RANK = 8
FEWEST_STUDENTIZED = 3  # differences that `studentized` needs
_MONTE_CARLO_SEED = 20_220_425


class Interval(NamedTuple):
    """A confidence interval; infinite if the data do not determine one."""

    low: float
    high: float


def sign_flip(differences: ArrayLike) -> float:
    """Sign-flip permutation test of the null hypothesis that paired differences are symmetric.

    Up to `EXACT_SIGN_FLIPS` differences, p is the share of all 2^n sign patterns whose sum is as
    extreme as the observed one; beyond, it comes from a sample of `N_RESAMPLES` patterns. A pattern
    is a pattern of the first half joined with one of the second, so sorting the 2^(n/2) sums of one
    half is enough to count.

    Args:
        differences: (n,) one difference per seed.

    Returns:
        The two-sided p; 1 for fewer than two differences.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return 1.0
    # Sums that differ by rounding alone count as ties.
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

    Values that are all equal have no spread. The interval is then that value if there are enough of
    them (see `_has_interval`), and infinite otherwise.

    Args:
        differences: (n,) one difference per seed.
        confidence: two-sided coverage.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values, (1 - confidence) / 2):
        return Interval(-math.inf, math.inf)
    half = t_quantile(0.5 + confidence / 2, len(values) - 1) * _standard_error(values)
    return Interval(float(values.mean() - half), float(values.mean() + half))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, probability))


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _has_interval(values: Floats, error: float) -> bool:
    """Whether values bound their mean with this one-sided error.

    n values without spread do if 2^-n, the probability that all of them lie above the median, is at
    most the error.
    """
    if len(values) < 2:
        return False
    return has_spread(values) or 2.0 ** -len(values) <= error


def has_spread(values: Floats) -> bool:
    """Whether values differ by more than rounding."""
    return float(np.ptp(values)) > 1e-12 * float(np.abs(values).max())


def studentized(differences: ArrayLike) -> float:
    """Two-sided p of the null hypothesis that the mean of paired differences is zero.

    Student's t with Johnson's correction for skewness (1978). It is the test of `paired_bounds`: p
    is below 0.05 exactly when `paired_interval`, a pair of bounds with an error of 2.5 % each,
    excludes zero. Three differences are the fewest, as fewer have no skewness. Without a spread, p
    is that of `sign_flip`.

    Args:
        differences: (n,) one difference per seed.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < FEWEST_STUDENTIZED:
        return 1.0
    if not has_spread(values):
        return sign_flip(values)
    return min(1.0, 2 * min(float(p_below(values, 0.0)), float(p_below(-values, 0.0))))


def paired_interval(differences: ArrayLike) -> Interval:
    """The 95 % interval of a mean difference, from `paired_bounds`; see `studentized`."""
    return paired_bounds(differences, 0.025)


def paired_bounds(differences: ArrayLike, error: float = 0.05) -> Interval:
    """One-sided bounds of a mean, from Student's t with Johnson's correction for skewness (1978).

    The correction only widens the interval. Without it, differences as skewed as those of learning
    curves exceed an error rate of 5 % by a few tenths of a percent; for symmetric differences it
    changes little. Two values have no skewness, and Student's bounds.

    Args:
        differences: (n,) one difference per seed.
        error: the error rate of each bound.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not _has_interval(values, error):
        return Interval(-math.inf, math.inf)
    return Interval(-float(upper_bounds(-values, error)), float(upper_bounds(values, error)))


def upper_bounds(differences: Floats, error: float) -> Floats:
    """The upper bounds of `paired_bounds`, vectorised over studies.

    Args:
        differences: (..., n) one difference per seed; every study needs nonzero variance.
        error: the error rate of each bound.

    Returns:
        (...) one bound per study.
    """
    n = differences.shape[-1]
    t = t_quantile(1 - error, n - 1)
    reach = t * differences.std(axis=-1, ddof=1) / math.sqrt(n)
    bounds = differences.mean(axis=-1) + reach + _johnson(differences) * (1 + 2 * t * t)
    return np.asarray(bounds)  # (...)


def tost_paired(differences: ArrayLike, margin: float) -> float:
    """p of two one-sided tests of the null hypothesis that the mean difference is beyond ±margin.

    It is below `error` exactly when `paired_bounds` with that error lie inside ±margin.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return 1.0
    if not has_spread(values):
        return 2.0 ** -len(values) if abs(float(values.mean())) < margin else 1.0
    return max(float(p_below(values, margin)), float(p_below(-values, margin)))


def p_below(differences: Floats, margin: float) -> Floats:
    """One-sided p of the null hypothesis that a mean is at least `margin`, over many studies.

    It is below an error exactly when the bound of `upper_bounds` with that error is below `margin`.

    Args:
        differences: (..., n) one difference per seed; every study needs nonzero variance.
        margin: the margin.

    Returns:
        (...) one p per study.
    """
    n = differences.shape[-1]
    room = margin - differences.mean(axis=-1)
    error = differences.std(axis=-1, ddof=1) / math.sqrt(n)
    term = _johnson(differences)
    # Solves mean + t * error + term * (1 + 2 t²) = margin for t.
    inside = error**2 - 8 * term * (term - room)
    is_skewed = term > 1e-9 * error
    root = np.sqrt(np.maximum(inside, 0.0)) - error
    t = np.where(is_skewed, root / np.where(is_skewed, 4 * term, 1.0), room / error)
    return np.where(is_skewed & (inside < 0), 1.0, special.stdtr(n - 1, -t))


def _johnson(values: Floats) -> Floats:
    """Third moment over 6 n variances along the last axis; 0 if skewed to the left."""
    n = values.shape[-1]
    if n < 3:
        return np.zeros(values.shape[:-1])
    centred = values - values.mean(axis=-1, keepdims=True)
    variance = (centred**2).sum(axis=-1) / (n - 1)
    third = (centred**3).sum(axis=-1) * n / ((n - 1) * (n - 2))
    return np.asarray(np.maximum(third, 0.0) / (6 * n * np.maximum(variance, 1e-300)))


def log_rank_scores(steps: ArrayLike, escaped: ArrayLike) -> Floats:
    """Log-rank score of each run: its event minus its cumulative hazard (Nelson-Aalen).

    The scores of a group add up to its observed minus its expected events; all scores add up to
    zero.

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

    Enumerates all splits of the runs if there are at most `N_RESAMPLES` (up to `EXACT_LOG_RANK`
    runs in each of two equal arms), and samples that many otherwise, with the observed split
    counted as one of them. The asymptotic p is not used: for 3 against 3 runs it is four times too
    small.

    Args:
        to_steps, from_steps: (n,) step of escape or of censoring.
        to_escaped, from_escaped: (n,) whether the run escaped.

    Returns:
        The two-sided p; 1 if an arm has no runs.
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
    """1 for the runs of the first arm, 0 for the others: every split of `n` runs, or a sample."""
    if math.comb(n, n_to) <= N_RESAMPLES:
        chosen = np.array(list(combinations(range(n), n_to)))
    else:
        rng = np.random.default_rng(_MONTE_CARLO_SEED)
        chosen = np.argsort(rng.random((N_RESAMPLES, n)))[:, :n_to]
    indicators = np.zeros((len(chosen), n))
    np.put_along_axis(indicators, chosen, 1.0, axis=1)
    return indicators  # (n_splits, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values (1995), in the order given.

    If those below a level are called significant, the expected share of false positives among them
    is at most that level, for tests that are independent or positively dependent.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(scaled)
    return [float(value) for value in adjusted]


class Pairing(NamedTuple):
    """What pairing by seed did to a comparison.

    Attributes:
        correlation: correlation of the two arms' outcomes over the seeds; NaN if an arm does not
            vary.
        saved: share of the seeds that pairing saved: 1 - variance of the differences over the sum
            of the arms' variances. Negative if pairing cost precision.
    """

    correlation: float
    saved: float


def pairing(to: ArrayLike, reference: ArrayLike) -> Pairing:
    """How the outcomes of two arms correlate over the seeds.

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
