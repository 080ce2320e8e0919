"""The path by greedy effect: from the runs recorded so far, its rounds and what is tried next.

From the base, every change that is left is tried alone on top of what was kept so far, and the
one with the best mean outcome is kept, until all changes are on: ablation analysis between two
configurations (Fawcett and Hoos, Journal of Heuristics 22, 2016). Nothing is remembered from one
call to the next; the rounds follow from the records alone.
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
    """One change on top of what was kept before.

    Attributes:
        change: its effect; its arm is "" as long as it has not been planned.
        mean: mean outcome of its arm over the runs with a result; NaN without any.
        n_gaps: planned runs of its arm without a result.
    """

    change: Change
    mean: float
    n_gaps: int


class Round(NamedTuple):
    """One round of the greedy path.

    Attributes:
        number: from 1.
        before: the arm that the changes are tried on top of.
        mean_before: its mean outcome.
        tried: one for each change that was left, in the order of the file.
        chosen: the factor kept; "" while a run of the round has no result.
    """

    number: int
    before: str
    mean_before: float
    tried: tuple[Tried, ...]
    chosen: str

    @property
    def kept(self) -> Tried | None:
        """What was kept; None while the round is open."""
        return next((tried for tried in self.tried if tried.change.factor == self.chosen), None)

    @property
    def untried(self) -> tuple[str, ...]:
        """Factors whose arm has not been planned yet."""
        return tuple(tried.change.factor for tried in self.tried if not tried.change.arm)


def greedy_rounds(
    spec: AblationSpec, arms: Sequence[ArmEntry], runs: pd.DataFrame
) -> tuple[Round, ...]:
    """The rounds that the records decide, and the one after them, which is open.

    The greedy path begins once every run of the stated path has a result. A round is decided
    once every run of its arms has one: a collapsed or diverged run has, one that failed for
    reasons other than its numbers has none. Of equal means the first factor of the file is kept.

    Args:
        spec: an ablation with ``greedy``.
        arms: the plan's arms, those made for the greedy path so far included.
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
    on, found = frozenset[str](), list[Round]()
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
        found.append(Round(len(on) + 1, before, float(means[before]), tuple(tried), chosen))
        if not chosen:
            break
        on |= {chosen}
    return tuple(found)


def arm_means(runs: pd.DataFrame, outcome: str) -> "pd.Series[float]":
    """Arm → mean outcome over its runs with a result."""
    return by_block(runs, outcome).mean()


def greedy_table(rounds: Sequence[Round]) -> pd.DataFrame:
    """One row a round and change tried in it; effects are against the arm before."""
    columns = ["round", "before", "factor", "arm", "kept"]
    columns += ["mean", "effect", "low", "high", "n_seeds"]
    rows = [
        (
            *(one.number, one.before, change.factor, change.arm, change.factor == one.chosen),
            *(tried.mean, change.effect, *change.interval, change.n_blocks),
        )
        for one in rounds
        for tried in one.tried
        for change in [tried.change]
    ]
    return pd.DataFrame(rows, columns=columns)


def n_greedy_arms_left(n_factors: int, n_planned_rounds: int) -> int:
    """How many arms the rounds not planned yet add at most.

    Round k tries n - k + 1 changes, so all rounds n (n + 1) / 2; the stated path has the first
    change of round 1 already, and the only one of round n.

    Args:
        n_factors: n.
        n_planned_rounds: rounds whose arms are in the plan.
    """
    left = range(n_planned_rounds + 1, n_factors + 1)
    n_tried = sum(n_factors - index + 1 for index in left)
    return max(0, n_tried - len({1, n_factors} & set(left)))
