"""The greedy path in a report: its order next to the stated order, and what each round tried."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.plan.document import ArmEntry
from orchestrator.report.grids import Grid, make_grid, numbers, texts
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, interval_words, noun, unit_of, value_text
from orchestrator.verdicts.change_effects import Change, along_path
from orchestrator.verdicts.greedy import Round


def greedy_grid(
    arms: Sequence[ArmEntry], spec: AblationSpec, runs: pd.DataFrame, rounds: Sequence[Round]
) -> Grid:
    """One row per step: the change of each path with its effect, and the changes not kept.

    Args:
        arms: the plan's arms.
        spec: an ablation with ``greedy``.
        runs: the runs table.
        rounds: the rounds of the greedy path, including the open one.
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
    rows = []
    for number, step in enumerate(steps, 1):
        round_ = rounds[number - 1] if number <= len(rounds) else None
        stated = (str(number), f"+ {step.factor}", difference_text(step.effect, outcome))
        rows.append((*stated, *_greedy_cells(round_, outcome)))
    return make_grid(columns, rows)


def _greedy_cells(round_: Round | None, outcome: str) -> tuple[str, ...]:
    if round_ is None:
        return "–", "–", "–", "–", "–"
    others = [t.change for t in round_.tried if t.change.factor != round_.chosen]
    tried = "; ".join(_tried(change, outcome) for change in others) or "none left"
    if round_.kept is None:
        return "open", "–", "–", "–", tried
    kept = round_.kept
    return (
        f"+ {kept.change.factor}",
        difference_text(kept.change.effect, outcome),
        interval_words(kept.change.interval, outcome),
        value_text(kept.mean, outcome),
        tried,
    )


def _tried(change: Change, outcome: str) -> str:
    return f"{change.factor} {difference_text(change.effect, outcome)}"
