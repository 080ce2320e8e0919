"""The lexicon and the language model of a data set, made once and shared by all runs on it."""

from collections.abc import Sequence
from pathlib import Path

from decoder.atomic import sha256_of
from decoder.data.files import Say, hash_files, silent
from decoder.data.recordings import Problems
from decoder.data.sentences import words_of_sentence
from decoder.errors import DataError
from decoder.words.beam import SearchSpace
from decoder.words.evaluate import WordResources
from decoder.words.lexicon import lexicon_sha256, load_lexicon
from decoder.words.ngram import KneserNey

NO_MODEL, OF_TRAINING = "none", "train"
_MODELS_DIR = ".language-models"
_VERSION = 1  # incremented whenever a change of `KneserNey` changes its files


def load_resources(
    *,
    lexicon: str,
    language_model: str,
    order: int,
    folder: Path | None,
    training: Sequence[str | None],
    datasets_dir: Path,
    say: Say = silent,
) -> WordResources:
    """Load what decoding to words needs; estimate and write the language model if it is new.

    Args:
        lexicon: see `decoder.words.lexicon.load_lexicon`.
        language_model: ``none``; ``train`` estimates interpolated Kneser-Ney from the training
            sentences alone; anything else is the path of an ARPA file or a binary of KenLM.
        order: words of an n-gram that is estimated.
        folder: of the recordings, for the pronunciations beside them.
        training: the sentences to learn from: of the training trials of all sessions that are not
            held out, whatever share of them trains; None where one is not known.
        datasets_dir: keeps estimated models and digests.
        say: receives a line about each slow step.

    Raises:
        DataError: the lexicon or the model cannot be used, there are no training sentences to
            estimate one from, or flashlight-text is not installed.
        StorageError: `datasets_dir` cannot be written.
    """
    sentences = [words_of_sentence(one) for one in training if one is not None]
    sentences = [words for words in sentences if words]
    problems = Problems()
    spoken = {word for words in sentences for word in words}
    words = load_lexicon(lexicon, folder, problems, spoken)
    problems.raise_if_any()
    facts: dict[str, str | int | None] = {
        "lexicon_words": len(words),
        "lexicon_sha256": lexicon_sha256(words),
        "language_model_sha256": None,
    }
    path = None
    if language_model == OF_TRAINING:
        path = ngram_file(sentences, order, len(set(words) - spoken), datasets_dir, say)
        facts |= {"ngram_order": order, "training_sentences": len(sentences)}
    elif language_model != NO_MODEL:
        path = Path(language_model).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: is no file, but must be an ARPA file or a binary of KenLM")
    if path is not None:
        [facts["language_model_sha256"]] = hash_files(
            path.parent, [path], datasets_dir, say
        ).values()
    return WordResources(words, path, SearchSpace(words, path), facts)


def ngram_file(
    sentences: Sequence[Sequence[str]],
    order: int,
    n_unknown: int,
    datasets_dir: Path,
    say: Say = silent,
) -> Path:
    """The ARPA file of sentences, written the first time.

    Its name holds a hash of the sentences, in any order, and of the other arguments. Processes that
    write it at the same time write the same.

    Args:
        sentences: their words.
        order, n_unknown: see `decoder.words.ngram.KneserNey`.
        datasets_dir: the file is in a folder of it.
        say: receives a line before a model is estimated.

    Raises:
        DataError: there are no sentences, or one holds a mark of ARPA files.
        StorageError: the file cannot be written.
    """
    if not sentences:
        raise DataError(
            "no training sentence is known, so no language model can be estimated; set the "
            "language model to 'none' or to a file, or use recordings with sentences"
        )
    lines = sorted(" ".join(words) for words in sentences)
    key = sha256_of("\n".join([f"{_VERSION} {order} {n_unknown}", *lines]).encode())[:16]
    path = datasets_dir / _MODELS_DIR / f"{key}.arpa"
    if not path.is_file():
        say(f"estimating a {order}-gram of {len(sentences):,} training sentences")
        KneserNey(sentences, order, n_unknown=n_unknown).write_arpa(path)
    return path
