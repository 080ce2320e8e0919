"""The tables of a report as text: effects, arms, criteria, controls, data, environment."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral
from typing import NamedTuple

import pandas as pd

from orchestrator.plan.judged import NOT_REGISTERED
from orchestrator.report.arm_results import arm_results, further_means
from orchestrator.report.wording import (
    blocking_text,
    contrast_text,
    test_title,
    verdict_title,
    where_text,
)
from orchestrator.spec.fraction import FractionDocument
from orchestrator.spec.load import AblationSpec, Changes
from orchestrator.spec.units import (
    difference_text,
    interval_words,
    noun,
    number,
    p_value,
    percent,
    unit_of,
    value_text,
)
from orchestrator.stats.effects import holm
from orchestrator.verdicts.controls import Control, NoiseFloor
from orchestrator.verdicts.criteria import CriterionResult, rule_text
from orchestrator.verdicts.unasked import Unasked
from orchestrator.verdicts.verdicts import Verdict

_CONTROL_ALPHA = 0.05  # of all controls together
STATUS_WORDS = {"pass": "✔ pass", "fail": "✘ fail", "open": "○ open"}
_NONE = "–"  # in place of an empty list
_MOST_LISTED, _FEW = 40, 10  # values in a line, and of a longer list


class Grid(NamedTuple):
    """A table of text; `numeric` says which columns are aligned to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


_MARGIN_SIGNS = {
    "increase": "≥ +",
    "decrease": "≤ −",
    "either": "beyond ±",
    "no_difference": "inside ±",
}


def effects_grid(
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    controls: Mapping[str, Sequence[Control]],
    correction: str,
) -> Grid:
    """One row per hypothesis.

    Args:
        verdicts: hypotheses with the same kind of correction.
        floors: outcome → noise floor.
        controls: outcome → controls.
        correction: name of the correction, for the title of the adjusted p.
    """
    looks = any(verdict.n_looks > 1 for verdict in verdicts)
    rows = []
    for verdict in verdicts:
        hypothesis, evidence = verdict.hypothesis, verdict.evidence
        outcome = hypothesis.outcome
        sign = _MARGIN_SIGNS[hypothesis.direction]
        effect = difference_text(evidence.shown.effect, outcome)
        rows.append(
            {
                "hypothesis": verdict.name,
                "verdict": verdict_title(verdict)
                + (f", {NOT_REGISTERED}" if verdict.unregistered else ""),
                "effect": f"{effect} {unit_of(outcome)}",
                "95 % interval": interval_words(evidence.shown.interval, outcome),
                "margin": sign + difference_text(hypothesis.margin, outcome, signed=False),
                "noise floor": floor_text(floors[outcome], controls[outcome]),
                "p": p_value(evidence.p if evidence.scenarios else None),
                f"p, {correction}": p_value(verdict.p_adjusted),
                "test": test_title(verdict),
                "seeds as claimed": f"{verdict.wins} of {len(evidence.differences)}",
                **({"decided at": _look_text(verdict)} if looks else {}),
                "contrast": contrast_text(hypothesis),
                "where": where_text(hypothesis) or "–",
                "effect of pairing by seed": blocking_text(verdict) or "–",
            }
        )
    words = ("hypothesis", "verdict", "test", "decided at", "contrast", "where")
    return titled_grid(rows, (*words, "effect of pairing by seed"))


def unasked_grid(unasked: Sequence[Unasked]) -> Grid:
    """One row per effect that no hypothesis asked about."""
    columns = (
        *texts("change", "from", "to"),
        *numbers("effect", "95 % interval", "p, Holm", "seeds"),
    )
    rows = [
        (
            f"{one.factor}: {one.from_level} → {one.to_level}",
            one.from_arm,
            one.to_arm,
            f"{difference_text(one.effect, one.outcome)} {unit_of(one.outcome)} of "
            f"{noun(one.outcome)}",
            interval_words(one.interval, one.outcome),
            p_value(one.p_adjusted),
            str(one.n_seeds),
        )
        for one in unasked
    ]
    return make_grid(columns, rows)


def _look_text(verdict: Verdict) -> str:
    """Which of the planned looks gives the verdict."""
    if verdict.next_look_seeds is not None:
        return f"open; next look at {verdict.next_look_seeds} seeds"
    return f"look {verdict.look} of {verdict.n_looks}, α = {p_value(verdict.alpha)}"


