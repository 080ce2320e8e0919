"""What a candidate is worth: the histories of its runs → one figure an objective.

A run that collapsed has the figure it was measured at, a run that diverged the worst there is:
both are results, and a sampler that never hears of them proposes them again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from decoder.collapse import CollapseThresholds, is_collapsed
from decoder.pack import HistoryRow
from orchestrator.search.schema import SECONDS, Sense
from orchestrator.spec.units import RATES

Ending = Literal["ok", "collapsed", "diverged"]

# Stands for a metric without a natural limit where no run has shown a value of it yet.
_NOTHING_SEEN = 1e6


@dataclass(frozen=True)
class Course:
    """How far a run has come.

    Attributes:
        history: its evaluations so far.
        diverged_step: where it diverged; None if it has not.
        seconds: its share of its pack's wall time, scaled to the full budget if it diverged;
            NaN while it is not at its end.
    """

    history: tuple[HistoryRow, ...]
    diverged_step: int | None = None
    seconds: float = math.nan

    def reaches(self, step: int) -> bool:
        """Whether it has been evaluated at this step, or diverged before it."""
        if self.diverged_step is not None:
            return True
        return any(row["step"] == step for row in self.history)


def ending_of(course: Course, thresholds: CollapseThresholds) -> Ending:
    """How a run stands at its last evaluation; before its budget's end "collapsed" means that it
    is on the blank plateau still.
    """
    if course.diverged_step is not None:
        return "diverged"
    return "collapsed" if is_collapsed(course.history, thresholds) else "ok"


def mean_figure(
    objective: str, sense: Sense, courses: Sequence[Course], step: int, seen: Sequence[float] = ()
) -> float:
    """The mean over seeds of an objective at one evaluation; always finite.

    Args:
        objective: a metric of the evaluations, or ``seconds``, which is of the whole run.
        sense: whether it is minimized or maximized.
        courses: one a seed.
        step: an evaluation that all of them reach.
        seen: finite figures of other candidates, for the worst of a metric without a limit.
    """
    figures = [_figure(objective, course, step) for course in courses]
    finite = [figure for figure in figures if math.isfinite(figure)]
    if len(finite) < len(figures):
        worst = _worst(objective, sense, [*seen, *finite])
        figures = [figure if math.isfinite(figure) else worst for figure in figures]
    return math.fsum(figures) / len(figures)


def _figure(objective: str, course: Course, step: int) -> float:
    """The objective of one run; NaN for a metric of a run that diverged before `step`."""
    if objective == SECONDS:
        return course.seconds
    for row in course.history:
        if row["step"] == step:
            return row[objective]
    return math.nan


def _worst(objective: str, sense: Sense, seen: Sequence[float]) -> float:
    """The worst value an objective can have, or the worst seen where it has no limit."""
    if sense == "maximize":
        return min([0.0, *seen])
    if objective in RATES:
        return max([1.0, *seen])
    return max(seen, default=_NOTHING_SEEN)
