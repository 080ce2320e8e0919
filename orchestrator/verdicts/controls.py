"""Two runs of one configuration → the noise floor, which every effect is held against."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import ArmEntry, PlanDocument
from orchestrator.spec.claims import is_share
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.shares import Share, boschloo, share_difference
from orchestrator.tables.tables import Record, outcome_values

Kind = Literal["fresh_seeds", "same_seed"]


class ControlArm(NamedTuple):
    """An arm that repeats another one's configuration.

    Attributes:
        arm: the control; twin: the arm it repeats.
        kind: ``fresh_seeds`` (A/A) or ``same_seed`` (the same seeds trained again).
    """

    arm: str
    twin: str
    kind: Kind


@dataclass(frozen=True)
class Control:
    """How far apart an arm and its repetition came out, in one outcome.

    Attributes:
        pair: the two arms.
        outcome: what was measured.
        differences: block → control minus twin, over the blocks with a result in both.
        effect: their mean; NaN without any.
        interval: 95 %: paired t, for shares of runs Newcombe-Wilson; infinite where the runs
            are too few to say.
        p: of an exact test that they are the same: sign-flip, for shares of runs Boschloo's.
        events: for shares of runs, (control, twin) as counts; None otherwise.
    """

    pair: ControlArm
    outcome: str
    differences: Mapping[int, float]
    effect: float
    interval: Interval
    p: float
    events: tuple[Share, Share] | None

    @property
    def identical(self) -> bool:
        """Whether the two gave the same numbers in every block."""
        return bool(self.differences) and not any(self.differences.values())


@dataclass(frozen=True)
class NoiseFloor:
    """What two single runs of one configuration differ by, in one outcome.

    Attributes:
        outcome: what was measured.
        half_width: 95 of 100 differences between two single runs on different seeds lie inside
            ± this; NaN if unknown.
        source: ``controls`` (differences between an arm and its repetition on fresh seeds),
            ``seeds`` (spread over the seeds of an arm, pooled over the arms whose runs are all
            ok) or ``none``, as for shares of runs.
        n: differences (controls) or degrees of freedom (seeds) it rests on.
        same_seed: largest difference between two runs of the same seed; None if none was run
            twice.
        n_same_seed: seeds run twice.
    """

    outcome: str
    half_width: float
    source: Literal["controls", "seeds", "none"]
    n: int
    same_seed: float | None
    n_same_seed: int

    def of_mean(self, n_seeds: int) -> float:
        """The half-width for a mean over `n_seeds` differences."""
        return self.half_width / math.sqrt(n_seeds) if n_seeds else math.nan


def arm_configs(plan: PlanDocument, records: Mapping[str, Record]) -> dict[str, Any]:
    """Arm → the configuration it was trained with, for the arms recorded so far."""
    configs: dict[str, Any] = {}
    for run in plan.runs:
        if run.arm_id not in configs and run.run_id in records:
            configs[run.arm_id] = records[run.run_id]["config"]
    return configs


def control_arms(plan: PlanDocument, configs: Mapping[str, Any]) -> tuple[ControlArm, ...]:
    """The arms on fresh seeds or trained again, each with the arm whose configuration it has.

    Args:
        plan: the plan document.
        configs: `arm_configs` of it; a control that has none is left out.
    """
    arms = {arm.arm_id: arm for arm in plan.arms if arm.arm_id in configs}
    plain = [name for name, arm in arms.items() if kind_of(arm) is None]
    found = []
    for name, arm in arms.items():
        kind = kind_of(arm)
        twin = next((other for other in plain if configs[other] == configs[name]), None)
        if kind is not None and twin is not None:
            found.append(ControlArm(name, twin, kind))
    return tuple(found)


def compare_controls(
    pairs: Sequence[ControlArm], runs: pd.DataFrame, outcome: str
) -> tuple[Control, ...]:
    """Measure how far each control came out from its twin.

    Args:
        pairs: from `control_arms`.
        runs: the runs table.
        outcome: a numeric column of it; steps to escape are cut at the budget.
    """
    return tuple(_compare(pair, runs, outcome) for pair in pairs)


def noise_floor(runs: pd.DataFrame, controls: Sequence[Control], outcome: str) -> NoiseFloor:
    """The noise floor of one outcome, from the controls where there are any.

    A difference of two runs of one configuration has mean zero, so the 95 % range is Student's t
    times the root mean square of the differences seen; from the spread s over seeds it is t
    times the square root of 2 times s. For shares of runs there is no such range; what the
    controls counted stands in for it.

    Args:
        runs: the runs table.
        controls: `compare_controls` of that outcome.
        outcome: as there.
    """
    fresh = _differences(controls, "fresh_seeds")
    again = _differences(controls, "same_seed")
    same_seed = float(np.abs(again).max()) if len(again) else None
    if is_share(outcome):
        return NoiseFloor(outcome, math.nan, "none", 0, same_seed, len(again))
    pooled = _seed_spread(runs, outcome)
    if len(fresh):
        half = stats.t_quantile(0.975, len(fresh)) * math.sqrt(np.mean(fresh**2))
        return NoiseFloor(outcome, half, "controls", len(fresh), same_seed, len(again))
    if pooled is not None:
        spread, freedom = pooled
        half = stats.t_quantile(0.975, freedom) * math.sqrt(2) * spread
        return NoiseFloor(outcome, half, "seeds", freedom, same_seed, len(again))
    return NoiseFloor(outcome, math.nan, "none", 0, same_seed, len(again))


def seed_noise(runs: pd.DataFrame) -> float | None:
    """Standard deviation of the final PER over seeds, pooled over the arms whose runs are all
    ok; None without such an arm of two seeds."""
    pooled = _seed_spread(runs, "per")
    return pooled[0] if pooled else None


def kind_of(arm: ArmEntry) -> Kind | None:
    """Which control an arm of the plan is; None if it is none."""
    if arm.seed_offset:
        return "fresh_seeds"
    return "same_seed" if arm.replicate else None


def _compare(pair: ControlArm, runs: pd.DataFrame, outcome: str) -> Control:
    of_pair = runs[runs["arm"].isin([pair.arm, pair.twin])]
    valued = of_pair.assign(value=outcome_values(of_pair, outcome))
    both = valued.pivot(index="block", columns="arm", values="value").dropna()  # one row a block
    differences = (both[pair.arm] - both[pair.twin]).to_numpy(dtype=float)
    events = None
    interval, p = stats.paired_t(differences), stats.sign_flip(differences)
    if is_share(outcome):
        control, twin = (Share(int(both[name].sum()), len(both)) for name in (pair.arm, pair.twin))
        events = (control, twin)
        interval, p = share_difference([control], [twin]), boschloo(control, twin)
    return Control(
        pair=pair,
        outcome=outcome,
        differences=dict(zip(both.index.tolist(), differences.tolist(), strict=True)),
        effect=float(differences.mean()) if len(differences) else math.nan,
        interval=interval,
        p=p,
        events=events,
    )


def _differences(controls: Sequence[Control], kind: Kind) -> stats.Floats:
    return np.array([d for c in controls if c.pair.kind == kind for d in c.differences.values()])


def _seed_spread(runs: pd.DataFrame, outcome: str) -> tuple[float, int] | None:
    """Standard deviation over seeds, pooled over the arms whose runs are all ok, and its degrees
    of freedom."""
    squares, freedom = 0.0, 0
    valued = runs.assign(value=outcome_values(runs, outcome))
    for _, of_arm in valued.groupby("arm", sort=True):
        if len(of_arm) > 1 and (of_arm["outcome"] == "ok").all():
            values = of_arm["value"].to_numpy()
            squares += float(((values - values.mean()) ** 2).sum())
            freedom += len(values) - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else None
