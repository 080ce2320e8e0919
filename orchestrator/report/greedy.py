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


def greedy_notes(spec: AblationSpec, rounds: Sequence[Round]) -> tuple[str, ...]:
    """How to read the greedy path, and what an open round waits for."""
    assert spec.greedy is not None
    outcome, direction = spec.greedy.outcome, spec.greedy.direction
    best = "lowest" if direction == "decrease" else "highest"
    notes = [
        "Starting from the base, each round tries every remaining change on top of those kept so "
        f"far, with the seeds of the ablation, and keeps the change with the {best} mean of "
        f"{noun(outcome)} (if several are equal, the first in the file). Each effect is the "
        "difference to the arm before it, paired by seed."
    ]
    if not rounds:
        notes.append("The greedy path starts when every run of the stated path has a result.")
    elif rounds[-1].kept is None:
        last = rounds[-1]
        gaps = [f"{t.change.arm} {t.n_gaps}" for t in last.tried if t.change.arm and t.n_gaps]
        what = f" (runs without a result: {', '.join(gaps)})" if gaps else ""
        notes.append(
            f"Round {last.number} is open{what}. Start the same command again to continue. "
            "Collapsed and diverged runs count as results."
        )
    notes.append(
        "The order was chosen from the results of these runs, so it is exploratory: each change "
        "kept may owe part of its effect to chance, its interval does not account for the choice, "
        "and no hypothesis or test of the ablation uses these arms. To confirm an order, run a "
        "new ablation on fresh seeds."
    )
    return tuple(notes)