def floor_text(floor: NoiseFloor, controls: Sequence[Control]) -> str:
    """``±1.2``, and the difference between repeats of one seed; for shares of runs, the counts."""
    counts = [
        f"{'A/A' if control.pair.kind == 'fresh_seeds' else 'same seed'} {_counts(control)}"
        for control in controls
        if control.events and control.differences
    ]
    if counts:
        return min(counts)  # 'A/A' sorts before 'same seed'
    if math.isnan(floor.half_width):
        return "–"
    text = f"±{difference_text(floor.half_width, floor.outcome, signed=False)}"
    if floor.same_seed is not None:
        again = difference_text(floor.same_seed, floor.outcome, signed=False)
        text += f" (same seed ±{again})"
    return text


def controls_grid(controls: Mapping[str, Sequence[Control]]) -> Grid:
    """One row per control and outcome; p is adjusted over all rows."""
    kinds = {"fresh_seeds": "fresh", "same_seed": "the same"}
    found = [control for of_outcome in controls.values() for control in of_outcome]
    adjusted = holm([control.p if control.differences else 1.0 for control in found])
    rows = [
        {
            "control": control.pair.arm,
            "repeats": control.pair.twin,
            "seeds": kinds[control.pair.kind],
            "outcome": noun(control.outcome),
            "difference": _difference(control),
            "95 % interval": "none"
            if control.identical
            else interval_words(control.interval, control.outcome),
            "p, Holm": p_value(p),
            "interpretation": _interpretation(control, p),
        }
        for control, p in zip(found, adjusted, strict=True)
    ]
    return titled_grid(rows, ("control", "repeats", "seeds", "outcome", "interpretation"))


def _difference(control: Control) -> str:
    if not control.differences:
        return "–"
    if control.events is not None:
        return _counts(control)
    return f"{difference_text(control.effect, control.outcome)} {unit_of(control.outcome)}"


def _counts(control: Control) -> str:
    assert control.events is not None
    one, other = control.events
    return f"{one.n_events}/{one.n} versus {other.n_events}/{other.n}"


def _interpretation(control: Control, p_adjusted: float) -> str:
    if not control.differences:
        return "no result yet"
    if control.identical:
        return "identical in every seed"
    if p_adjusted < _CONTROL_ALPHA:
        return "a difference between equal configurations: chance or a fault"
    return "no difference, as expected"


def criteria_grid(results: Sequence[CriterionResult]) -> Grid:
    """Arms × criteria: pass or fail, the number that decides, and how many seeds pass."""
    names = list(dict.fromkeys(result.name for result in results))
    by_cell = {(result.arm, result.name): criterion_text(result) for result in results}
    rules = {result.name: rule_text(result.criterion) for result in results}
    arms = dict.fromkeys(result.arm for result in results)
    columns = texts("arm", *(f"{name}: {rules[name]}" for name in names))
    rows = [(arm, *(by_cell.get((arm, name), "does not apply") for name in names)) for arm in arms]
    return make_grid(columns, rows)


def criterion_text(result: CriterionResult) -> str:
    """``✔ pass · 21.3 % · 6/6 seeds``, with the number of the worst seed."""
    counts = f"{result.n_passed}/{result.n_seeds} seeds"
    if result.n_diverged:
        counts += f", {result.n_diverged} diverged"
    if result.n_seeds < len(result.seeds):
        counts += f", {len(result.seeds) - result.n_seeds} without a value"
    return f"{STATUS_WORDS[result.status]} · {criterion_value(result)} · {counts}"


def criterion_value(result: CriterionResult) -> str:
    """The number of the worst seed, in the unit of the criterion."""
    criterion, value = result.criterion, result.value
    if math.isnan(value):
        return "–"
    if criterion.never is not None:
        return f"{value:.0f} {criterion.never}"
    if criterion.reaches is not None:
        return f"step {value:,.0f}" if math.isfinite(value) else "never"
    return value_text(value, str(criterion.metric))


def aliases_grid(aliases: FractionDocument) -> Grid:
    """The effects of a fractional design, each with the effects that it is aliased with."""
    aliased = {effect: ", ".join(others) for effect, others in aliases.aliases.items() if others}
    rows = aliased or {"all": "no other main effect or two-factor interaction"}
    return make_grid(texts("effect", "is aliased with"), list(rows.items()))


