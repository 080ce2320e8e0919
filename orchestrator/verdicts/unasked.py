"""Effects that no hypothesis asked about, but that stand out of the noise between seeds."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.spec.claims import is_share
from orchestrator.spec.schema import levels_of
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.run_values import learned_nothing
from orchestrator.stats.shares import Share, boschloo, share_difference
from orchestrator.tables.tables import outcome_values
from orchestrator.verdicts.controls import NoiseFloor

_OUTCOMES = ("per", "collapsed")


class Unasked(NamedTuple):
    """A difference between two arms that differ in one factor, which no hypothesis compares.

    Attributes:
        factor, from_level, to_level: what differs.
        from_arm, to_arm: the arms.
        outcome: ``per`` or ``collapsed``.
        effect: ``to`` minus ``from``, in the outcome's unit.
        interval: its 95 % interval.
        p_adjusted: p after Holm's correction over all such differences.
        n_seeds: seeds with a result in both arms.
    """

    factor: str
    from_level: str
    to_level: str
    from_arm: str
    to_arm: str
    outcome: str
    effect: float
    interval: Interval
    p_adjusted: float
    n_seeds: int


def find_unasked(
    plan: PlanDocument, runs: pd.DataFrame, floors: Mapping[str, NoiseFloor]
) -> tuple[Unasked, ...]:
    """The differences in PER and collapse that are significant and exceed the noise floor.

    Each level of a factor is compared with the first one that the design has next to the same
    levels of the other factors. Arms of which half the runs learned nothing are not compared in
    PER. A fraction has no such pairs, and neither has a design in which factors change together.

    Args:
        plan: the plan document.
        runs: the runs table.
        floors: outcome → noise floor, for the outcomes that have one.

    Returns:
        The largest effects first, those on collapse before those on PER.
    """
    asked = {
        (hypothesis.outcome, frozenset(part.arm_id for part in plan.compared[name]))
        for name, hypothesis in plan.spec.hypotheses.items()
        if hypothesis.interaction is None
    }
    stuck = runs.assign(stuck=learned_nothing(runs["outcome"], runs["per"]))
    mostly_stuck = set(stuck.groupby("arm")["stuck"].mean().loc[lambda share: share >= 0.5].index)
    tested: list[tuple[Unasked, float]] = []
    for outcome in _OUTCOMES:
        valued = runs.assign(value=outcome_values(runs, outcome))
        by_seed = valued.pivot(index="block", columns="arm", values="value")
        column_of = {str(arm): at for at, arm in enumerate(by_seed.columns)}
        values = by_seed.to_numpy(dtype=float)  # (n_seeds, n_arms); pandas is slow per pair
        for factor, from_arm, to_arm in _pairs(plan):
            if (outcome, frozenset((from_arm, to_arm))) in asked:
                continue
            if not is_share(outcome) and mostly_stuck & {from_arm, to_arm}:
                continue
            if not {from_arm, to_arm} <= column_of.keys():
                continue
            both = values[:, [column_of[to_arm], column_of[from_arm]]]
            both = both[~np.isnan(both).any(axis=1)]  # (n_seeds, 2)
            if len(both) >= stats.FEWEST_STUDENTIZED:
                levels = (plan.cells[from_arm][factor], plan.cells[to_arm][factor])
                effect, interval, p = _compare(both, outcome)
                one = Unasked(
                    factor, *levels, from_arm, to_arm, outcome, effect, interval, p, len(both)
                )
                tested.append((one, p))
    adjusted = stats.holm([p for _, p in tested])
    found = [one._replace(p_adjusted=p) for (one, _), p in zip(tested, adjusted, strict=True)]
    large = [
        one
        for one in found
        if one.p_adjusted < plan.spec.alpha and abs(one.effect) > _noise(one, floors)
    ]
    return tuple(sorted(large, key=lambda one: (one.outcome, -abs(one.effect))))


def _noise(one: Unasked, floors: Mapping[str, NoiseFloor]) -> float:
    """How large the difference of two equal arms may be; 0 where there is no noise floor."""
    floor = floors[one.outcome].of_mean(one.n_seeds) if one.outcome in floors else math.nan
    return 0.0 if math.isnan(floor) else floor


def _pairs(plan: PlanDocument) -> Iterator[tuple[str, str, str]]:
    """(factor, arm at its first level, other arm) for the arms that differ in this factor alone."""
    if plan.spec.design in ("fractional", "paired"):
        return
    arms = {frozenset(levels.items()): arm for arm, levels in plan.cells.items()}
    seen = set()
    for (factor, levels), cell in product(levels_of(plan.spec).items(), plan.cells.values()):
        row = [arms.get(frozenset({**cell, factor: level}.items())) for level in levels]
        first, *others = [arm for arm in row if arm is not None]
        for other in others:
            if (first, other) not in seen:
                seen.add((first, other))
                yield factor, first, other


def _compare(both: stats.Floats, outcome: str) -> tuple[float, Interval, float]:
    """Effect, 95 % interval and p of the first column minus the second."""
    differences = both[:, 0] - both[:, 1]
    effect = float(differences.mean())
    if not is_share(outcome):
        return effect, stats.paired_interval(differences), stats.studentized(differences)
    to, reference = (Share(int(np.sum(column)), len(both)) for column in both.T)
    return effect, share_difference([to], [reference]), boschloo(to, reference)
