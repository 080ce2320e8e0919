"""The success criteria of an ablation: whether each arm meets them, and by which number."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from decoder.collapse import CollapseThresholds, escape_step
from orchestrator.spec.load import AblationSpec, Criterion
from orchestrator.spec.units import value_text
from orchestrator.stats.run_values import COUNTED, NOT_NEEDED
from orchestrator.tables.run_columns import HistoryRows

Status = Literal["pass", "fail", "open"]

# A run reaches these metrics from below, all others from above. An untrained decoder emits many
# phonemes, so these two count only after the run has left the blank plateau for good.
RISING_METRICS = ("emitted_ratio", "n_distinct")


@dataclass(frozen=True)
class SeedResult:
    """Whether one run meets a criterion.

    Attributes:
        passed: None if the run has no result, or its record lacks the number.
        value: the number judged, in the metric's unit. For `reaches`, the step at which the value
            was reached, infinite if it never was; for `never`, 1.0 if it happened, else 0.0. NaN
            if there is no number, as in a diverged run or one without a result.
    """

    passed: bool | None
    value: float


@dataclass(frozen=True)
class CriterionResult:
    """Whether one arm meets one criterion.

    Attributes:
        name: name of the criterion.
        arm: the arm's id.
        criterion: the criterion.
        seeds: seed of the run → its result, in the order of the runs table.
    """

    name: str
    arm: str
    criterion: Criterion
    seeds: Mapping[int, SeedResult]

    @property
    def status(self) -> Status:
        """``fail`` if any seed fails, ``pass`` if every planned seed passes, else ``open``."""
        passed = [seed.passed for seed in self.seeds.values()]
        if False in passed:
            return "fail"
        return "pass" if passed and None not in passed else "open"

    @property
    def n_passed(self) -> int:
        return sum(seed.passed is True for seed in self.seeds.values())

    @property
    def n_seeds(self) -> int:
        """Seeds with a result."""
        return sum(seed.passed is not None for seed in self.seeds.values())

    @property
    def n_diverged(self) -> int:
        """Seeds that fail without a number, because they diverged."""
        seeds = self.seeds.values()
        return sum(seed.passed is False and math.isnan(seed.value) for seed in seeds)

    @property
    def share(self) -> float:
        """Share of the seeds with a result that pass; NaN without any."""
        return self.n_passed / self.n_seeds if self.n_seeds else math.nan

    @property
    def value(self) -> float:
        """The number of the seed furthest from meeting the criterion, which decides; for `never`
        the number of runs in which it happened. NaN if no run has a number."""
        values = [s.value for s in self.seeds.values() if not math.isnan(s.value)]
        if not values:
            return math.nan
        if self.criterion.never is not None:
            return sum(values)
        if self.criterion.within is not None:
            reference = self.criterion.of
            assert reference is not None
            return max(values, key=lambda value: abs(value - reference))
        return min(values) if self.criterion.above is not None else max(values)

    @property
    def mean(self) -> float:
        """Mean over the seeds that have a number; NaN without any."""
        values = [s.value for s in self.seeds.values() if not math.isnan(s.value)]
        return float(np.mean(values)) if values else math.nan


def evaluate(
    spec: AblationSpec, runs: pd.DataFrame, histories: Mapping[str, HistoryRows]
) -> list[CriterionResult]:
    """Judge every arm by its criteria, in the order of the file.

    A diverged run fails, because it has no final value. The one exception is `reaches`, which can
    happen before the run diverges. A run without a result leaves its arm open, unless another
    seed fails; a run that was not needed has no part.

    Args:
        spec: the ablation.
        runs: its runs table.
        histories: run id → evaluations.
    """
    thresholds = spec.collapse.thresholds()
    by_arm: dict[str, list[_Run]] = {}
    columns = (runs[name].tolist() for name in _Run._fields)
    for arm, run in zip(runs["arm"].tolist(), map(_Run, *columns), strict=True):
        if run.outcome != NOT_NEEDED:
            by_arm.setdefault(arm, []).append(run)
    return [
        CriterionResult(
            name,
            arm,
            criterion,
            {
                run.seed: _judge(criterion, run, histories.get(run.run_id, ()), thresholds)
                for run in by_arm[arm]
            },
        )
        for name, criterion in spec.criteria.items()
        for arm in (criterion.arms or by_arm)
        if arm in by_arm
    ]


class CriterionRow(NamedTuple):
    """One row of the table of criteria: one criterion in one arm.

    Attributes:
        rule: the criterion in words, see `rule_text`.
        value: see `CriterionResult.value`.
        values: seed → value, as JSON; null for a seed without a number.
    """

    criterion: str
    arm: str
    rule: str
    status: Status
    value: float
    mean: float
    n_passed: int
    n_seeds: int
    n_seeds_planned: int
    share_passed: float
    values: str


def criteria_table(results: Sequence[CriterionResult]) -> pd.DataFrame:
    """One `CriterionRow` per criterion and arm."""
    rows = [
        CriterionRow(
            criterion=result.name,
            arm=result.arm,
            rule=rule_text(result.criterion),
            status=result.status,
            value=result.value,
            mean=result.mean,
            n_passed=result.n_passed,
            n_seeds=result.n_seeds,
            n_seeds_planned=len(result.seeds),
            share_passed=result.share,
            values=json.dumps({str(s): _json(r.value) for s, r in result.seeds.items()}),
        )
        for result in results
    ]
    return pd.DataFrame(rows, columns=CriterionRow._fields)


def rule_text(criterion: Criterion) -> str:
    """The criterion in a few words, such as ``final PER below 25.0 %``."""
    if criterion.never is not None:
        return f"never {criterion.never}"
    metric = str(criterion.metric)
    name = "PER" if metric == "per" else metric
    if criterion.reaches is not None:
        value = value_text(criterion.reaches, metric)
        return f"{name} reaches {value} before step {criterion.before_step:,}"
    if criterion.within is not None:
        assert criterion.of is not None
        width, reference = (value_text(x, metric) for x in (criterion.within, criterion.of))
        return f"final {name} within {width} of {reference}"
    side = "below" if criterion.above is None else "above"
    bound = criterion.below if criterion.above is None else criterion.above
    assert bound is not None
    return f"{criterion.statistic or 'final'} {name} {side} {value_text(bound, metric)}"


class _Run(NamedTuple):
    """The columns of the runs table that a criterion reads."""

    run_id: str
    seed: int
    outcome: str
    grad_norm_p99: float


def _judge(
    criterion: Criterion,
    run: _Run,
    history: HistoryRows,
    thresholds: CollapseThresholds,
) -> SeedResult:
    if run.outcome not in COUNTED:
        return SeedResult(None, math.nan)
    if criterion.never is not None:
        happened = run.outcome == criterion.never
        return SeedResult(not happened, float(happened))
    metric = str(criterion.metric)
    if criterion.reaches is not None:
        assert criterion.before_step is not None
        if history and not any(metric in row for row in history):
            return SeedResult(None, math.nan)  # recorded before there was this metric
        step = _reached(history, metric, criterion.reaches, thresholds)
        return SeedResult(step < criterion.before_step, step)
    if run.outcome == "diverged":
        return SeedResult(False, math.nan)
    value = _statistic(criterion, run, history)
    if math.isnan(value):
        return SeedResult(None, value)
    if criterion.below is not None:
        return SeedResult(value < criterion.below, value)
    if criterion.above is not None:
        return SeedResult(value > criterion.above, value)
    assert criterion.within is not None and criterion.of is not None
    return SeedResult(abs(value - criterion.of) <= criterion.within, value)


def _reached(
    history: HistoryRows, metric: str, wanted: float, thresholds: CollapseThresholds
) -> float:
    """Step of the first evaluation that reaches `wanted`; infinite if there is none."""
    if metric not in RISING_METRICS:
        steps = (float(row["step"]) for row in history if row.get(metric, math.nan) <= wanted)
    else:
        escaped = escape_step(history, thresholds)
        since = math.inf if escaped is None else escaped
        steps = (
            float(row["step"]) for row in history if row["step"] >= since and row[metric] >= wanted
        )
    return next(steps, math.inf)


def _statistic(criterion: Criterion, run: _Run, history: HistoryRows) -> float:
    """The number of one run; NaN if it was not recorded."""
    metric, statistic = str(criterion.metric), criterion.statistic or "final"
    if metric == "grad_norm" and statistic == "p99":
        return run.grad_norm_p99
    # The largest norm of any step, as for p99: an evaluation holds a mean over steps.
    column = "grad_norm_max" if metric == "grad_norm" and statistic == "max" else metric
    values = np.array([row.get(column, math.nan) for row in history])
    if not len(values):
        return math.nan
    if statistic == "best":
        return float(values.max() if criterion.above is not None else values.min())
    if statistic == "final":
        return float(values[-1])
    if statistic == "mean":
        return float(values.mean())
    return float(values.max() if statistic == "max" else np.quantile(values, 0.99))


def _json(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "never"
