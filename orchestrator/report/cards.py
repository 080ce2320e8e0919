"""One card per arm: what it changes, its criteria, a small learning curve, final metrics."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.plan.document import ArmEntry
from orchestrator.report.arm_results import ArmResults, arm_results, further_means
from orchestrator.report.evaluation import ReportInput
from orchestrator.report.figures.curves import ArmCurve, arm_curves
from orchestrator.report.grids import (
    STATUS_WORDS,
    Grid,
    criterion_text,
    make_grid,
    numbers,
    texts,
)
from orchestrator.report.prose import prose
from orchestrator.report.small_curve import SmallCurve, small_curve
from orchestrator.spec.configuration import is_command
from orchestrator.spec.units import noun, number, percent, value_text
from orchestrator.verdicts.controls import kind_of
from orchestrator.verdicts.criteria import CriterionResult, rule_text

_MISSING = object()


class Card(NamedTuple):
    """One arm.

    Attributes:
        arm: its id; note: the remark in the file.
        summary: final PER, how the runs ended, criteria passed.
        origin: which arm it is compared with, and in how many parameters it differs.
        changes: parameter, value there, value here; None if nothing differs.
        criteria: criterion, rule, result; None without criteria.
        metrics: name → value.
        curve: None without any evaluation.
    """

    arm: str
    note: str
    summary: str
    origin: str
    changes: Grid | None
    criteria: Grid | None
    metrics: dict[str, str]
    curve: SmallCurve | None


def make_cards(given: ReportInput, shown: Sequence[str] | None = None) -> list[Card]:
    """A card for each of the arms `shown`; None makes one for every arm."""
    plan, tables = given.plan, given.tables
    shown = [arm.arm_id for arm in plan.arms] if shown is None else shown
    curves = arm_curves("per", tables, shown)
    last_step = tables.history["step"].max()
    rows, further = arm_results(tables.arms), further_means(tables.arms)
    by_name = {arm.arm_id: arm for arm in plan.arms}
    of_arm: dict[str, list[CriterionResult]] = {}
    for result in given.criteria:
        of_arm.setdefault(result.arm, []).append(result)
    seeds: dict[str, list[int]] = {}
    for run in plan.runs:
        seeds.setdefault(run.arm_id, []).append(run.seed)
    cards = []
    for name in shown:
        arm = by_name[name]
        parent = by_name[arm.parent] if arm.parent else None
        changes = _changes(arm, parent, given.configs) if parent else []
        results = of_arm.get(name, [])
        [origin] = prose(
            "origin",
            parent=arm.parent,
            n_changes=len(changes),
            control=kind_of(arm),
            seeds=seeds.get(name, []),
        )
        columns = (*texts("parameter"), *numbers(f"in {arm.parent}", "here"))
        cards.append(
            Card(
                arm=name,
                note=" ".join(arm.note.split()),
                summary=_summary(rows[name], results),
                origin=origin,
                changes=make_grid(columns, changes) if changes else None,
                criteria=_criteria_grid(results) if results else None,
                metrics=_metrics(rows[name], {m: means[name] for m, means in further.items()}),
                curve=_small(curves.get(name), last_step),
            )
        )
    return cards


def _changes(
    arm: ArmEntry, parent: ArmEntry, configs: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str, str]]:
    """(parameter, value there, value here), where they differ."""
    here, there = arm.changes, parent.changes
    found = [
        (path, _value(parent, path, configs), _value(arm, path, configs))
        for path in dict.fromkeys((*here, *there))
        if here.get(path, _MISSING) != there.get(path, _MISSING)
    ]
    return [change for change in found if change[1] != change[2]]


def _value(arm: ArmEntry, path: str, configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The value of a config path in an arm: as trained, or else as the plan sets it."""
    value: Any = configs.get(arm.arm_id)
    is_foreign = isinstance(value, Mapping) and is_command(value)
    for key in ("settings", path) if is_foreign else path.split("."):
        value = value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
    if value is _MISSING:
        value = arm.changes.get(path, "as in the base")
    return str(value)


def _criteria_grid(results: Sequence[CriterionResult]) -> Grid:
    rows = [(r.name, rule_text(r.criterion), criterion_text(r)) for r in results]
    return make_grid(texts("criterion", "rule", "result"), rows)


def _summary(row: ArmResults, results: Sequence[CriterionResult]) -> str:
    parts = [] if math.isnan(row.per_mean) else [f"PER {percent(row.per_mean)}"]
    parts += [row.endings]
    found = [result.status for result in results]
    if found:
        worst = next(status for status in ("fail", "open", "pass") if status in found)
        mark = STATUS_WORDS[worst].split()[0]
        parts.append(f"{mark} {found.count('pass')} of {len(found)} criteria")
    return " · ".join(parts)


def _metrics(row: ArmResults, further: Mapping[str, float]) -> dict[str, str]:
    """Name → value, of what is known.

    Args:
        further: metrics that only some runs have.
    """
    per = percent(row.per_mean)
    if row.interval:
        per += f" (95 % t interval {row.interval})"
    gradient = number(row.grad_norm_mean)
    if not math.isnan(row.grad_norm_p99_max):
        gradient += f" at the end; 99th percentile at most {number(row.grad_norm_p99_max)}"
    never = 0 if row.n_escaped is None else row.n - row.n_escaped
    escape = number(row.escape_step_mean) + (f"; {never} of {row.n} never" if never else "")
    metrics = {
        "final PER": per,
        "how the runs ended": row.endings,
        **{noun(name): value_text(value, name) for name, value in further.items()},
        "blank fraction": percent(row.blank_fraction_mean),
        "emitted / target": number(row.emitted_ratio_mean, 2),
        "gradient norm": gradient,
        "steps to escape": escape,
    }
    if row.n and row.n_escaped is None:  # a trainer of the user's reports what it reports
        metrics = {name: text for name, text in metrics.items() if text != "–"}
    return metrics


def _small(curve: ArmCurve | None, last_step: float) -> SmallCurve | None:
    if curve is None:
        return None
    return small_curve(curve.steps, curve.middle, curve.low, curve.high, last_step)
