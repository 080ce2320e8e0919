"""What a run counts as in an outcome: the one rule of every table, figure, verdict and comparison.

- A run that failed for other reasons than its numbers, or is not recorded, is a gap.
- A collapsed run counts as collapsed and keeps its measured PER.
- A diverged run counts as collapsed and as diverged, has a PER (and any other error rate) of 1, and
  never escaped. It has no final value of any other metric: the last one before it diverged
  describes another run.
- Steps to escape are cut at one step budget, the least of the runs that are compared, so that all
  of them were watched equally long.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.spec.claims import is_share
from orchestrator.spec.units import is_error_rate

ENDINGS = ("ok", "collapsed", "diverged", "failed", "missing")
NOT_NEEDED = "not needed"  # stands for an ending where looks stopped the arm before the run
COUNTED = ("ok", "collapsed", "diverged")  # endings that are results; the others are gaps
DIVERGED_PER = 1.0
# Phonemes drawn at random with the frequencies of English, as many as the target has, reach 90 %.
CHANCE_PER = 0.9
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def counted_values(outcome: str, endings: ArrayLike, column: ArrayLike, budget: float) -> Floats:
    """What each run counts as in an outcome.

    Args:
        outcome: ``per``, ``collapsed``, ``diverged``, ``escape_step`` or a metric.
        endings: (n,) one of `ENDINGS` for each run.
        column: (n,) the recorded number, NaN where there is none; of ``escape_step`` the step,
            NaN for a run that never escaped. Shares of runs do not read it.
        budget: the step at which steps to escape are cut, see `least_budget`.

    Returns:
        (n,) NaN for a gap.
    """
    ended = np.asarray(endings, dtype=object)
    counted = np.isin(ended, COUNTED)
    if outcome == "escape_step":
        values = restricted(np.where(ended == "diverged", math.nan, column), budget)
    elif is_share(outcome):
        diverged = ended == "diverged"
        values = (diverged | ((ended == "collapsed") & (outcome == "collapsed"))).astype(float)
    else:
        values = np.asarray(column, dtype=np.float64)
        # Error rates hold what a diverged run counts as. The lowest PER of any evaluation is a fact
        # of the evaluations before it diverged.
        if outcome != "best_per" and not is_error_rate(outcome):
            counted = counted & (ended != "diverged")
    return np.where(counted, values, math.nan)


def learned_nothing(endings: ArrayLike, per: ArrayLike) -> Bools:
    """Whether each run collapsed, diverged, or ended with a PER of `CHANCE_PER` or more.

    Args:
        endings: (n,) one of `ENDINGS` for each run.
        per: (n,) final PER, NaN where there is none.
    """
    ended, final = np.asarray(endings, dtype=object), np.asarray(per, dtype=np.float64)
    at_chance = (ended == "ok") & (final >= CHANCE_PER)
    return np.asarray(np.isin(ended, ("collapsed", "diverged")) | at_chance, dtype=np.bool_)


def restricted(steps: ArrayLike, budget: ArrayLike) -> Floats:
    """Steps to escape, censored at the budget; NaN (no escape) counts as the budget.

    Every run is observed up to the budget, so their mean is the restricted mean, the area under the
    Kaplan-Meier curve.
    """
    values = np.asarray(steps, dtype=np.float64)
    return np.where(np.isnan(values), budget, np.minimum(values, budget))


def least_budget(n_steps: ArrayLike) -> float:
    """The step up to which every one of some runs was watched; NaN if none is known."""
    known = np.asarray(n_steps, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.min()) if len(known) else math.nan