def arms_grid(arms: pd.DataFrame, cut_at: int | None) -> Grid:
    """One row per arm.

    Args:
        arms: the table of arms.
        cut_at: the least step budget of all arms, at which steps to escape are cut, where budgets
            differ; else None.
    """
    cut = "" if cut_at is None else f" (cut at {cut_at:,})"
    results, further = arm_results(arms).values(), further_means(arms)
    judged = any(arm.n_escaped is not None for arm in results)
    rows = []
    for arm in results:
        cells = {
            "arm": arm.arm,
            "runs": str(arm.n),
            "final PER": percent(arm.per_mean),
            "95 % t interval": arm.interval or "–",
            "median": percent(arm.per_median),
            **{noun(name): value_text(means[arm.arm], name) for name, means in further.items()},
            "collapsed": str(arm.n_collapsed),
            "diverged": str(arm.n_diverged),
            "no result": str(arm.n_gaps),
            "escaped": "–" if arm.n_escaped is None else f"{arm.n_escaped}/{arm.n}",
            f"steps to escape{cut}": number(arm.escape_step_mean),
            "emitted / target": number(arm.emitted_ratio_mean, 2),
        }
        rows.append(cells)
    empty = {title for title in rows[0] if all(row[title] in ("–", "") for row in rows)}
    # A trainer of the user's reports what it reports.
    left_out = set() if judged else {*empty, "collapsed", "escaped"}
    known = [{title: row[title] for title in row if title not in left_out} for row in rows]
    return titled_grid(known, ("arm",))


def varied_grid(spec: AblationSpec) -> Grid:
    """The configuration values that every level and every extra arm sets."""
    rows = [
        (factor, level, changes_text(changes) or "as in the base")
        for factor, levels in spec.factors.items()
        for level, changes in levels.items()
    ]
    for name, extra in spec.extra_arms.items():
        levels = ", ".join(f"{factor} = {level}" for factor, level in extra.levels.items())
        what = "; ".join(part for part in (levels, changes_text(extra.set)) if part)
        note = f" ({extra.note})" if extra.note else ""
        rows.append(("extra arm", name, f"{what or 'as in the base'}{note}"))
    return make_grid(texts("factor", "level", "configuration"), rows)


def conditions_grid(conditions: Mapping[str, Mapping[str, str]]) -> Grid:
    """The condition that the runs of every level meet."""
    rows = [(f, level, text) for f, levels in conditions.items() for level, text in levels.items()]
    return make_grid(texts("factor", "level", "runs that meet"), rows)


def changes_text(changes: Changes) -> str:
    """``path = value, …``."""
    return ", ".join(f"{path} = {value}" for path, value in changes.items())


def steps_text(runs: pd.DataFrame) -> str:
    """The step budgets of the runs: ``400 steps``, ``400 or 600 steps``; "" without a record."""
    found = budgets(runs)
    return f"{listed(found, ' or ')} steps" if found else ""


def budgets(runs: pd.DataFrame) -> list[int]:
    """The different step budgets of the runs, in increasing order."""
    return sorted(int(n_steps) for n_steps in runs["n_steps"].dropna().unique())


def listed(values: Iterable[object], separator: str = ", ") -> str:
    """The values in one line, of many the first few and their number; a dash for none."""
    texts = [f"{value:,}" if isinstance(value, Integral) else str(value) for value in values]
    if len(texts) > _MOST_LISTED:
        return f"{separator.join(texts[:_FEW])}, … ({len(texts):,} in all)"
    return separator.join(texts) or _NONE


def titled_grid(rows: Sequence[Mapping[str, str]], words: Collection[str]) -> Grid:
    """A table from rows of title → cell, at least one; only the columns `words` hold text."""
    titles = tuple(rows[0])
    cells = tuple(tuple(row.values()) for row in rows)
    return Grid(titles, cells, tuple(title not in words for title in titles))


def texts(*titles: str) -> tuple[tuple[str, bool], ...]:
    """Columns of text, for `make_grid`."""
    return tuple((title, False) for title in titles)


def numbers(*titles: str) -> tuple[tuple[str, bool], ...]:
    """Columns of numbers, which are aligned to the right, for `make_grid`."""
    return tuple((title, True) for title in titles)


def make_grid(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, ...]]) -> Grid:
    """A table from the (title, is numeric) of each column, and its rows."""
    return Grid(
        header=tuple(title for title, _ in columns),
        rows=tuple(rows),
        numeric=tuple(numeric for _, numeric in columns),
    )
