"""The rule that chooses the weights of the search to words.

As for the weights of machine translation (Och 2003, "Minimum error rate training in statistical
machine translation"): the search gives several candidates of each trial, and those of all rounds
are ranked again under every combination of weights, which needs no further search. The combination
with the fewest word edits is kept. A blank penalty changes alignments, so each has searches of its
own. Every run searches `N_ROUNDS` times with each penalty over the same trials, so no arm is tuned
harder than another.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from decoder.words.beam import Candidate

N_ROUNDS = 2


class Weights(NamedTuple):
    """What the search adds up; see `decoder.words.beam.BeamSettings`."""

    lm_weight: float
    word_score: float
    blank_penalty: float


# log 7 is the blank penalty of the public T12 evaluation, log 90 that of the T15 one. Their
# acoustic scales, .5 and .325, are language-model weights of 2 and 3.1.
START = Weights(2.0, 0.0, math.log(7))
LM_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
WORD_SCORES = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
BLANK_PENALTIES = (0.0, math.log(7), math.log(90))

# Weights → the candidates of each trial, best first.
Search = Callable[[Weights], Sequence[Sequence[Candidate]]]


class Grid(NamedTuple):
    """The values that are tried; one value of a weight states it."""

    lm_weights: tuple[float, ...] = LM_WEIGHTS
    word_scores: tuple[float, ...] = WORD_SCORES
    blank_penalties: tuple[float, ...] = BLANK_PENALTIES

    @property
    def size(self) -> int:
        """Combinations of weights."""
        return len(self.lm_weights) * len(self.word_scores) * len(self.blank_penalties)

    @property
    def start(self) -> Weights:
        """Where the search begins: of each weight the value that is nearest to `START`."""
        nearest = (min(v, key=lambda x: abs(x - s)) for v, s in zip(self, START, strict=True))
        return Weights(*nearest)


def choose_weights(search: Search, references: Sequence[Sequence[str]], grid: Grid) -> Weights:
    """The weights of a grid with the fewest word edits over some trials.

    Of equal ones, the nearest to `Grid.start` is chosen, counted in steps of the grid.

    Args:
        search: decodes the trials.
        references: the words of each trial.
        grid: the values to choose from.
    """
    if grid.size == 1 or not references:
        return grid.start
    best: list[tuple[int, int, Weights]] = []
    for penalty in grid.blank_penalties:
        pool = _Pool(references)
        weights = grid.start._replace(blank_penalty=penalty)
        for _ in range(N_ROUNDS):
            pool.add(search(weights))
            edits, distance, weights = min(pool.rank(grid, penalty))
        best.append((edits, distance, weights))
    return min(best)[-1]


class _Pool:
    """The candidates of each trial under one blank penalty, from all rounds."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._references = [list(words) for words in references]
        self._found: list[dict[tuple[str, ...], Candidate]] = [{} for _ in references]

    def add(self, candidates: Sequence[Sequence[Candidate]]) -> None:
        for found, some in zip(self._found, candidates, strict=True):
            for one in some:
                before = found.get(one.words)
                if before is None or one.emission > before.emission:
                    found[one.words] = one

    def rank(self, grid: Grid, penalty: float) -> list[tuple[int, int, Weights]]:
        """(edits, steps from the start, weights) of each combination under a penalty."""
        settings = [Weights(lm, ws, penalty) for lm in grid.lm_weights for ws in grid.word_scores]
        factors = np.array([[1.0, s.lm_weight, s.word_score] for s in settings])  # (G, 3)
        edits = np.zeros(len(settings), np.int64)
        for reference, found in zip(self._references, self._found, strict=True):
            edits += _edits(reference, list(found.values()), factors)
        return [(int(n), _steps(grid, one), one) for n, one in zip(edits, settings, strict=True)]


def _edits(
    reference: list[str], candidates: Sequence[Candidate], factors: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(G,) word edits of the best candidate under each combination. factors: (G, 3)."""
    if not candidates:
        return np.full(len(factors), len(reference), np.int64)
    parts = np.array([[one.emission, one.language, len(one.words)] for one in candidates])  # (N, 3)
    distances = [Levenshtein.distance(reference, list(one.words)) for one in candidates]
    best = (factors @ parts.T).argmax(1)  # (G,)
    return np.array([distances[i] for i in best], np.int64)


def _steps(grid: Grid, weights: Weights) -> int:
    return sum(
        abs(values.index(chosen) - values.index(first))
        for values, chosen, first in zip(grid, weights, grid.start, strict=True)
    )
