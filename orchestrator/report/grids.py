"""The tables of a report, as text: effects, arms, criteria, controls, data, environment."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
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
from orchestrator.verdicts.verdicts import Verdict

_CONTROL_ALPHA = 0.05  # of all controls together
STATUS_WORDS = {"pass": "✔ pass", "fail": "✘ fail", "open": "○ open"}


class Grid(NamedTuple):
    """A table of text; `numeric` tells the columns that are set to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


def effects_grid(
    verdicts: Sequence[Verdict],
    floors: Mapping[str, NoiseFloor],
    controls: Mapping[str, Sequence[Control]],
    correction: str,
) -> Grid:
    """One row a hypothesis.

    Args:
        verdicts: those corrected in the same way.
        floors: outcome → noise floor.
        controls: outcome → controls.
        correction: name of the correction, for the heading of the adjusted p.
    """
    looks = any(verdict.n_looks > 1 for verdict in verdicts)
    columns = (
        ("hypothesis", False),
        ("verdict", False),
        ("effect", True),
        ("95 % interval", True),
        ("margin", True),
        ("noise floor", True),
        ("p", True),
        (f"p, {correction}", True),
        ("test", False),
        ("seeds as claimed", True),
        *([("decided at", False)] if looks else []),
        ("contrast", False),
        ("where", False),
        ("what blocking by seed did", False),
    )
    rows = []
    for verdict in verdicts:
        hypothesis, evidence = verdict.hypothesis, verdict.evidence
        outcome = hypothesis.outcome
        sign = {"increase": "≥ +", "decrease": "≤ −", "none": "inside ±"}[hypothesis.direction]
        effect = difference_text(evidence.shown.effect, outcome)
        rows.append(
            (
                verdict.name,
                verdict_title(verdict),
                f"{effect} {unit_of(outcome)}",
                interval_words(evidence.shown.interval, outcome),
                sign + difference_text(hypothesis.margin, outcome, signed=False),
                floor_text(floors[outcome], controls[outcome]),
                p_value(evidence.p if evidence.scenarios else None),
                p_value(verdict.p_adjusted),
                test_title(verdict),
                f"{verdict.wins} of {len(evidence.differences)}",
                *([_look_text(verdict)] if looks else []),
                contrast_text(hypothesis),
                where_text(hypothesis) or "–",
                blocking_text(verdict) or "–",
            )
        )
    return make_grid(columns, rows)


def _look_text(verdict: Verdict) -> str:
    """Which of the planned looks the word rests on."""
    if verdict.next_look_seeds is not None:
        return f"open; next look at {verdict.next_look_seeds} seeds"
    return f"look {verdict.look} of {verdict.n_looks}, α = {p_value(verdict.alpha)}"


def floor_text(floor: NoiseFloor, controls: Sequence[Control]) -> str:
    """``±1.2``, and what the same seed run twice gave; of shares of runs the counts."""
    counts = [
        f"{'A/A' if control.pair.kind == 'fresh_seeds' else 'same seed'} {_counts(control)}"
        for control in controls
        if control.events and control.differences
    ]
    if counts:
        return min(counts)  # an A/A comparison if there is one
    if math.isnan(floor.half_width):
        return "–"
    text = f"±{difference_text(floor.half_width, floor.outcome, signed=False)}"
    if floor.same_seed is not None:
        again = difference_text(floor.same_seed, floor.outcome, signed=False)
        text += f" (same seed ±{again})"
    return text


def controls_grid(controls: Mapping[str, Sequence[Control]]) -> Grid:
    """One row a control and outcome; p is adjusted over all of them."""
    columns = (
        ("control", False),
        ("repeats", False),
        ("on", False),
        ("outcome", False),
        ("difference", True),
        ("95 % interval", True),
        ("p, Holm", True),
        ("reading", False),
    )
    kinds = {"fresh_seeds": "fresh seeds", "same_seed": "the same seeds"}
    found = [control for of_outcome in controls.values() for control in of_outcome]
    adjusted = holm([control.p if control.differences else 1.0 for control in found])
    rows = [
        (
            control.pair.arm,
            control.pair.twin,
            kinds[control.pair.kind],
            noun(control.outcome),
            _difference(control),
            "none" if control.identical else interval_words(control.interval, control.outcome),
            p_value(p),
            _reading(control, p),
        )
        for control, p in zip(found, adjusted, strict=True)
    ]
    return make_grid(columns, rows)


