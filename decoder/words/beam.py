"""Words from log-posteriors: a lexicon, a language model and the beam search of flashlight-text.

A candidate scores the log-probability of its best alignment, plus `lm_weight` times the natural
logarithm of the language model's probability of its sentence, plus `word_score` for each word. An
alignment is one of CTC. Any number of separators may stand before, between and after words, and
none need to: where a separator may stand, blanks may. flashlight's search cannot hold a phoneme
once a word is complete, and asks for no blank before a repeated last phoneme, so of the alignments
in which a word follows another without a frame of blank or separator between them it leaves out

- those in which the last phoneme of the first word has two frames or more;
- all, if the first word ends in the same phoneme twice, as ``murderer`` does.

A decoder that was trained with a separator after each word, as both public ones, rarely needs them
(benchmarks/README.md). With a separator or blank between words, or after the last one, every
alignment is searched.

Of words that sound the same, the search keeps the `_MOST_HOMOPHONES` most likely by the language
model alone, in the order of the alphabet where that is equal; the others are never found. Of
those that it does not know, and of all without a model, only the first of the alphabet is kept,
since candidates of the same score are pruned by their place in memory, which no two searches share.
Of the 114,907 pronunciations in CMUdict, 121 belong to more words than the search can keep.
"""

import math
import os
import re
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.data.pronunciation import Phonemes
from decoder.errors import DataError
from decoder.phonemes import BLANK, N_CLASSES, SEPARATOR_ID

_MOST_HOMOPHONES = 6  # that a node of flashlight's trie holds
_PROGRESS = re.compile(rb"Loading the LM will be faster|Reading .*arpa|----5---10|\*+\s*$")
_ONE_AT_A_TIME = threading.Lock()
_UNKNOWN = "<no word of the lexicon>"
_LARGEST_TIE = 1e-5  # natural logarithm, of a word
_LOG10 = math.log(10)  # KenLM's scores are logarithms of base 10


class BeamSettings(NamedTuple):
    """How the search weighs and prunes.

    The defaults of pruning make a wide beam several times as fast, and cost no word of what was
    measured (benchmarks/README.md).

    Attributes:
        width: candidates kept after each frame.
        lm_weight: of the natural logarithm of the language model's probability.
        word_score: natural logarithm, added for each word.
        blank_penalty: natural logarithm, subtracted from the blank's log-posterior at each frame.
        threshold: candidates whose score is this far below the best one are dropped.
        classes_per_frame: most likely classes that are tried at each frame; None tries all.
    """

    width: int = 50
    lm_weight: float = 1.0
    word_score: float = 0.0
    blank_penalty: float = 0.0
    threshold: float = 25.0
    classes_per_frame: int | None = 10


class Candidate(NamedTuple):
    """Words, and the score they were found with.

    Attributes:
        words: in their order.
        score: ``emission + lm_weight * language + word_score * len(words)``.
        emission: the best alignment's natural logarithm, with the penalty of blanks.
        language: the natural logarithm of the sentence by the language model; 0 without one.
    """

    words: tuple[str, ...]
    score: float
    emission: float
    language: float


class SearchSpace:
    """What a search moves in, whatever its settings: a lexicon and a language model.

    Args:
        lexicon: word → its pronunciations, from `load_lexicon`.
        language_model: an ARPA file or a binary of KenLM; None for none, and then `lm_weight` has
            no effect.

    Raises:
        DataError: flashlight-text is not installed, the lexicon is empty, or the file is no
            language model.
    """

    def __init__(
        self, lexicon: Mapping[str, Sequence[Phonemes]], language_model: Path | None = None
    ) -> None:
        if not lexicon:
            raise DataError("the lexicon of words is empty; it must hold at least one word")
        self.words = sorted(lexicon)
        self.has_model = language_model is not None
        self.model = _model(language_model, self.words)
        self.trie = _trie(_flashlight(), lexicon, self.words, self.model, self.has_model)


class WordDecoder:
    """Decodes trials to words.

    Args:
        space: may be shared by many decoders.
        settings: of the search.
    """

    def __init__(self, space: SearchSpace, settings: BeamSettings) -> None:
        library = _flashlight()
        # Kept here because the search refers to its model without owning it.
        self._space, self._settings = space, settings
        options = library.LexiconDecoderOptions(
            beam_size=settings.width,
            beam_size_token=settings.classes_per_frame or N_CLASSES,
            beam_threshold=settings.threshold,
            lm_weight=settings.lm_weight * _LOG10 if space.has_model else 1.0,
            word_score=settings.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=library.CriterionType.CTC,
        )
        self._search = library.LexiconDecoder(
            options, space.trie, space.model, SEPARATOR_ID, BLANK, -1, [], False
        )

    def decode(self, log_probs: NDArray[np.floating], n_best: int = 1) -> list[Candidate]:
        """The best candidates of a trial, best first, each sequence of words once.

        Args:
            log_probs: (T, 41) log-posteriors of the valid frames.
            n_best: at most this many; no more than the width of the beam come out.

        Raises:
            ValueError: another shape, or not a number among them.
        """
        if log_probs.ndim != 2 or log_probs.shape[1] != N_CLASSES or np.isnan(log_probs).any():
            raise ValueError(
                f"log-posteriors must be (T, {N_CLASSES}) numbers, but got {log_probs.shape}"
                f"{' with NaN' if np.isnan(log_probs).any() else ''}"
            )
        emissions = _emissions(log_probs, self._settings.blank_penalty)
        found: dict[tuple[str, ...], Candidate] = {}
        for result in self._search.decode(emissions.ctypes.data, *emissions.shape):
            words = tuple(self._space.words[i] for i in result.words if i >= 0)
            language = result.lmScore * _LOG10 if self._space.has_model else 0.0
            parts = (result.score, result.emittingModelScore, language)
            found.setdefault(words, Candidate(words, *map(float, parts)))
        # flashlight orders what scores the same by its place in memory.
        return sorted(found.values(), key=lambda one: (-one.score, one.words))[:n_best]


