"""The greedy path in a report: its order next to the stated order, and what each round tried."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.plan.document import ArmEntry
from orchestrator.report.grids import Grid, make_grid, numbers, texts
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, interval_words, noun, unit_of, value_text
from orchestrator.verdicts.change_effects import along_path
from orchestrator.verdicts.greedy import Round


def greedy_grid(
    arms: Sequence[ArmEntry], spec: AblationSpec, runs: pd.DataFrame, rounds: Sequence[Round]
) -> Grid:
    """One row per step: the change of each path with its effect, and the changes not kept.

    `spec` has ``greedy``; `rounds` include the open one.
    """
    assert spec.greedy is not None
    outcome = spec.greedy.outcome
    steps = along_path(spec, arms, runs, outcome)
    effect = f"effect, {unit_of(outcome)}"
    columns = (
        *numbers("step"),
        *texts("stated order"),
        *numbers(effect),
        *texts("greedy order"),
        *numbers(effect, "95 % interval", f"{noun(outcome)} after it"),
        *texts("other changes tried"),
    )
    rows = [
        (
            str(number),
            f"+ {step.factor}",
            difference_text(step.effect, outcome),
            *_greedy_cells(rounds[number - 1 : number], outcome),
        )
        for number, step in enumerate(steps, 1)
    ]
    return make_grid(columns, rows)


def _greedy_cells(found: Sequence[Round], outcome: str) -> tuple[str, ...]:
    """The cells of a round, or of one that has not begun if none is `found`."""
    if not found:
        return ("–",) * 5
    [one] = found
    others = "; ".join(
        f"{tried.change.factor} {difference_text(tried.change.effect, outcome)}"
        for tried in one.tried
        if tried is not one.kept
    )
    kept = ("open", "–", "–", "–")
    if one.kept:
        change = one.kept.change
        kept = (
            f"+ {change.factor}",
            difference_text(change.effect, outcome),
            interval_words(change.interval, outcome),
            value_text(one.kept.mean, outcome),
        )
    return *kept, others or "none left"
