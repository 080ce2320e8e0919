"""A hypothesis and the runs table → what the runs say about it: effect, intervals, p, gaps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from decoder.errors import ConfigError
from orchestrator import stats
from orchestrator.design import cells_of
from orchestrator.spec import Hypothesis
from orchestrator.stats import Interval, Share, Test
from orchestrator.tables import COUNTED

TEST_NAMES: Mapping[Test, str] = {
    "sign_flip": "exact sign-flip",
    "boschloo": "Boschloo's exact",
    "log_rank": "log-rank permutation",
}


@dataclass(frozen=True)
class Cell:
    """One of the arms a hypothesis compares (two, or four with an interaction).

    Attributes:
        arm: its id.
        weight: +1 or -1: its part in the effect.
        n: runs with a result; n_planned: runs the plan has.
        n_failed: infrastructure failures; n_missing: runs not recorded yet.
        n_collapsed, n_diverged: among `n`.
        n_escaped: runs that left the blank plateau for good, among `n`.
        mean: mean of the outcome (steps to escape cut at the budget) over the seeds that have a
            result in every arm compared; NaN if there is none.
    """

    arm: str
    weight: int
    n: int
    n_planned: int
    n_failed: int
    n_missing: int
    n_collapsed: int
    n_diverged: int
    n_escaped: int
    mean: float


class Assessment(NamedTuple):
    """An effect with its intervals and p, all for ``to`` minus ``from``, in the outcome's unit."""

    effect: float
    interval: Interval  # 95 %
    bounds: Interval  # one-sided 95 % bounds
    p: float


@dataclass(frozen=True)
class Evidence:
    """What the runs say about one hypothesis.

    Attributes:
        cells: the arms compared, ``to`` side first.
        differences: seed → effect in that seed, over the seeds without a gap.
        shown: the effect as measured, over those seeds.
        scenarios: what the rule is applied to: `shown` alone, or, where runs failed, the best
            and the worst the failed runs could have been for the claim. Empty while planned
            runs are missing.
        test: the test that gave p; interval_name: how the intervals were made.
        n_steps: step budget of the arms, smallest and largest.
        spread: standard deviation of `differences`; NaN below two seeds.
    """

    cells: tuple[Cell, ...]
    differences: Mapping[int, float]
    shown: Assessment
    scenarios: tuple[Assessment, ...]
    test: Test
    interval_name: str
    n_steps: tuple[int, int] | None
    spread: float

    @property
    def p(self) -> float:
        """The largest p of all scenarios; 1 where no verdict can be drawn."""
        return max((scenario.p for scenario in self.scenarios), default=1.0)


Bools = np.ndarray[Any, np.dtype[np.bool_]]
Gap = Literal["best", "worst"]


class _Values(NamedTuple):
    """One cell, one entry a seed, in the order of the seeds; NaN for a gap."""

    values: stats.Floats
    escaped: Bools


def choose_test(hypothesis: Hypothesis) -> Test:
    """The test a hypothesis is decided by; a difference of differences is taken per seed."""
    if hypothesis.interaction is not None or hypothesis.outcome == "per":
        return "sign_flip"
    return "boschloo" if hypothesis.outcome == "collapsed" else "log_rank"


def gather(
    name: str, hypothesis: Hypothesis, arms: Sequence[Mapping[str, Any]], runs: pd.DataFrame
) -> Evidence:
    """Collect the evidence on one hypothesis.

    Args:
        name: of the hypothesis, for complaints.
        hypothesis: what is claimed.
        arms: the plan's arms.
        runs: the runs table, with the same seeds in every arm.

    Raises:
        ConfigError: the design has no arm for a side of the contrast.
    """
    sides = find_arms(name, hypothesis, arms)
    seeds = sorted(int(seed) for seed in runs["seed"].unique())
    tables = [runs[runs["arm"] == arm].set_index("seed").reindex(seeds) for arm, _ in sides]
    weights = [weight for _, weight in sides]
    budgets = pd.concat([table["n_steps"] for table in tables]).dropna()
    # Escape is judged up to the same step in every arm.
    budget = float(budgets.min()) if len(budgets) else math.nan
    seen = [_values(hypothesis.outcome, table, budget) for table in tables]
    contributions = _effects([v.values for v in seen], weights)
    complete = np.isfinite(contributions)
    shown = _assess(
        hypothesis, [_Values(v.values[complete], v.escaped[complete]) for v in seen], weights
    )
    outcomes = [table["outcome"].fillna("missing") for table in tables]
    if any((column == "missing").any() for column in outcomes):
        scenarios: tuple[Assessment, ...] = ()
    elif complete.all():
        scenarios = (shown,)
    else:
        sign = 1 if hypothesis.direction == "increase" else -1
        gaps: tuple[Gap, ...] = ("best", "worst")
        scenarios = tuple(
            _assess(
                hypothesis,
                [
                    _impute(hypothesis.outcome, v, sign * w * (1 if gap == "best" else -1), budget)
                    for v, w in zip(seen, weights, strict=True)
                ],
                weights,
            )
            for gap in gaps
        )
    differences = dict(
        zip(np.array(seeds)[complete].tolist(), contributions[complete].tolist(), strict=True)
    )
    spread = float(np.std(list(differences.values()), ddof=1)) if len(differences) > 1 else math.nan
    return Evidence(
        cells=tuple(
            _cell(arm, weight, table, values, complete)
            for (arm, weight), table, values in zip(sides, tables, seen, strict=True)
        ),
        differences=differences,
        shown=shown,
        scenarios=scenarios,
        test=choose_test(hypothesis),
        interval_name=_interval_name(hypothesis),
        n_steps=(int(budgets.min()), int(budgets.max())) if len(budgets) else None,
        spread=spread,
    )