def _difference(control: Control) -> str:
    if not control.differences:
        return "–"
    if control.events is not None:
        return _counts(control)
    return f"{difference_text(control.effect, control.outcome)} {unit_of(control.outcome)}"


def _counts(control: Control) -> str:
    assert control.events is not None
    one, other = control.events
    return f"{one.n_events}/{one.n} against {other.n_events}/{other.n}"


def _reading(control: Control, p_adjusted: float) -> str:
    if not control.differences:
        return "no result yet"
    if control.identical:
        return "the same in every seed"
    if p_adjusted < _CONTROL_ALPHA:
        return "a difference where none can be: chance, or a fault"
    return "no difference, as it must be"


def criteria_grid(results: Sequence[CriterionResult]) -> Grid:
    """Arms × criteria: a word, the number that decides, and the seeds that pass."""
    names = list(dict.fromkeys(result.name for result in results))
    by_cell = {(result.arm, result.name): criterion_text(result) for result in results}
    rules = {result.name: rule_text(result.criterion) for result in results}
    arms = dict.fromkeys(result.arm for result in results)
    columns = [("arm", False), *((f"{name}: {rules[name]}", False) for name in names)]
    rows = [(arm, *(by_cell.get((arm, name), "not asked") for name in names)) for arm in arms]
    return make_grid(columns, rows)


def criterion_text(result: CriterionResult) -> str:
    """``✔ pass · 21.3 % · 6/6 seeds``: the number is that of the seed that meets it worst."""
    counts = f"{result.n_passed}/{result.n_seeds} seeds"
    if result.n_diverged:
        counts += f", {result.n_diverged} diverged"
    if result.n_seeds < len(result.seeds):
        counts += f", {len(result.seeds) - result.n_seeds} without a number"
    return f"{STATUS_WORDS[result.status]} · {criterion_value(result)} · {counts}"


def criterion_value(result: CriterionResult) -> str:
    """The number beside a pass or a fail."""
    criterion, value = result.criterion, result.value
    if math.isnan(value):
        return "–"
    if criterion.never is not None:
        return f"{value:.0f} {criterion.never}"
    if criterion.reaches is not None:
        return f"step {value:,.0f}" if math.isfinite(value) else "never"
    return value_text(value, str(criterion.metric))


def aliases_grid(aliases: FractionDocument) -> Grid:
    """Of a fraction: every effect and those it cannot be told from.

    Args:
        aliases: as the plan document keeps them.
    """
    letters = ", ".join(f"{letter} = {name}" for letter, name in aliases.letters.items())
    aliased = {effect: ", ".join(others) for effect, others in aliases.aliases.items() if others}
    rows = [
        ("letters", letters),
        ("generators", ", ".join(aliases.generators) or "–"),
        ("resolution", aliases.resolution),
        *(aliased.items() or [("all", "no main effect or two-factor interaction is aliased")]),
    ]
    return make_grid((("effect", False), ("cannot be told from", False)), rows)


def arms_grid(arms: pd.DataFrame) -> Grid:
    """One row an arm."""
    columns = (
        ("arm", False),
        ("runs", True),
        ("final PER", True),
        ("95 % t interval", True),
        ("median", True),
        ("collapsed", True),
        ("diverged", True),
        ("no result", True),
        ("escaped", True),
        ("steps to escape", True),
        ("emitted / target", True),
    )
    rows = [
        (
            row["arm"],
            str(row["n"]),
            percent(row["per_mean"]),
            _percent_interval(row["per_low"], row["per_high"]),
            percent(row["per_median"]),
            str(row["n_collapsed"]),
            str(row["n_diverged"]),
            str(row["n_failed"] + row["n_missing"]),
            f"{row['n_escaped']}/{row['n']}",
            number(row["escape_step_mean"]),
            number(row["emitted_ratio_mean"], 2),
        )
        for row in arms.to_dict("records")
    ]
    return make_grid(columns, rows)


