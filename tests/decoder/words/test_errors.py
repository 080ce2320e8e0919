"""Word errors as sums, against jiwer."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.words.errors import WordErrors, combined, sentence_errors

SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=7)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=5))
def test_edits_and_wer_over_sentences_are_those_of_jiwer(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    found = combined(sentence_errors(r, [h], {"a", "b"}) for r, h in pairs)
    expected = jiwer.process_words([" ".join(r) for r, _ in pairs], [" ".join(h) for _, h in pairs])
    assert found.n_edits == expected.substitutions + expected.deletions + expected.insertions
    assert found.n_insertions - found.n_deletions == expected.insertions - expected.deletions
    assert found.wer == pytest.approx(expected.wer)
    assert found.n_sentences == len(pairs)
    assert found.n_out_of_vocabulary == sum(w in "cd" for r, _ in pairs for w in r)


def test_the_oracle_takes_the_best_candidate_and_no_candidate_deletes_all() -> None:
    two = sentence_errors(["a", "b"], [["a", "c", "d"], ["a"]], {"a", "b"})
    assert two == WordErrors(1, 2, 1, 0, 1, 1, 0)
    none = sentence_errors(["a", "b"], [], {"a"})
    assert none == WordErrors(1, 2, 0, 2, 0, 2, 1)
    total = combined([two, none])
    assert (total.wer, total.wer_oracle, total.out_of_vocabulary) == (1.0, 0.75, 0.25)


def test_no_words_have_no_rate() -> None:
    assert WordErrors().wer != WordErrors().wer


def test_what_the_lexicon_lacks_is_unknown_in_a_sum_with_an_unknown_part() -> None:
    known, unknown = sentence_errors(["a"], [["a"]], {"a"}), sentence_errors(["a"], [["b"]], None)
    total = combined([known, unknown])
    assert (total.n_out_of_vocabulary, total.n_edits, total.n_reference) == (None, 1, 2)
    assert total.out_of_vocabulary != total.out_of_vocabulary
