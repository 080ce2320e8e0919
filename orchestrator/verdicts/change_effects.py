"""What each change of a design does by itself: leave one out, path, fraction → one effect each."""

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
        factor: what is changed; arm: the arm that shows it ("" for a mean over a fraction).
        effect: mean over the blocks with a result in every arm it rests on; NaN without any.
        interval: 95 %: paired t over blocks, for shares of runs Newcombe-Wilson.
        n_blocks: blocks it rests on.
    """

    factor: str
    arm: str
    effect: float
    interval: Interval
    n_blocks: int


def left_out(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame, outcome: str
) -> tuple[Change, ...]:
    """Leave one out: for every factor, the arm without its change minus the arm with all.

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
    found, done = [], frozenset[str]()
    for factor in spec.factors:
        before, arm = by_changes.get(done), by_changes.get(done | {factor})
        done = done | {factor}
        if before and arm:
            found.append(change_of(factor, arm, values, [(arm, 1.0), (before, -1.0)], outcome))
    return tuple(found)


def main_effects(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame, outcome: str
) -> tuple[Change, ...]:
    """Fraction: for every factor, the mean of the arms at its second level minus that at its
    first, taken per block. Arguments as `left_out`."""
    values = by_block(runs, outcome)
    second = {name: levels[1] for name, levels in levels_of(spec).items()}
    found = []
    for factor in spec.factors:
        sides: dict[bool, list[str]] = {True: [], False: []}
        for arm in arms:
            if arm.in_design:
                sides[arm.levels[factor] == second[factor]].append(arm.arm_id)
        if sides[True] and sides[False]:
            weights = [(arm, 1 / len(sides[True])) for arm in sides[True]]
            weights += [(arm, -1 / len(sides[False])) for arm in sides[False]]
            found.append(change_of(factor, "", values, weights, outcome))
    return tuple(found)


def by_size(changes: Sequence[Change]) -> list[Change]:
    """The changes, those with the largest effect first; unknown ones last."""
    return sorted(changes, key=lambda c: -abs(c.effect) if math.isfinite(c.effect) else math.inf)


def by_block(runs: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Blocks × arms."""
    table = runs.assign(value=outcome_values(runs, outcome))
    return table.pivot(index="block", columns="arm", values="value")


def arm_of_changes(spec: AblationSpec, arms: Sequence[ArmEntry]) -> dict[frozenset[str], str]:
    """Factors at their second level → the arm that has exactly these, of the design or made for
    its greedy path."""
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
    """The weighted sum of arms in every block, as the effect of a change.

    Args:
        factor, arm: as in `Change`.
        values: `by_block` of the outcome.
        weights: (arm, its part in the effect).
        outcome: a numeric column of the runs table.
    """
    table = values[[name for name, _ in weights]].dropna().to_numpy()  # (n_blocks, n_arms)
    differences = table @ np.array([weight for _, weight in weights])  # (n_blocks,)
    interval = stats.paired_t(differences)
    if is_share(outcome):
        shares = [Share(int(column.sum()), len(table)) for column in table.T]
        interval = share_contrast(shares, [weight for _, weight in weights])
    effect = float(differences.mean()) if len(differences) else math.nan
    return Change(factor, arm, effect, interval, len(differences))
