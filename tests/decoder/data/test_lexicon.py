"""The lexicon and the sentences drawn from it."""

import numpy as np

from decoder.data.lexicon import draw_sentence, word_classes
from decoder.phonemes import BLANK, CLASSES, SEPARATOR_ID


def test_lexicon_uses_every_phoneme_and_neither_blank_nor_separator() -> None:
    used = {p for words in word_classes().values() for _, phonemes in words for p in phonemes}
    assert used == set(range(1, len(CLASSES))) - {BLANK, SEPARATOR_ID}


def test_lexicon_has_about_two_hundred_words_each_once_in_its_class() -> None:
    names = [word for words in word_classes().values() for word, _ in words]
    assert 150 <= len(set(names)) <= 300
    for words in word_classes().values():
        assert len({word for word, _ in words}) == len(words)
        assert all(phonemes for _, phonemes in words)


def test_a_word_sounds_the_same_in_every_class() -> None:
    sounds: dict[str, tuple[int, ...]] = {}
    for words in word_classes().values():
        for word, phonemes in words:
            assert sounds.setdefault(word, phonemes) == phonemes, word


def test_sentence_has_the_requested_length_and_depends_on_its_generator() -> None:
    sentence = draw_sentence(5, np.random.default_rng(1))
    assert len(sentence.text.split()) == 5
    assert sentence.labels.count(SEPARATOR_ID) == 5
    assert sentence == draw_sentence(5, np.random.default_rng(1))
    assert sentence != draw_sentence(5, np.random.default_rng(2))


def test_frequent_words_are_drawn_more_often() -> None:
    rng = np.random.default_rng(0)
    words = [w for _ in range(500) for w in draw_sentence(4, rng).text.split()]
    assert words.count("the") > words.count("five") > 0