def varied_grid(spec: AblationSpec) -> Grid:
    """What every level and every extra arm sets."""
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
    return make_grid((("factor", False), ("level", False), ("configuration", False)), rows)


def changes_text(changes: Changes) -> str:
    """``path = value, …``."""
    return ", ".join(f"{path} = {value}" for path, value in changes.items())


def data_grid(plan: PlanDocument, runs: pd.DataFrame) -> Grid:
    """Recordings, budget, sizes."""
    rows = []
    for dataset in plan.all_recordings:
        rows += [
            ("recordings", Path(dataset.path).name),
            ("fingerprint", dataset.fingerprint),
            (
                "trials",
                f"{dataset.n_train_trials:,} for training, {dataset.n_val_trials:,} for "
                f"validation, {len(dataset.sessions)} sessions",
            ),
        ]
    every = runs["eval_every_steps"].dropna().unique()
    dropped = runs["n_dropped_trials"].dropna()
    spec_file = Path(plan.spec_file)
    rows += [
        ("budget", f"{steps_text(runs)}, validation every {listed(every)} steps"),
        ("parameters", listed(runs["n_parameters"].dropna().unique())),
        ("trials without an alignment", listed(dropped.unique())),
        ("seeds", listed(str(seed) for seed in plan.spec.seeds)),
        ("ablation file", spec_file.name if spec_file.is_absolute() else str(spec_file)),
    ]
    return make_grid((("", False), ("", False)), rows)


def machine_grid(runs: pd.DataFrame) -> Grid:
    """Where and with what the runs were trained, and how long it took."""
    done = runs.drop_duplicates("run_id")
    seconds = done["timing_run_seconds"].dropna()
    memory = done["host_peak_memory_bytes"].dropna()
    rows = [
        (title, listed([value for value in done[column].unique() if value]))
        for title, column in (
            ("Python", "host_python"),
            ("PyTorch", "host_torch"),
            ("device", "host_device"),
            ("host", "host_hostname"),
        )
    ]
    rows.append(("code", listed({_code_text(value): None for value in done["host_code"] if value})))
    if len(seconds):
        rows.append(("training", f"{seconds.sum():,.0f} s, {seconds.mean():.1f} s a run"))
    if len(memory):
        rows.append(("peak memory", f"{memory.max() / 2**20:,.0f} MiB a process"))
    return make_grid((("", False), ("", False)), rows)


def _code_text(code: str) -> str:
    """The commit and whether its sources were changed; outside git the hash of the sources."""
    try:
        facts = json.loads(code)
    except ValueError:
        return code
    if not isinstance(facts, dict) or not facts.get("git_commit"):
        digest = facts.get("decoder_sha256") if isinstance(facts, dict) else None
        return f"decoder sources {str(digest)[:12]}" if digest else code
    return f"commit {facts['git_commit'][:12]}{', changed' if facts.get('git_dirty') else ''}"


def steps_text(runs: pd.DataFrame) -> str:
    """The step budget, or budgets."""
    return f"{listed(sorted(runs['n_steps'].dropna().unique()))} steps"


def listed(values: Iterable[Any]) -> str:
    """Values with commas between; a dash for none."""
    texts = [f"{value:,}" if isinstance(value, Integral) else str(value) for value in values]
    return ", ".join(texts) or "–"


def _percent_interval(low: float, high: float) -> str:
    return "–" if abs(low) == float("inf") else f"{percent(low)} to {percent(high)}"


def make_grid(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, ...]]) -> Grid:
    """A table from (title, is numeric) a column, and its rows."""
    return Grid(
        header=tuple(title for title, _ in columns),
        rows=tuple(rows),
        numeric=tuple(numeric for _, numeric in columns),
    )
