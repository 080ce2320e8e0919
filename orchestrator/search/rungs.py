"""Early stopping as arithmetic: the rungs of a budget, the brackets, and who is trained on.

ASHA: Li et al., A system for massively parallel hyperparameter tuning (2020); Hyperband: Li et
al. (2018). Here a whole batch reaches a rung together, so who goes on is decided once for the
batch, against everything seen at that rung before, and the same records decide the same.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.search.schema import Stopping


class Bracket(NamedTuple):
    """A sequence of rungs.

    Attributes:
        number: 0 for the bracket that begins earliest.
        rungs: steps at which candidates are judged, ascending, all below the budget.
        share: of the candidates, those that it gets.
    """

    number: int
    rungs: tuple[int, ...]
    share: float


def brackets_of(stopping: Stopping, n_steps: int, eval_every_steps: int) -> tuple[Bracket, ...]:
    """The brackets of a search; one without rungs where nothing is stopped.

    A rung is at the first evaluation at or after ``min_steps * reduction_factor ** k``. Shares
    are those of Hyperband, by which every bracket gets about the same number of steps.

    Args:
        stopping: of the search file.
        n_steps: the full budget of a run.
        eval_every_steps: rhythm of its evaluations.
    """
    if stopping.min_steps is None:
        return (Bracket(0, (), 1.0),)
    rungs: list[int] = []
    step = stopping.min_steps
    while (at := math.ceil(step / eval_every_steps) * eval_every_steps) < n_steps:
        rungs += [at] if at not in rungs else []
        step *= stopping.reduction_factor
    if stopping.method == "asha":
        return (Bracket(0, tuple(rungs), 1.0),)
    last = len(rungs)
    sizes = [
        math.ceil((last + 1) / (last - k + 1) * stopping.reduction_factor ** (last - k))
        for k in range(last + 1)
    ]
    return tuple(Bracket(k, tuple(rungs[k:]), sizes[k] / sum(sizes)) for k in range(last + 1))


def next_bracket(brackets: Sequence[Bracket], taken: Mapping[int, int]) -> Bracket:
    """The bracket of the next batch: the one furthest behind its share.

    Args:
        brackets: of the search.
        taken: bracket number → candidates it has had.
    """
    return min(brackets, key=lambda b: (taken.get(b.number, 0) / b.share, b.number))


def survivors(
    batch: Mapping[int, float], seen: Sequence[float], reduction_factor: int, sign: int
) -> frozenset[int]:
    """The candidates of a batch that are trained on.

    Those among the best 1/`reduction_factor` of all that were seen at the rung, rounded up so
    that the first ones have a chance. Ties go to the candidate proposed first.

    Args:
        batch: candidate → its figure at the rung.
        seen: figures of all earlier candidates at the rung, stopped ones included.
        reduction_factor: one in so many goes on.
        sign: +1 where smaller is better, -1 where larger is.
    """
    n_kept = math.ceil((len(batch) + len(seen)) / reduction_factor)
    ranked = sorted(
        [(sign * value, 0, -1) for value in seen]
        + [(sign * value, 1, number) for number, value in batch.items()]
    )
    return frozenset(number for _, _, number in ranked[:n_kept] if number >= 0)


def expected_share(bracket: Bracket, n_steps: int, reduction_factor: int) -> float:
    """Share of the full budget that a candidate of a bracket takes in the mean."""
    steps, kept, total = 0, 1.0, 0.0
    for rung in (*bracket.rungs, n_steps):
        total += kept * (rung - steps)
        steps, kept = rung, kept / reduction_factor
    return total / n_steps
