"""Kneser-Ney against nltk.lm, and its ARPA file in KenLM."""

import math
import random
from pathlib import Path

import pytest
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams

from decoder.errors import DataError
from decoder.words.ngram import END, START, UNKNOWN, KneserNey


def sentences(seed: int, n: int = 30) -> list[list[str]]:
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(8)]
    weights = [1 / (i + 1) for i in range(8)]
    return [rng.choices(words, weights, k=rng.randint(1, 6)) for _ in range(n)]


def nltk_model(texts: list[list[str]], order: int, discount: float) -> KneserNeyInterpolated:
    grams = []
    for text in texts:
        padded = [START] * (order - 1) + [*text, END]
        # A start is never predicted.
        grams.append([g for g in everygrams(padded, max_len=order) if g[-1] != START])
    model = KneserNeyInterpolated(order, discount)
    model.fit(grams, [w for text in texts for w in (*text, END, START)])
    return model


def nltk_score(model: KneserNeyInterpolated, order: int, text: list[str]) -> float:
    padded = [START] * (order - 1) + [*text, END]
    return sum(
        math.log(model.score(padded[i], padded[i - order + 1 : i]))
        for i in range(order - 1, len(padded))
    )


def kenlm_score(path: Path, words: list[str], text: list[str]) -> float:
    dictionary = pytest.importorskip("flashlight.lib.text.dictionary").Dictionary(words)
    model = pytest.importorskip("flashlight.lib.text.decoder.kenlm").KenLM(str(path), dictionary)
    state, total = model.start(False), 0.0
    for word in text:
        state, score = model.score(state, dictionary.get_index(word))
        total += score
    return (total + model.finish(state)[1]) * math.log(10)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_sentence_scores_are_those_of_nltk_also_through_the_arpa_file_in_kenlm(
    order: int, discount: float, tmp_path: Path
) -> None:
    texts = sentences(seed=order)
    ours, theirs = KneserNey(texts, order, discount), nltk_model(texts, order, discount)
    path = tmp_path / "model.arpa"
    ours.write_arpa(path)
    words = sorted({w for text in texts for w in text})
    for text in [*texts[:5], *sentences(seed=99, n=15)]:
        expected = nltk_score(theirs, order, text)
        assert ours.log_probability(text) == pytest.approx(expected, abs=1e-9)
        assert kenlm_score(path, words, text) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n_unknown", [0, 5])
def test_probabilities_after_any_context_sum_to_one(order: int, n_unknown: int) -> None:
    model = KneserNey(sentences(3), order, n_unknown=n_unknown)
    for context in [(), ("w0",), ("w7", "w0"), (START,) * (order - 1), ("never", "w1")]:
        total = sum(model.probability(word, context) for word in model.vocabulary)
        total += n_unknown * model.probability(UNKNOWN, context)
        assert total == pytest.approx(1)


def test_an_unknown_word_has_a_probability_in_kenlm(tmp_path: Path) -> None:
    model = KneserNey(sentences(4), 3, n_unknown=10)
    model.write_arpa(tmp_path / "model.arpa")
    text = ["w0", "elsewhere", "w1", "w2"]
    found = kenlm_score(tmp_path / "model.arpa", ["w0", "w1", "w2", "elsewhere"], text)
    assert found == pytest.approx(model.log_probability(text), abs=1e-4)


def test_a_bigram_by_hand() -> None:
    model = KneserNey([["a", "b"], ["a"]], 2, discount=0.5)
    # Kinds of bigrams: <s> a, a b, b </s>, a </s>; so 1, 1 and 2 of 4 for a, b and the end.
    assert model.probability("b") == 0.25
    assert model.probability("b", ("a",)) == (1 - 0.5) / 2 + 0.5 * 2 / 2 * 0.25
    assert KneserNey([["a", "b"], ["a"]], 2, discount=0.5).arpa() == model.arpa()


def test_what_no_model_can_be_made_from_is_refused() -> None:
    with pytest.raises(DataError):
        KneserNey([], 2)
    with pytest.raises(DataError, match="</s>"):
        KneserNey([["a", "</s>"]], 2)
    with pytest.raises(ValueError, match="discount"):
        KneserNey([["a"]], 2, discount=1.0)
