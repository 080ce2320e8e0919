"""Arithmetic of early stopping: rungs, brackets, and which candidates continue.

ASHA: Li et al., A system for massively parallel hyperparameter tuning (2020); Hyperband: Li et
al. (2018). Here all candidates of a batch reach a rung together and are compared once, with each
other and with all earlier candidates at that rung. The same records give the same decisions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from decoder.config import DecoderConfig
from orchestrator.search.schema import Stopping
from orchestrator.spec.configuration import Configuration


class Bracket(NamedTuple):
    """A sequence of rungs.

    Attributes:
        number: 0 for the bracket with the earliest first rung.
        rungs: steps at which candidates are compared, ascending, all below the budget.
        share: its share of the candidates.
    """

    number: int
    rungs: tuple[int, ...]
    share: float


NO_BRACKET = Bracket(0, (), 1.0)  # nothing is stopped


def brackets_for(stopping: Stopping, config: Configuration) -> tuple[Bracket, ...]:
    """The brackets of runs like this one; a command cannot be stopped at a rung."""
    if not isinstance(config, DecoderConfig):
        return (NO_BRACKET,)
    return brackets_of(stopping, config.train.n_steps, config.train.eval_every_steps)


def brackets_of(stopping: Stopping, n_steps: int, eval_every_steps: int) -> tuple[Bracket, ...]:
    """The brackets of a search; a single one without rungs if nothing is stopped.

    Rung k is the first evaluation at or after ``min_steps * reduction_factor ** k``. Brackets
    share the candidates as in Hyperband, which gives each about the same number of steps.
    `n_steps` is the full budget of a run.
    """
    if stopping.min_steps is None:
        return (NO_BRACKET,)
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
    """The bracket of the next batch: the one that is furthest below its share.

    Args:
        brackets: of the search.
        taken: bracket number → candidates it had so far.
    """
    return min(brackets, key=lambda b: (taken.get(b.number, 0) / b.share, b.number))


def survivors(
    batch: Mapping[int, float], seen: Sequence[float], reduction_factor: int, sign: int
) -> frozenset[int]:
    """The candidates of a batch that continue after a rung.

    A candidate continues if it is among the best 1/`reduction_factor` of all candidates at the
    rung so far. Their number is rounded up, and of equal scores the earlier candidate's is
    better.

    Args:
        batch: candidate → its score at the rung.
        seen: scores of all earlier candidates at the rung, stopped ones included.
        reduction_factor: one candidate in this many continues.
        sign: +1 if a smaller score is better, else -1.
    """
    n_kept = math.ceil((len(batch) + len(seen)) / reduction_factor)
    ranked = sorted(
        [(sign * value, 0, -1) for value in seen]
        + [(sign * value, 1, number) for number, value in batch.items()]
    )
    return frozenset(number for _, _, number in ranked[:n_kept] if number >= 0)


def expected_share(bracket: Bracket, n_steps: int, reduction_factor: int) -> float:
    """Mean share of the full budget that is spent on a candidate of a bracket."""
    steps, kept, total = 0, 1.0, 0.0
    for rung in (*bracket.rungs, n_steps):
        total += kept * (rung - steps)
        steps, kept = rung, kept / reduction_factor
    return total / n_steps
