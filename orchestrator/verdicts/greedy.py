"""The rounds of the greedy path, worked out from the runs recorded so far.

The path starts at the base. Each round tries every remaining change alone, on top of the changes
kept so far, and keeps the one with the best mean outcome, until all changes are kept. This is the
ablation analysis of Fawcett and Hoos (Journal of Heuristics 22, 2016). There is no other state:
the rounds follow from the records alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from orchestrator.plan.document import ArmEntry
from orchestrator.spec.load import AblationSpec
from orchestrator.stats.effects import Interval
from orchestrator.stats.run_values import COUNTED
from orchestrator.verdicts.change_effects import Change, arm_of_changes, by_block, change_of

_UNKNOWN = Interval(-math.inf, math.inf)


class Tried(NamedTuple):
    """One change that a round tries, on top of the changes kept before.

    Attributes:
        change: the change and its effect; ``change.arm`` is "" until the arm is planned.
        mean: mean outcome of the arm over its runs with a result; NaN without any.
        n_gaps: planned runs of the arm without a result.
    """

    change: Change
    mean: float
    n_gaps: int


class Round(NamedTuple):
    """One round of the greedy path.

    Attributes:
        number: the first round is 1.
        before: the arm with the changes kept before this round.
        mean_before: mean outcome of that arm.
        tried: one entry per remaining change, in the order of the file.
        chosen: the factor kept; "" while a run of the round has no result.
    """

    number: int
    before: str
    mean_before: float
    tried: tuple[Tried, ...]
    chosen: str

    @property
    def kept(self) -> Tried | None:
        """The change that was kept; None while the round is open."""
        return next((tried for tried in self.tried if tried.change.factor == self.chosen), None)

    @property
    def untried(self) -> tuple[str, ...]:
        """Factors whose arm is not planned yet."""
        return tuple(tried.change.factor for tried in self.tried if not tried.change.arm)


def greedy_rounds(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame
) -> tuple[Round, ...]:
    """The rounds that the records decide, and the open round after them.

    The greedy path begins when every run of the stated path has a result. A round is decided when
    every run of its arms has a result. Collapsed and diverged runs have one; infrastructure
    failures do not. If means are equal, the first factor of the file is kept.

    Args:
        spec: an ablation with ``greedy``.
        arms: the plan's arms, including those of the greedy path so far.
        runs: the runs table.
    """
    assert spec.greedy is not None
    counted = runs["outcome"].isin(COUNTED)
    if not counted[runs["in_design"]].all():
        return ()
    outcome = spec.greedy.outcome
    sign = 1.0 if spec.greedy.direction == "decrease" else -1.0
    values, means = by_block(runs, outcome), arm_means(runs, outcome)
    gaps = (~counted).groupby(runs["arm"]).sum()
    by_changes = arm_of_changes(spec, arms)
    on, rounds = frozenset[str](), list[Round]()
    while len(on) < len(spec.factors):
        before = by_changes[on]
        tried = []
        for factor in spec.factors:
            arm = by_changes.get(on | {factor}, "")
            if factor in on:
                continue
            if arm:
                change = change_of(factor, arm, values, [(arm, 1.0), (before, -1.0)], outcome)
                tried.append(Tried(change, float(means[arm]), int(gaps[arm])))
            else:
                tried.append(Tried(Change(factor, "", math.nan, _UNKNOWN, 0), math.nan, 0))
        done = all(one.change.arm and not one.n_gaps for one in tried)
        chosen = min(tried, key=lambda one: sign * one.mean).change.factor if done else ""
        rounds.append(Round(len(on) + 1, before, float(means[before]), tuple(tried), chosen))
        if not chosen:
            break
        on |= {chosen}
    return tuple(rounds)


def arm_means(runs: pd.DataFrame, outcome: str) -> "pd.Series[float]":
    """Arm → mean outcome over its runs with a result."""
    return by_block(runs, outcome).mean()


class GreedyRow(NamedTuple):
    """One row of the table of the greedy path: one change tried in one round.

    ``effect`` and its interval are relative to the arm ``before``.
    """

    round: int
    before: str
    factor: str
    arm: str
    kept: bool
    mean: float
    effect: float
    low: float
    high: float
    n_seeds: int


def greedy_table(rounds: Sequence[Round]) -> pd.DataFrame:
    """One `GreedyRow` per round and change tried in it."""
    rows = [
        GreedyRow(
            round=one.number,
            before=one.before,
            factor=change.factor,
            arm=change.arm,
            kept=change.factor == one.chosen,
            mean=tried.mean,
            effect=change.effect,
            low=change.interval.low,
            high=change.interval.high,
            n_seeds=change.n_blocks,
        )
        for one in rounds
        for tried in one.tried
        for change in [tried.change]
    ]
    return pd.DataFrame(rows, columns=GreedyRow._fields)


def n_greedy_arms_left(n_factors: int, n_planned_rounds: int) -> int:
    """The largest number of arms that the rounds not planned yet can add.

    With n factors, round k tries n - k + 1 changes, so all rounds try n (n + 1) / 2. The stated
    path already has the first change of round 1 and the only change of round n.

    Args:
        n_factors: number of factors.
        n_planned_rounds: rounds whose arms are in the plan.
    """
    left = range(n_planned_rounds + 1, n_factors + 1)
    n_tried = sum(n_factors - index + 1 for index in left)
    return max(0, n_tried - len({1, n_factors} & set(left)))
