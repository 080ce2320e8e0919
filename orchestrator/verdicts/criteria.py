"""Success criteria, arm by arm: runs and histories → pass or fail, with the number beside it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from decoder.collapse import CollapseThresholds, escape_step
from orchestrator.spec.load import AblationSpec, Criterion
from orchestrator.spec.units import value_text
from orchestrator.stats.run_values import COUNTED
from orchestrator.tables.tables import HistoryRows

Status = Literal["pass", "fail", "open"]

# Metrics that a run reaches from below, all others from above. An untrained decoder emits plenty,
# so these count only from where a run has left the blank plateau for good.
RISING_METRICS = ("emitted_ratio", "n_distinct")


@dataclass(frozen=True)
class SeedResult:
    """How one run met a criterion.

    Attributes:
        passed: None where the run has no result, or its record not the number asked for.
        value: the number looked at, in the metric's unit; for `reaches` the step it was reached
            at, infinite if it never was; for `never` 1.0 where it happened. NaN where there is
            no such number, as in a diverged run or one without a result.
    """

    passed: bool | None
    value: float


@dataclass(frozen=True)
class CriterionResult:
    """How one arm met one criterion.

    Attributes:
        name: of the criterion; arm: the arm's id.
        criterion: what was asked.
        seeds: seed trained with → its result, in the order of the runs table.
    """

    name: str
    arm: str
    criterion: Criterion
    seeds: Mapping[int, SeedResult]

    @property
    def status(self) -> Status:
        """``fail`` once a seed fails, ``pass`` when every planned seed passes, else ``open``."""
        found = [seed.passed for seed in self.seeds.values()]
        if False in found:
            return "fail"
        return "pass" if found and None not in found else "open"

    @property
    def n_passed(self) -> int:
        return sum(seed.passed is True for seed in self.seeds.values())

    @property
    def n_seeds(self) -> int:
        """Seeds with a result."""
        return sum(seed.passed is not None for seed in self.seeds.values())

    @property
    def n_diverged(self) -> int:
        """Seeds that fail without a number, as they diverged."""
        found = self.seeds.values()
        return sum(seed.passed is False and math.isnan(seed.value) for seed in found)

    @property
    def share(self) -> float:
        """Share of the seeds with a result that pass; NaN without any."""
        return self.n_passed / self.n_seeds if self.n_seeds else math.nan

    @property
    def value(self) -> float:
        """The number of the seed that meets the criterion worst, which is what decides; for
        `never` how many runs it happened to. NaN where no run has a number."""
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
    """Hold every arm against the criteria asked of it, in the order of the file.

    A diverged run fails: it has no final value, and what it showed before is no success. The one
    exception is `reaches`, which may have happened before. A run without a result leaves the
    arm open, unless another seed fails it.

    Args:
        spec: the ablation.
        runs: its runs table.
        histories: run id → evaluations.
    """
    thresholds = spec.collapse.thresholds()
    arms = list(dict.fromkeys(runs["arm"]))
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for row in runs.to_dict("records"):
        rows[row["arm"]].append({str(key): value for key, value in row.items()})
    return [
        CriterionResult(
            name,
            arm,
            criterion,
            {
                int(run["seed"]): _judge(
                    criterion, run, histories.get(run["run_id"], ()), thresholds
                )
                for run in rows[arm]
            },
        )
        for name, criterion in spec.criteria.items()
        for arm in (criterion.arms or arms)
        if arm in rows
    ]


def criteria_table(results: Sequence[CriterionResult]) -> pd.DataFrame:
    """One row a criterion and arm. ``value`` is that of the seed that meets it worst, ``values``
    holds the seeds as JSON (null: no such number)."""
    rows = [
        {
            "criterion": result.name,
            "arm": result.arm,
            "rule": rule_text(result.criterion),
            "status": result.status,
            "value": result.value,
            "mean": result.mean,
            "n_passed": result.n_passed,
            "n_seeds": result.n_seeds,
            "n_seeds_planned": len(result.seeds),
            "share_passed": result.share,
            "values": json.dumps({str(s): _json(r.value) for s, r in result.seeds.items()}),
        }
        for result in results
    ]
    columns = ["criterion", "arm", "rule", "status", "value", "mean", "n_passed", "n_seeds"]
    return pd.DataFrame(rows, columns=[*columns, "n_seeds_planned", "share_passed", "values"])


def rule_text(criterion: Criterion) -> str:
    """What is asked, in a few words: ``final PER below 25.0 %``."""
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


def _judge(
    criterion: Criterion,
    run: Mapping[str, Any],
    history: HistoryRows,
    thresholds: CollapseThresholds,
) -> SeedResult:
    if run["outcome"] not in COUNTED:
        return SeedResult(None, math.nan)
    if criterion.never is not None:
        happened = run["outcome"] == criterion.never
        return SeedResult(not happened, float(happened))
    metric = str(criterion.metric)
    if criterion.reaches is not None:
        assert criterion.before_step is not None
        if history and not any(metric in row for row in history):
            return SeedResult(None, math.nan)  # recorded before there was this metric
        step = _reached(history, metric, criterion.reaches, thresholds)
        return SeedResult(step < criterion.before_step, step)
    if run["outcome"] == "diverged":
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
    """Step of the first evaluation at `wanted` or past it; infinite if there is none."""
    if metric not in RISING_METRICS:
        steps = (float(row["step"]) for row in history if row.get(metric, math.nan) <= wanted)
    else:
        escaped = escape_step(history, thresholds)
        since = math.inf if escaped is None else escaped
        steps = (
            float(row["step"])
            for row in history
            if row["step"] >= since and row.get(metric, 0.0) >= wanted
        )
    return next(steps, math.inf)


def _statistic(criterion: Criterion, run: Mapping[str, Any], history: HistoryRows) -> float:
    """The number of one run; NaN where it was not recorded."""
    metric, statistic = str(criterion.metric), criterion.statistic or "final"
    if metric == "grad_norm" and statistic == "p99":
        return float(run["grad_norm_p99"])
    # The largest norm of any step, as for p99: an evaluation's own is a mean over its steps.
    column = "grad_norm_max" if metric == "grad_norm" and statistic == "max" else metric
    values = np.array([row.get(column, math.nan) for row in history], dtype=float)
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