def _emissions(log_probs: NDArray[np.floating], blank_penalty: float) -> NDArray[np.float32]:
    """(T + 1, 41): the separator may be a blank, and a last frame completes the last word."""
    frames = np.array(log_probs, np.float32)
    frames[:, BLANK] -= blank_penalty
    frames[:, SEPARATOR_ID] = frames[:, [BLANK, SEPARATOR_ID]].max(1)
    last = np.full((1, N_CLASSES), -1e6, np.float32)
    last[:, [BLANK, SEPARATOR_ID]] = 0.0
    return np.ascontiguousarray(np.concatenate([np.maximum(frames, -1e6), last]))


def _trie(
    library: Any,
    lexicon: Mapping[str, Sequence[Phonemes]],
    words: Sequence[str],
    model: Any,
    has_model: bool,
) -> Any:
    trie = library.Trie(N_CLASSES, SEPARATOR_ID)
    start = model.start(False)
    alone = [float(model.score(start, i)[1]) for i in range(len(words))]
    of_unknown = float(model.score(start, len(words))[1])
    known = [has_model and score != of_unknown for score in alone]
    if has_model and not any(known):
        raise DataError(
            f"the language model knows none of the {len(words):,} words of the lexicon, such as "
            f"'{words[0]}'; its words must be in small letters, as those of the lexicon"
        )
    n_alike: dict[Phonemes, int] = {}
    of_unknown_words: set[Phonemes] = set()
    for i in sorted(range(len(words)), key=lambda i: (-alone[i] if has_model else 0.0, i)):
        for spoken in lexicon[words[i]]:
            n_alike[spoken] = n_alike.get(spoken, 0) + 1
            if not spoken or n_alike[spoken] > _MOST_HOMOPHONES:
                continue
            # Nothing tells the words apart that no model knows; sentences of them score the same.
            if not known[i] and spoken in of_unknown_words:
                continue
            if not known[i]:
                of_unknown_words.add(spoken)
            trie.insert([*spoken, SEPARATOR_ID], i, alone[i])
            # Complete with the last phoneme's first frame, so that the next word can follow at
            # once. flashlight does not ask for a blank before a repeated last phoneme.
            if len(spoken) == 1 or spoken[-1] != spoken[-2]:
                trie.insert(list(spoken), i, alone[i])
    trie.smear(library.SmearingMode.MAX)
    return trie


def _model(path: Path | None, words: Sequence[str]) -> Any:
    if path is None:
        _flashlight()
        with tempfile.TemporaryDirectory(prefix="words-") as folder:
            return _model(_tie_breaker(words, Path(folder) / "words.arpa"), words)
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    try:
        with _without_progress():
            return KenLM(str(path), Dictionary([*words, _UNKNOWN]))
    except (RuntimeError, OSError) as error:
        said = str(error).rpartition(" threw ")[2]  # not where in its own source files
        raise DataError(
            f"{path}: must be an ARPA file or a binary of KenLM, but KenLM says: {said}"
        ) from None


def _tie_breaker(words: Sequence[str], path: Path) -> Path:
    """Write a model that gives each word a score of its own, all nearly 0.

    The same sounds cut into other words would else score the same, and flashlight prunes what does
    by its place in memory, which no two searches share.
    """
    shares = [zlib.crc32(word.encode()) / 2**32 for word in words]
    unigrams = [f"{-_LARGEST_TIE * x:.9e}\t{w}\t0" for x, w in zip(shares, words, strict=True)]
    # KenLM reads no model without bigrams.
    path.write_text(
        f"\\data\\\nngram 1={len(words) + 3}\nngram 2=1\n\n\\1-grams:\n"
        "-99\t<s>\t0\n0\t</s>\t0\n0\t<unk>\t0\n"
        + "\n".join(unigrams)
        + "\n\n\\2-grams:\n0\t<s> </s>\n\n\\end\\\n",
        encoding="utf-8",
    )
    return path


@contextmanager
def _without_progress() -> Iterator[None]:
    """Keep KenLM's progress, which it writes to file descriptor 2, out of standard error."""
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as printed:
        try:
            before = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            os.dup2(printed.fileno(), 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            printed.seek(0)
            lines = printed.read().splitlines(keepends=True)
            with suppress(OSError):
                os.write(2, b"".join(line for line in lines if not _PROGRESS.match(line)))


def _flashlight() -> Any:
    try:
        import flashlight.lib.text.decoder as library
    except ImportError:
        raise DataError(
            "decoding to words needs flashlight-text, which is not installed: "
            "pip install 'speech-bci-sweeps[words]' (on Python 3.11 or 3.12; for later versions it "
            "must be built from its source)"
        ) from None
    return library
