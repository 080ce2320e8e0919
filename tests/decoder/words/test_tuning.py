"""The choice of weights, by hand and by an exhaustive ranking."""

import itertools
import math

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from decoder.words.beam import Candidate
from decoder.words.tuning import (
    BLANK_PENALTIES,
    LM_WEIGHTS,
    N_ROUNDS,
    START,
    WORD_SCORES,
    Grid,
    Weights,
    choose_weights,
)


def candidate(words: str, emission: float, language: float) -> Candidate:
    return Candidate(tuple(words.split()), math.nan, emission, language)


class Decoder:
    """Gives fixed candidates, and counts its searches."""

    def __init__(self, found: dict[float, list[list[Candidate]]]) -> None:
        self.found, self.searched = found, list[Weights]()

    def __call__(self, weights: Weights) -> list[list[Candidate]]:
        self.searched.append(weights)
        return self.found[weights.blank_penalty]


def test_the_values_hold_the_start() -> None:
    assert Grid().start == START
    assert Grid().size == len(LM_WEIGHTS) * len(WORD_SCORES) * len(BLANK_PENALTIES)


def test_a_language_model_that_misleads_gets_less_weight() -> None:
    # The wrong sentence wins where 2 + (-1) * lm_weight < 0, that is above 2.
    found = [[candidate("right", -1, -3), candidate("wrong", -3, -2)]]
    for penalty in (0.0, 1.0):
        grid = Grid((1.0, 3.0, 5.0), (0.0,), (penalty,))
        assert grid.start == (1.0, 0.0, penalty)
        assert choose_weights(Decoder({penalty: found}), [["right"]], grid).lm_weight == 1.0
    late = Grid((3.0, 1.0), (0.0,), (0.0,))
    assert choose_weights(Decoder({0.0: found}), [["right"]], late).lm_weight == 1.0


def test_of_equal_weights_the_nearest_to_the_start_is_chosen() -> None:
    found = {one: [[candidate("a", -1.0, -1.0)]] for one in BLANK_PENALTIES}
    assert choose_weights(Decoder(found), [["b"]], Grid()) == START
    assert choose_weights(Decoder({}), [], Grid()) == START


def test_stated_weights_need_no_search() -> None:
    decoder = Decoder({})
    stated = Grid((1.5,), (-0.5,), (0.25,))
    assert choose_weights(decoder, [["a"]], stated) == (1.5, -0.5, 0.25)
    assert decoder.searched == []


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_has_the_fewest_edits_and_costs_the_same_whatever_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    references = [list(rng.choice(list("abc"), 3)) for _ in range(6)]
    found = {
        penalty: [
            [
                candidate(
                    " ".join(rng.choice(list("abc"), rng.integers(1, 5))), *rng.normal(0, 3, 2)
                )
                for _ in range(8)
            ]
            for _ in references
        ]
        for penalty in BLANK_PENALTIES
    }

    def edits(weights: Weights) -> int:
        total = 0
        for reference, some in zip(references, found[weights.blank_penalty], strict=True):
            merged: dict[tuple[str, ...], Candidate] = {}
            for one in some:
                if one.words not in merged or one.emission > merged[one.words].emission:
                    merged[one.words] = one
            best = max(
                merged.values(),
                key=lambda one: (
                    one.emission
                    + weights.lm_weight * one.language
                    + weights.word_score * len(one.words)
                ),
            )
            total += Levenshtein.distance(reference, list(best.words))
        return total

    decoder = Decoder(found)
    chosen = choose_weights(decoder, references, Grid())
    assert edits(chosen) == min(edits(Weights(*one)) for one in itertools.product(*Grid()))
    assert len(decoder.searched) == N_ROUNDS * len(BLANK_PENALTIES)


def test_the_second_search_is_with_the_weights_that_the_first_led_to() -> None:
    first = [[candidate("wrong", -1, -9), candidate("right", -1.5, -1)]]
    second = [[candidate("wrong", -1, -9), candidate("far", -50, 0)]]

    class Changing(Decoder):
        def __call__(self, weights: Weights) -> list[list[Candidate]]:
            self.searched.append(weights)
            return first if len(self.searched) == 1 else second

    decoder = Changing({})
    chosen = choose_weights(decoder, [["right"]], Grid((0.0, 5.0), (0.0,), (0.0,)))
    assert decoder.searched == [(0.0, 0.0, 0.0), (5.0, 0.0, 0.0)]
    assert chosen.lm_weight == 5.0  # because the candidates of the first search still count
