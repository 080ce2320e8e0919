"""Two arms and a metric → both figures, the difference, its interval and the test that gave it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from orchestrator.query.compare.sides import Row
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.run_values import COUNTED
from orchestrator.stats.shares import Share, boschloo, share_difference

SHARES = ("collapsed", "diverged")
NO_INTERVAL = Interval(-math.inf, math.inf)


class Figure(NamedTuple):
    """One arm in one metric.

    Attributes:
        mean: over the runs with a value; NaN without any.
        spread: standard deviation over them; NaN below two.
        values: one a run with a value.
        n: such runs; n_collapsed, n_diverged: among all runs; n_gaps: failed, or not recorded, or
            without a number.
    """

    mean: float
    spread: float
    values: tuple[float, ...]
    n: int
    n_collapsed: int
    n_diverged: int
    n_gaps: int


class Effect(NamedTuple):
    """B minus A.

    Attributes:
        difference: of the means; over the paired seeds alone where runs are paired.
        interval: 95 %, infinite where there is none.
        p: of no difference; NaN where nothing was tested.
        test: what was done, in words; why nothing was where nothing was.
        n_pairs: seeds paired; 0 where they are not.
        n_same: runs that both sides have in common.
    """

    difference: float
    interval: Interval
    p: float
    test: str
    n_pairs: int
    n_same: int


def metric_value(run: Row, metric: str, budget: float) -> float:
    """What a run counts as in a metric; NaN for a gap.

    A diverged run counts as PER 1 and as collapsed, as in every table of the house; of other
    metrics it has none but the lowest PER it came to. Steps to escape are cut at the budget.

    Args:
        run: its row.
        metric: a column, or ``collapsed`` or ``diverged``.
        budget: the step up to which escape is judged.
    """
    outcome = run.get("outcome")
    if outcome not in COUNTED:
        return math.nan
    if metric in SHARES:
        return float(outcome == "diverged" or (metric == "collapsed" and outcome == "collapsed"))
    if metric == "escape_step":
        step = run.get(metric)
        return budget if step is None else min(float(step), budget)
    if outcome == "diverged" and metric != "best_per":
        return 1.0 if metric in ("per", "per_beam") else math.nan
    value = run.get(metric)
    is_number = isinstance(value, bool | int | float)
    return float(value) if is_number and value is not None else math.nan


def budget_of(runs: Sequence[Row]) -> float:
    """The step up to which every one of these runs was watched."""
    steps = [float(run["n_steps"]) for run in runs if run.get("n_steps")]
    return min(steps, default=math.nan)


def figure_of(runs: Sequence[Row], metric: str, budget: float) -> Figure:
    """One arm in one metric."""
    values = [metric_value(run, metric, budget) for run in runs]
    present = np.array([value for value in values if math.isfinite(value)])
    outcomes = [run.get("outcome") for run in runs]
    return Figure(
        mean=float(present.mean()) if len(present) else math.nan,
        spread=float(present.std(ddof=1)) if len(present) > 1 else math.nan,
        values=tuple(present.tolist()),
        n=len(present),
        n_collapsed=outcomes.count("collapsed"),
        n_diverged=outcomes.count("diverged"),
        n_gaps=len(runs) - len(present),
    )


def compare_runs(a: Sequence[Row], b: Sequence[Row], metric: str, *, pool: bool = True) -> Effect:
    """B minus A, with the interval that the runs allow.

    Runs are paired by seed where at least two seeds, and half of those of the smaller arm, are
    shared: paired t interval and exact sign-flip test. Otherwise Welch's t. Shares of runs have
    the Newcombe-Wilson interval and Boschloo's test. Arms that have runs in common are told so,
    and nothing is tested: a run does not differ from itself.

    Args:
        a, b: the runs of each arm.
        metric: a column of the runs, or ``collapsed`` or ``diverged``.
        pool: whether runs of the two may be pooled; otherwise the means alone are told.
    """
    budget = budget_of([*a, *b])
    of_a, of_b = _by_run(a, metric, budget), _by_run(b, metric, budget)
    means = [float(np.mean(list(v.values()))) if v else math.nan for v in (of_a, of_b)]
    difference = means[1] - means[0]
    same = of_a.keys() & of_b.keys()
    if same and len(same) == len(of_a) == len(of_b):
        return Effect(0.0, NO_INTERVAL, math.nan, "same runs", 0, len(same))
    if same:
        return _untested(difference, f"{len(same)} runs are the same", len(same))
    if not of_a or not of_b:
        return _untested(math.nan, "no values")
    if not pool:
        return _untested(difference, "not pooled")
    if metric in SHARES:
        shares = [Share(round(sum(v.values())), len(v)) for v in (of_b, of_a)]
        interval = share_difference(shares[:1], shares[1:])
        p = boschloo(shares[0], shares[1])
        return Effect(difference, interval, p, "Newcombe–Wilson; Boschloo", 0, 0)
    pairs = _pairs(a, b, metric, budget)
    fewer = min(len(of_a), len(of_b))
    if len(pairs) >= 2 and 2 * len(pairs) >= fewer:
        steps = np.array([two - one for one, two in pairs])
        left = len(of_a) + len(of_b) - 2 * len(pairs)
        test = f"paired t over {len(pairs)} seeds; sign-flip"
        test += f" ({left} runs without a partner left out)" if left else ""
        p = stats.sign_flip(steps)
        return Effect(float(steps.mean()), stats.paired_t(steps), p, test, len(pairs), 0)
    if fewer < 2:
        return _untested(difference, "a single run gives no interval")
    interval, p = welch(list(of_a.values()), list(of_b.values()))
    return Effect(difference, interval, p, "Welch's t", 0, 0)


def welch(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> tuple[Interval, float]:
    """Welch's t interval and two-sided p of mean(b) - mean(a), variances not assumed equal.

    Where neither side varies there is no interval, and p is NaN.

    Args:
        a, b: two values at least in each.
        confidence: two-sided coverage.
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
    half = float(special.stdtrit(freedom, 0.5 + confidence / 2)) * error
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Interval(difference - half, difference + half), p


def _untested(difference: float, why: str, n_same: int = 0) -> Effect:
    return Effect(difference, NO_INTERVAL, math.nan, why, 0, n_same)


def _by_run(runs: Sequence[Row], metric: str, budget: float) -> dict[Any, float]:
    """Run → its value; a run without an id is itself alone."""
    values = {run.get("run_id") or id(run): metric_value(run, metric, budget) for run in runs}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def _pairs(
    a: Sequence[Row], b: Sequence[Row], metric: str, budget: float
) -> list[tuple[float, float]]:
    """The values of each seed that each arm was trained with once."""
    of_a, of_b = _by_seed(a, metric, budget), _by_seed(b, metric, budget)
    return [(of_a[seed], of_b[seed]) for seed in of_a if seed in of_b]


def _by_seed(runs: Sequence[Row], metric: str, budget: float) -> Mapping[Any, float]:
    values: dict[Any, list[float]] = {}
    for run in runs:
        value = metric_value(run, metric, budget)
        if run.get("seed") is not None and math.isfinite(value):
            values.setdefault(run["seed"], []).append(value)
    return {seed: found[0] for seed, found in values.items() if len(found) == 1}
