"""Blank collapse, judged from the evaluations of a run: plateau, escape, collapse.

Plain Python on plain numbers, so that tables can be rebuilt without torch. The report of every
ablation gives the definitions and their reasons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "collapsed", "diverged", "failed"]


@dataclass(frozen=True)
class CollapseThresholds:
    """When an evaluation counts as on the blank plateau, and a run as collapsed.

    Attributes:
        emitted_ratio: an evaluation is on the plateau if emitted length over target length is at
            most this;
        n_distinct: or if it emits at most this number of distinct phonemes.
        n_evaluations: a run is collapsed if this many of its last evaluations are on the plateau.
    """

    emitted_ratio: float = 0.05
    n_distinct: int = 2
    n_evaluations: int = 3


def on_plateau(row: Mapping[str, float], thresholds: CollapseThresholds) -> bool:
    """Whether one evaluation emits almost nothing, or almost always the same phoneme."""
    return (
        row["emitted_ratio"] <= thresholds.emitted_ratio
        or row["n_distinct"] <= thresholds.n_distinct
    )


def has_plateau(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether these evaluations say what the plateau is judged by.

    Those of a trainer of the user's do so only if it reports both numbers.
    """
    names = ("emitted_ratio", "n_distinct")
    return not any(math.isnan(row.get(name, math.nan)) for row in history for name in names)


def escape_step(
    history: Sequence[Mapping[str, float]], thresholds: CollapseThresholds
) -> int | None:
    """Step of the first evaluation after the last one on the plateau; None if there is none.

    The last plateau counts, not the first, because good runs pass through 100 % blank. A run that
    is never on the plateau escapes at its first evaluation.
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
