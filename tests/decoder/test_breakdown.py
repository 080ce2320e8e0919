"""Errors by session and phoneme, in hand-worked cases and compared with the edit distance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decoder.breakdown import Breakdown, aligned_pairs
from decoder.ctc import edit_distance
from decoder.training_sections import EvaluationConfig


def test_pairs_by_hand() -> None:
    assert aligned_pairs([1, 2, 3], [1, 3]) == [(1, 1), (2, 0), (3, 3)]
    assert aligned_pairs([1, 2], [1, 3, 2]) == [(1, 1), (0, 3), (2, 2)]
    assert aligned_pairs([1, 2, 3], [1, 4, 3]) == [(1, 1), (2, 4), (3, 3)]
    assert aligned_pairs([1, 2], []) == [(1, 0), (2, 0)]


@given(
    target=st.lists(st.integers(1, 4), max_size=9), emitted=st.lists(st.integers(1, 4), max_size=9)
)
def test_pairs_contain_both_sequences_and_differ_as_often_as_there_are_edits(
    target: list[int], emitted: list[int]
) -> None:
    pairs = aligned_pairs(target, emitted)
    assert [a for a, _ in pairs if a] == target
    assert [b for _, b in pairs if b] == emitted
    assert sum(a != b for a, b in pairs) == edit_distance(emitted, target)


def test_sums_by_session_and_phoneme_skip_trials_without_target() -> None:
    breakdown = Breakdown(EvaluationConfig())
    breakdown.add([1, 2], [1, 3], 2)
    breakdown.add([1], [1, 1], 2)
    breakdown.add([4], [4], 0)
    breakdown.add([], [3], 1)
    assert breakdown.per_session(["a", "b", "c"]) == {"a": (0, 1), "c": (2, 3)}
    assert sum(breakdown.edits.values()) == 2
    assert (2, 3, 1) in breakdown.confusion_counts()
    assert (0, 1, 1) in breakdown.confusion_counts()
    assert breakdown.beam() == {}


def test_beam_search_counts_its_edits_separately() -> None:
    breakdown = Breakdown(EvaluationConfig(use_beam_search=True, beam_width=3))
    log_probs = np.log(np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]))  # greedy: nothing; beam: (1,)
    breakdown.add([1, 2], [], 0, log_probs)
    assert breakdown.beam() == {"per": 0.5, "n_edits": 1, "n_reference": 2, "beam_width": 3}
    assert breakdown.edits[0] == 2
