"""Controls, which repeat an arm's configuration, and the noise floor that they give."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.plan.document import ArmEntry, PlanDocument
from orchestrator.spec.claims import is_share
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.shares import Share, boschloo, share_difference
from orchestrator.store.record import Record
from orchestrator.tables.tables import outcome_values

ControlKind = Literal["fresh_seeds", "same_seed"]
ArmConfig = Mapping[str, Mapping[str, object]]  # section → field → value, compared as a whole


class ControlArm(NamedTuple):
    """An arm that repeats the configuration of another.

    Attributes:
        arm: the control.
        twin: the arm that it repeats.
        kind: ``fresh_seeds`` (an A/A comparison) or ``same_seed`` (the same seeds trained again).
    """

    arm: str
    twin: str
    kind: ControlKind


@dataclass(frozen=True)
class Control:
    """The difference between a control and its twin, in one outcome.

    Attributes:
        pair: the two arms.
        outcome: what was measured.
        differences: block → control minus twin, over the blocks in which both have a result.
        effect: mean of the differences; NaN without any.
        interval: 95 % interval: skewness-corrected paired t, Newcombe-Wilson for shares of runs;
            infinite if there are too few runs.
        p: p-value of a test for a difference: the studentized one, Boschloo's for shares of runs.
        events: counts (control, twin) for shares of runs; None for other outcomes.
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
        """Whether the two arms have the same numbers in every block."""
        return bool(self.differences) and not any(self.differences.values())


@dataclass(frozen=True)
class NoiseFloor:
    """How much two single runs of one configuration differ, in one outcome.

    Attributes:
        outcome: what was measured.
        half_width: half-width of the range that holds 95 % of the differences between two single
            runs on different seeds; NaN if unknown.
        source: ``controls`` (differences between arms and their controls on fresh seeds),
            ``seeds`` (spread over the seeds of an arm, pooled over the arms whose runs are all
            ok) or ``none``. Shares of runs have ``none``.
        n: number of differences (``controls``) or degrees of freedom (``seeds``).
        same_seed: largest difference between two runs of the same seed; None if no seed was run
            twice.
        n_same_seed: number of seeds that were run twice.
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


def arm_configs(plan: PlanDocument, records: Mapping[str, Record]) -> dict[str, ArmConfig]:
    """Arm → the configuration that its runs were trained with, for the arms recorded so far."""
    configs: dict[str, ArmConfig] = {}
    for run in plan.runs:
        if run.arm_id not in configs and run.run_id in records:
            configs[run.arm_id] = records[run.run_id]["config"]
    return configs


def control_arms(plan: PlanDocument, configs: Mapping[str, ArmConfig]) -> tuple[ControlArm, ...]:
    """The controls of a plan, each with the arm whose configuration it repeats.

    Args:
        plan: the plan document.
        configs: `arm_configs` of the plan; a control without a configuration is left out.
    """
    arms = {arm.arm_id: arm for arm in plan.arms if arm.arm_id in configs}
    plain = [name for name, arm in arms.items() if kind_of(arm) is None]
    controls = []
    for name, arm in arms.items():
        kind = kind_of(arm)
        if kind is None:
            continue
        twin = next((other for other in plain if configs[other] == configs[name]), None)
        if twin is not None:
            controls.append(ControlArm(name, twin, kind))
    return tuple(controls)


def compare_controls(
    pairs: Sequence[ControlArm], runs: pd.DataFrame, outcome: str
) -> tuple[Control, ...]:
    """Measure the difference between each control and its twin.

    Args:
        pairs: from `control_arms`.
        runs: the runs table.
        outcome: a numeric column of it; steps to escape are cut at the budget.
    """
    return tuple(_compare(pair, runs, outcome) for pair in pairs)


def noise_floor(runs: pd.DataFrame, controls: Sequence[Control], outcome: str) -> NoiseFloor:
    """The noise floor of one outcome: from controls on fresh seeds, or else from the seeds.

    The difference of two runs of one configuration has mean zero. So the 95 % range is Student's
    t times the root mean square of the differences measured, or √2 · t times the spread over
    seeds. Shares of runs have no such range; for them the report shows the counts of the controls.

    Args:
        runs: the runs table.
        controls: `compare_controls` of this outcome.
        outcome: a numeric column of the runs table.
    """
    fresh = _differences(controls, "fresh_seeds")
    again = _differences(controls, "same_seed")
    source: Literal["controls", "seeds", "none"] = "none"
    half, n = math.nan, 0
    if is_share(outcome):
        pass  # no such range
    elif len(fresh):
        source, n = "controls", len(fresh)
        half = stats.t_quantile(0.975, n) * math.sqrt(np.mean(fresh**2))
    elif pooled := _seed_spread(runs, outcome):
        source, (spread, n) = "seeds", pooled
        half = stats.t_quantile(0.975, n) * math.sqrt(2) * spread
    same_seed = float(np.abs(again).max()) if len(again) else None
    return NoiseFloor(outcome, half, source, n, same_seed, len(again))


def seed_noise(runs: pd.DataFrame) -> float | None:
    """Standard deviation of the final PER over seeds, pooled over the arms whose runs are all
    ok; None if no such arm has two seeds."""
    pooled = _seed_spread(runs, "per")
    return pooled[0] if pooled else None


def kind_of(arm: ArmEntry) -> ControlKind | None:
    """The kind of control that an arm is; None for other arms."""
    if arm.seed_offset:
        return "fresh_seeds"
    return "same_seed" if arm.replicate else None


def _compare(pair: ControlArm, runs: pd.DataFrame, outcome: str) -> Control:
    of_pair = runs[runs["arm"].isin([pair.arm, pair.twin])]
    valued = of_pair.assign(value=outcome_values(of_pair, outcome))
    both = valued.pivot(index="block", columns="arm", values="value").dropna()  # (n_blocks, 2)
    differences = (both[pair.arm] - both[pair.twin]).to_numpy()
    events = None
    interval, p = stats.paired_interval(differences), stats.studentized(differences)
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


def _differences(controls: Sequence[Control], kind: ControlKind) -> stats.Floats:
    return np.array([d for c in controls if c.pair.kind == kind for d in c.differences.values()])


def _seed_spread(runs: pd.DataFrame, outcome: str) -> tuple[float, int] | None:
    """Standard deviation over seeds, pooled over the arms whose runs are all ok and have the
    number, with its degrees of freedom; None without any."""
    squares, freedom = 0.0, 0
    valued = outcome_values(runs, outcome)
    usable = (runs["outcome"] == "ok").to_numpy() & np.isfinite(valued)
    places = runs.groupby("arm").indices
    for arm in sorted(map(str, places)):
        values = valued[places[arm]]
        if usable[places[arm]].all():
            squares += float(((values - values.mean()) ** 2).sum())
            freedom += len(values) - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else None
