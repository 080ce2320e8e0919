"""The greedy path in a report: its order beside the stated one, and what each round weighed up."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.plan.document import ArmEntry
from orchestrator.report.grids import Grid, make_grid
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, interval_words, noun, unit_of, value_text
from orchestrator.verdicts.change_effects import Change, along_path
from orchestrator.verdicts.greedy import Round


def greedy_grid(
    arms: Sequence[ArmEntry], spec: AblationSpec, runs: pd.DataFrame, rounds: Sequence[Round]
) -> Grid:
    """One row a step: what the stated path does there, what the greedy one, what else was tried.

    Args:
        arms: of the plan.
        spec: its ablation, with ``greedy``.
        runs: the runs table.
        rounds: of the greedy path, the open one included.
    """
    assert spec.greedy is not None
    outcome = spec.greedy.outcome
    steps = along_path(spec, arms, runs, outcome)
    columns = (
        ("step", True),
        ("stated order", False),
        (f"effect, {unit_of(outcome)}", True),
        ("greedy order", False),
        (f"effect, {unit_of(outcome)}", True),
        ("95 % interval", True),
        (f"{noun(outcome)} then", True),
        ("also tried in the round", False),
    )
    rows = []
    for number, step in enumerate(steps, 1):
        found = rounds[number - 1] if number <= len(rounds) else None
        stated = (str(number), f"+ {step.factor}", difference_text(step.effect, outcome))
        rows.append((*stated, *_greedy_cells(found, outcome)))
    return make_grid(columns, rows)


def _greedy_cells(found: Round | None, outcome: str) -> tuple[str, ...]:
    if found is None:
        return "–", "–", "–", "–", "–"
    others = [t.change for t in found.tried if t.change.factor != found.chosen]
    tried = "; ".join(_tried(change, outcome) for change in others) or "nothing else was left"
    if found.kept is None:
        return "open", "–", "–", "–", tried
    kept = found.kept
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
    """How the greedy path is to be read, and what keeps it from going on."""
    assert spec.greedy is not None
    outcome, direction = spec.greedy.outcome, spec.greedy.direction
    best = "lowest" if direction == "decrease" else "highest"
    notes = [
        "From the base, each round tries every change that is left on top of those kept, on the "
        f"seeds of the ablation, and keeps the one with the {best} mean of {noun(outcome)}; of "
        "equal ones the first of the file. Effects are against the arm before, paired by seed."
    ]
    if not rounds:
        notes.append("It begins once every run of the stated path has a result.")
    elif rounds[-1].kept is None:
        last = rounds[-1]
        gaps = [f"{t.change.arm} {t.n_gaps}" for t in last.tried if t.change.arm and t.n_gaps]
        what = f" (runs without a result: {', '.join(gaps)})" if gaps else ""
        notes.append(
            f"Round {last.number} is open{what}; start the same command again to go on. "
            "Collapsed and diverged runs have a result."
        )
    notes.append(
        "The order was chosen by looking at these runs, so it is exploratory: the change kept is "
        "in part the one that was lucky, its interval does not allow for the choice, and no "
        "hypothesis, test or family of the ablation rests on these arms. A claim about an order "
        "that it suggests needs a new ablation on fresh seeds."
    )
    return tuple(notes)
