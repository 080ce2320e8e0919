"""The runs of two arms in one metric: a summary of each arm, their difference and its interval."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.run_values import counted_values, least_budget
from orchestrator.stats.shares import Share, boschloo, share_difference
from orchestrator.tables.run_row import RunRow

SHARES = ("collapsed", "diverged")
NO_INTERVAL = Interval(-math.inf, math.inf)


class ArmSummary(NamedTuple):
    """One arm in one metric.

    Attributes:
        mean: over the runs with a value; NaN without any.
        sd: standard deviation over them; NaN for fewer than two.
        values: one per run with a value.
        n: how many runs have a value.
        n_collapsed, n_diverged: how many of all its runs ended so.
        n_without: runs without a value: failed, not recorded, or without a number.
    """

    mean: float
    sd: float
    values: tuple[float, ...]
    n: int
    n_collapsed: int
    n_diverged: int
    n_without: int


class MeanDifference(NamedTuple):
    """The mean of B minus the mean of A.

    Attributes:
        value: over the paired seeds alone, if the runs are paired.
        interval: 95 %; infinite where there is none.
        p: two-sided, of no difference; NaN if nothing was tested.
        test: the test in words, or why there is none.
        n_pairs: paired seeds; 0 if the runs are not paired.
        n_same: runs that belong to both arms.
    """

    value: float
    interval: Interval
    p: float
    test: str
    n_pairs: int = 0
    n_same: int = 0


def metric_values(runs: Sequence[RunRow], metric: str, budget: float) -> list[float]:
    """The value of each run in a metric, as `counted_values` has it; NaN for a run without one.

    Args:
        metric: a column, or ``collapsed`` or ``diverged``.
        budget: the step up to which escape is judged, see `shared_budget`.
    """
    numbers = [run.number(metric) for run in runs]
    column = [math.nan if number is None else number for number in numbers]
    endings = [run.outcome for run in runs]
    return [float(value) for value in counted_values(metric, endings, column, budget)]


def shared_budget(runs: Iterable[RunRow]) -> float:
    """The fewest planned steps of these runs; infinite where none is known."""
    budget = least_budget([steps for run in runs if (steps := run.number("n_steps"))])
    return math.inf if math.isnan(budget) else budget


def summarise(runs: Sequence[RunRow], metric: str, budget: float) -> ArmSummary:
    """One arm in one metric; the arguments are those of `metric_values`."""
    values = np.array(metric_values(runs, metric, budget))
    present = values[np.isfinite(values)]
    outcomes = [run.outcome for run in runs]
    return ArmSummary(
        mean=float(present.mean()) if len(present) else math.nan,
        sd=float(present.std(ddof=1)) if len(present) > 1 else math.nan,
        values=tuple(present.tolist()),
        n=len(present),
        n_collapsed=outcomes.count("collapsed"),
        n_diverged=outcomes.count("diverged"),
        n_without=len(runs) - len(present),
    )


def compare_runs(
    a: Sequence[RunRow], b: Sequence[RunRow], metric: str, *, pool: bool = True
) -> MeanDifference:
    """B minus A, with the interval that the runs allow.

    Runs are paired by seed if the arms share at least two seeds and at least half of the seeds of
    the smaller arm: skewness-corrected paired t interval and test. Otherwise the interval and the
    test are Welch's. Shares of runs have the Newcombe-Wilson interval and Boschloo's test. Arms
    that have runs in common are not tested, because a run does not differ from itself.

    Args:
        metric: a column of the runs, or ``collapsed`` or ``diverged``.
        pool: whether the runs of the two may be pooled; if not, only the means are compared.
    """
    budget = shared_budget([*a, *b])
    runs = [_with_value(side, metric, budget) for side in (a, b)]
    # A run without an id is distinct from every other.
    of_a, of_b = ({run.run_id or id(run): value for run, value in side} for side in runs)
    means = [float(np.mean(list(x.values()))) if x else math.nan for x in (of_a, of_b)]
    difference = means[1] - means[0]
    n_same = len(of_a.keys() & of_b.keys())
    if n_same and n_same == len(of_a) == len(of_b):
        return _untested(0.0, "same runs", n_same)
    if n_same:
        return _untested(difference, f"{n_same} runs are the same", n_same)
    if not of_a or not of_b:
        return _untested(math.nan, "no values")
    if not pool:
        return _untested(difference, "not pooled")
    if metric in SHARES:
        shares = [Share(round(sum(x.values())), len(x)) for x in (of_b, of_a)]
        interval = share_difference(shares[:1], shares[1:])
        return MeanDifference(difference, interval, boschloo(*shares), "Newcombe–Wilson; Boschloo")
    by_seed_a, by_seed_b = map(_by_seed, runs)
    steps = np.array([by_seed_b[seed] - by_seed_a[seed] for seed in by_seed_a if seed in by_seed_b])
    fewer = min(len(of_a), len(of_b))
    if len(steps) >= 2 and 2 * len(steps) >= fewer:
        left = len(of_a) + len(of_b) - 2 * len(steps)
        test = f"skewness-corrected paired t over {len(steps)} seeds"
        test += f" ({left} runs without a partner left out)" if left else ""
        interval, p = stats.paired_interval(steps), stats.studentized(steps)
        return MeanDifference(float(steps.mean()), interval, p, test, len(steps))
    if fewer < 2:
        return _untested(difference, "a single run gives no interval")
    interval, p = welch(list(of_a.values()), list(of_b.values()))
    return MeanDifference(difference, interval, p, "Welch's t")


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[Interval, float]:
    """Welch's 95 % t interval and two-sided p of mean(b) - mean(a), of unequal variances.

    If neither side varies, the interval is infinite and p is NaN.

    Args:
        a, b: at least two values each.
    """
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    parts = [float(x.var(ddof=1)) / len(x) for x in (one, two)]
    error = math.sqrt(sum(parts))
    difference = float(two.mean() - one.mean())
    if error <= 1e-12 * max(abs(difference), 1e-300):
        return NO_INTERVAL, math.nan
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(x) - 1) for part, x in zip(parts, (one, two), strict=True)
    )
    half = float(special.stdtrit(freedom, 0.975)) * error
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Interval(difference - half, difference + half), p


def _untested(difference: float, why: str, n_same: int = 0) -> MeanDifference:
    return MeanDifference(difference, NO_INTERVAL, math.nan, why, n_same=n_same)


def _with_value(runs: Sequence[RunRow], metric: str, budget: float) -> list[tuple[RunRow, float]]:
    pairs = zip(runs, metric_values(runs, metric, budget), strict=True)
    return [(run, value) for run, value in pairs if math.isfinite(value)]


def _by_seed(runs: Sequence[tuple[RunRow, float]]) -> dict[int, float]:
    """Seed → its value, for the seeds that only one run with a value has."""
    n_runs = Counter(run.seed for run, _ in runs)
    return {run.seed: v for run, v in runs if run.seed is not None and n_runs[run.seed] == 1}
