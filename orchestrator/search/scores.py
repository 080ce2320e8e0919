"""Learning curves → the score of a candidate: one number for each objective.

A collapsed run scores what was measured, a diverged run the worst value there is. Both are
results: a sampler that did not see them would propose the same settings again.
"""

import math
from collections.abc import Sequence
from typing import Literal

from decoder.collapse import CollapseThresholds, is_collapsed
from orchestrator.search.learning_curves import LearningCurve
from orchestrator.search.schema import SECONDS, Sense
from orchestrator.spec.units import RATES

Ending = Literal["ok", "collapsed", "diverged"]

# The worst value of a metric without a natural limit, before any run has shown a finite one.
_NOTHING_SEEN = 1e6


def ending_of(curve: LearningCurve, thresholds: CollapseThresholds) -> Ending:
    """How a run stands at its last evaluation.

    Before the end of its budget, ``collapsed`` means that the run is still on the blank plateau.
    """
    if curve.diverged_step is not None:
        return "diverged"
    return "collapsed" if is_collapsed(curve.history, thresholds) else "ok"


def mean_score(
    objective: str,
    sense: Sense,
    curves: Sequence[LearningCurve],
    step: int,
    others: Sequence[float] = (),
) -> float:
    """The mean of an objective over the seeds at one evaluation; always finite.

    Args:
        objective: a metric of the evaluations, or ``seconds``, which is one number a run.
        sense: whether it is minimized or maximized.
        curves: one a seed.
        step: an evaluation that all of them reach.
        others: finite scores of other candidates, for the worst value of a metric without limit.
    """
    scores = [_score(objective, curve, step) for curve in curves]
    finite = [score for score in scores if math.isfinite(score)]
    if len(finite) < len(scores):
        worst = _worst(objective, sense, [*others, *finite])
        scores = [score if math.isfinite(score) else worst for score in scores]
    return math.fsum(scores) / len(scores)


def _score(objective: str, curve: LearningCurve, step: int) -> float:
    """The objective of one run; NaN for a metric of a run that diverged before `step`."""
    if objective == SECONDS:
        return curve.seconds
    return next((row[objective] for row in curve.history if row["step"] == step), math.nan)


def _worst(objective: str, sense: Sense, seen: Sequence[float]) -> float:
    """The worst value an objective can have, or the worst seen where it has no limit."""
    if sense == "maximize":
        return min([0.0, *seen])
    if objective in RATES:
        return max([1.0, *seen])
    return max(seen, default=_NOTHING_SEEN)