def find_arms(
    name: str, hypothesis: Hypothesis, arms: Sequence[Mapping[str, Any]]
) -> list[tuple[str, int]]:
    """(arm id, weight) of the design arms compared, the one the claim is about first.

    Raises:
        ConfigError: a side of the contrast fits no arm of the design.
    """
    by_levels = {
        frozenset(arm["levels"].items()): str(arm["arm_id"]) for arm in arms if arm["in_design"]
    }
    cells = cells_of(hypothesis)[::-1]
    weights = (1, -1) if hypothesis.interaction is None else (1, -1, -1, 1)
    for cell in cells:
        if frozenset(cell.items()) not in by_levels:
            wanted = ", ".join(f"{factor} = {level}" for factor, level in cell.items())
            raise ConfigError(
                f"hypotheses.{name}: no arm of the design has {wanted} and nothing else; "
                "'where' must name the level of every other factor"
            )
    return [
        (by_levels[frozenset(cell.items())], weight)
        for cell, weight in zip(cells, weights, strict=True)
    ]


def _values(outcome: str, table: pd.DataFrame, budget: float) -> _Values:
    counted = table["outcome"].isin(COUNTED).to_numpy()
    steps = table["escape_step"].to_numpy(dtype=float)
    escaped = counted & (steps <= budget)
    if outcome == "escape_step":
        values = stats.restricted(steps, budget)
    else:
        values = table[outcome].to_numpy(dtype=float, na_value=math.nan)
    return _Values(np.where(counted, values, math.nan), escaped)


def _impute(outcome: str, seen: _Values, sign: int, budget: float) -> _Values:
    """Fill the gaps with the highest (`sign` > 0) or lowest value the outcome can take."""
    gap = np.isnan(seen.values)
    low, high = (0.0, budget) if outcome == "escape_step" else (0.0, 1.0)
    return _Values(
        np.where(gap, high if sign > 0 else low, seen.values),
        np.where(gap, sign < 0, seen.escaped),
    )


def _assess(hypothesis: Hypothesis, cells: Sequence[_Values], weights: Sequence[int]) -> Assessment:
    """Effect, intervals and p of complete cells: every one has a value for every seed."""
    if not len(cells[0].values):
        nothing = Interval(-math.inf, math.inf)
        return Assessment(math.nan, nothing, nothing, 1.0)
    test = choose_test(hypothesis)
    differences = _effects([cell.values for cell in cells], weights)
    if hypothesis.outcome == "collapsed":
        shares = [Share(int(cell.values.sum()), len(cell.values)) for cell in cells]
        to = [share for share, weight in zip(shares, weights, strict=True) if weight > 0]
        reference = [share for share, weight in zip(shares, weights, strict=True) if weight < 0]
        interval = stats.share_difference(to, reference, 0.95)
        bounds = (
            stats.share_bounds(to[0], reference[0])
            if test == "boschloo"
            else stats.share_difference(to, reference, 0.90)
        )
        p = (
            stats.boschloo(to[0], reference[0])
            if test == "boschloo"
            else stats.sign_flip(differences)
        )
    else:
        interval, bounds = stats.paired_t(differences), stats.paired_t(differences, 0.90)
        p = (
            stats.log_rank(cells[0].values, cells[0].escaped, cells[1].values, cells[1].escaped)
            if test == "log_rank"
            else stats.sign_flip(differences)
        )
    return Assessment(float(np.mean(differences)), interval, bounds, p)


def _effects(values: Sequence[stats.Floats], weights: Sequence[int]) -> stats.Floats:
    """The effect in each seed: the weighted sum over the cells."""
    return np.asarray(weights, dtype=np.float64) @ np.stack(values)  # (n_seeds,)


def _cell(arm: str, weight: int, table: pd.DataFrame, seen: _Values, complete: Bools) -> Cell:
    outcome = table["outcome"].fillna("missing")
    present = seen.values[complete]
    return Cell(
        arm=arm,
        weight=weight,
        n=int(outcome.isin(COUNTED).sum()),
        n_planned=len(table),
        n_failed=int((outcome == "failed").sum()),
        n_missing=int((outcome == "missing").sum()),
        n_collapsed=int((outcome == "collapsed").sum()),
        n_diverged=int((outcome == "diverged").sum()),
        n_escaped=int(seen.escaped.sum()),
        mean=float(present.mean()) if len(present) else math.nan,
    )


def _interval_name(hypothesis: Hypothesis) -> str:
    if hypothesis.outcome == "collapsed":
        return "Newcombe–Wilson" if hypothesis.interaction is None else "Newcombe–Wilson, four arms"
    if hypothesis.outcome == "escape_step":
        return "paired t, restricted steps"
    return "paired t"
