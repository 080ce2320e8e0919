"""The effect of each change in a design, by leaving it out, along a path or over a fraction."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import ArmEntry
from orchestrator.spec.claims import is_share
from orchestrator.spec.load import AblationSpec, levels_of
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.shares import Share, share_contrast
from orchestrator.tables.tables import outcome_values


class Change(NamedTuple):
    """The effect of one change on one outcome.

    Attributes:
        factor: what is changed.
        arm: the arm whose result shows the change; "" for a mean over a fraction.
        effect: mean over the blocks in which every arm needed has a result; NaN without any.
        interval: 95 % interval: paired t over blocks, Newcombe-Wilson for shares of runs.
        n_blocks: number of these blocks.
    """

    factor: str
    arm: str
    effect: float
    interval: Interval
    n_blocks: int


def left_out(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame, outcome: str
) -> tuple[Change, ...]:
    """Leave one out: for every factor, the arm without its change minus the arm with all changes.

    Args:
        spec: an ablation of design ``leave_one_out``.
        arms: the plan's arms.
        runs: the runs table.
        outcome: a numeric column of it.
    """
    values = by_block(runs, outcome)
    by_changes = arm_of_changes(spec, arms)
    everything = frozenset(spec.factors)
    whole = by_changes.get(everything)
    return tuple(
        change_of(factor, arm, values, [(arm, 1.0), (whole, -1.0)], outcome)
        for factor in spec.factors
        if whole and (arm := by_changes.get(everything - {factor}))
    )


def along_path(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame, outcome: str
) -> tuple[Change, ...]:
    """Path: every arm minus the one before it, in the stated order. Arguments as `left_out`."""
    values = by_block(runs, outcome)
    by_changes = arm_of_changes(spec, arms)
    changes, done = [], frozenset[str]()
    for factor in spec.factors:
        before, arm = by_changes.get(done), by_changes.get(done | {factor})
        done = done | {factor}
        if before and arm:
            changes.append(change_of(factor, arm, values, [(arm, 1.0), (before, -1.0)], outcome))
    return tuple(changes)


def main_effects(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame, outcome: str
) -> tuple[Change, ...]:
    """Fraction: for every factor and in each block, the mean of the arms at its second level
    minus the mean of the arms at its first. Arguments as `left_out`."""
    values = by_block(runs, outcome)
    second = {name: levels[1] for name, levels in levels_of(spec).items()}
    changes = []
    for factor in spec.factors:
        sides: dict[bool, list[str]] = {True: [], False: []}
        for arm in arms:
            if arm.in_design:
                sides[arm.levels[factor] == second[factor]].append(arm.arm_id)
        if sides[True] and sides[False]:
            weights = [(arm, 1 / len(sides[True])) for arm in sides[True]]
            weights += [(arm, -1 / len(sides[False])) for arm in sides[False]]
            changes.append(change_of(factor, "", values, weights, outcome))
    return tuple(changes)


def by_size(changes: Sequence[Change]) -> list[Change]:
    """The changes in order of effect, the largest first; unknown effects come last."""
    return sorted(changes, key=lambda c: -abs(c.effect) if math.isfinite(c.effect) else math.inf)


def by_block(runs: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The outcome as (n_blocks, n_arms), indexed by block and arm; NaN for a gap."""
    table = runs.assign(value=outcome_values(runs, outcome))
    return table.pivot(index="block", columns="arm", values="value")


def arm_of_changes(spec: AblationSpec, arms: Sequence[ArmEntry]) -> dict[frozenset[str], str]:
    """Factors at their second level → the arm with exactly these changes, among the arms of the
    design and of its greedy path."""
    second = {name: levels[1] for name, levels in levels_of(spec).items()}
    return {
        frozenset(f for f, level in arm.levels.items() if level == second[f]): arm.arm_id
        for arm in arms
        if arm.in_design or arm.candidate
    }


def change_of(
    factor: str,
    arm: str,
    values: pd.DataFrame,
    weights: Sequence[tuple[str, float]],
    outcome: str,
) -> Change:
    """The effect of a change as a weighted sum of arms in every block.

    Args:
        factor, arm: as in `Change`.
        values: `by_block` of the outcome.
        weights: (arm, weight) of each arm.
        outcome: a numeric column of the runs table.
    """
    table = values[[name for name, _ in weights]].dropna().to_numpy()  # (n_blocks, n_arms)
    differences = table @ np.array([weight for _, weight in weights])  # (n_blocks,)
    interval = stats.paired_interval(differences)
    if is_share(outcome):
        shares = [Share(int(column.sum()), len(table)) for column in table.T]
        interval = share_contrast(shares, [weight for _, weight in weights])
    effect = float(differences.mean()) if len(differences) else math.nan
    return Change(factor, arm, effect, interval, len(differences))
