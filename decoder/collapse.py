"""What the evaluations of a run say about blank collapse: plateau, escape, outcome.

Plain Python on plain numbers, so that tables can be rebuilt without torch. The definitions and
their reasons stand in the report of every ablation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "collapsed", "diverged", "failed"]


@dataclass(frozen=True)
class CollapseThresholds:
    """When an evaluation counts as on the blank plateau, and a run as collapsed.

    Attributes:
        emitted_ratio: on the plateau at or below this emitted-to-target length ratio.
        n_distinct: on the plateau at or below this number of distinct phonemes emitted.
        n_evaluations: a run whose last so many evaluations are all on the plateau is collapsed.
    """

    emitted_ratio: float = 0.05
    n_distinct: int = 2
    n_evaluations: int = 3


def on_plateau(row: Mapping[str, float], thresholds: CollapseThresholds) -> bool:
    """Whether one evaluation emits next to nothing, or next to nothing but one sound."""
    return (
        row["emitted_ratio"] <= thresholds.emitted_ratio
        or row["n_distinct"] <= thresholds.n_distinct
    )


def escape_step(
    history: Sequence[Mapping[str, float]], thresholds: CollapseThresholds
) -> int | None:
    """Step of the first evaluation after the last one on the plateau; None if it never comes.

    The last plateau, not the first, is what counts: good runs touch 100 % blank on their way.
    A run that is never on the plateau escaped at its first evaluation.
    """
    step: int | None = None
    for row in history:
        if on_plateau(row, thresholds):
            step = None
        elif step is None:
            step = int(row["step"])
    return step


def is_collapsed(history: Sequence[Mapping[str, float]], thresholds: CollapseThresholds) -> bool:
    """Whether the last ``n_evaluations`` evaluations are all on the plateau."""
    last = history[-thresholds.n_evaluations :]
    return len(last) == thresholds.n_evaluations and all(on_plateau(r, thresholds) for r in last)
