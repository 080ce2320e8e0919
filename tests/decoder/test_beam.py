"""Prefix beam search, compared with the sum over all alignments and with hand-worked cases."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.beam import prefix_beam_search

Probabilities = list[list[float]]


def summed_over_alignments(posteriors: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every sequence: the sum over all its alignments."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(posteriors.shape[1]), repeat=len(posteriors)):
        merged = [c for i, c in enumerate(path) if i == 0 or path[i - 1] != c]
        sequence = tuple(c for c in merged if c != 0)
        probability = math.prod(posteriors[p, c] for p, c in enumerate(path))
        sums[sequence] = sums.get(sequence, 0.0) + float(probability)
    return sums


@st.composite
def posteriors_of_few_patches(draw: st.DrawFn) -> np.ndarray:
    P, C = draw(st.integers(1, 5)), draw(st.integers(2, 3))
    weights = draw(st.lists(st.integers(0, 20), min_size=P * C, max_size=P * C))
    table = np.array(weights, float).reshape(P, C)
    table[:, draw(st.integers(0, C - 1))] += 1
    return np.asarray(table / table.sum(1, keepdims=True))


@settings(max_examples=150, deadline=None)
@given(posteriors=posteriors_of_few_patches())
def test_a_beam_that_keeps_every_prefix_gives_the_exact_probabilities(
    posteriors: np.ndarray,
) -> None:
    expected = {s: p for s, p in summed_over_alignments(posteriors).items() if p > 0}
    with np.errstate(divide="ignore"):
        found = prefix_beam_search(np.log(posteriors), width=200)
    assert {h.classes for h in found} == set(expected)
    for hypothesis in found:
        assert math.exp(hypothesis.log_probability) == pytest.approx(expected[hypothesis.classes])
    assert math.exp(found[0].log_probability) == pytest.approx(max(expected.values()))


@settings(max_examples=60, deadline=None)
@given(posteriors=posteriors_of_few_patches(), width=st.integers(1, 6))
def test_a_narrow_beam_gives_lower_bounds_sorted_and_at_most_its_width(
    posteriors: np.ndarray, width: int
) -> None:
    expected = summed_over_alignments(posteriors)
    with np.errstate(divide="ignore"):
        found = prefix_beam_search(np.log(posteriors), width)
    assert 1 <= len(found) <= width
    assert len({h.classes for h in found}) == len(found)
    logs = [h.log_probability for h in found]
    assert logs == sorted(logs, reverse=True)
    for hypothesis in found:
        assert math.exp(hypothesis.log_probability) <= expected[hypothesis.classes] + 1e-12


def test_many_alignments_of_one_sequence_beat_the_most_likely_alignment() -> None:
    """Greedy emits nothing (0.36), but the alignments of (1,) sum to 0.24 + 0.24 + 0.16."""
    posteriors = np.array([[0.6, 0.4], [0.6, 0.4]])
    best, second = prefix_beam_search(np.log(posteriors), 4)
    assert best.classes == (1,) and math.exp(best.log_probability) == pytest.approx(0.64)
    assert second.classes == () and math.exp(second.log_probability) == pytest.approx(0.36)


def test_a_repeat_needs_a_blank_in_between() -> None:
    certain = np.full((3, 2), 1e-9)
    certain[[0, 1, 2], [1, 0, 1]] = 1.0
    assert prefix_beam_search(np.log(certain), 4)[0].classes == (1, 1)
    certain = np.full((3, 2), 1e-9)
    certain[:, 1] = 1.0
    assert prefix_beam_search(np.log(certain), 4)[0].classes == (1,)


def test_no_patches_give_the_empty_sequence() -> None:
    assert prefix_beam_search(np.zeros((0, 5)), 3) == [((), 0.0)]
