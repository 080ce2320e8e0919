"""Word errors of a decoder's log-posteriors: chooses weights on one half, reports the other."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.data.sentences import words_of_sentence
from decoder.words.beam import BeamSettings, Candidate, SearchSpace, WordDecoder
from decoder.words.errors import WordErrors, combined, sentence_errors
from decoder.words.halves import Place, halves_of
from decoder.words.lexicon import Lexicon
from decoder.words.tuning import Grid, Weights, choose_weights

_MOST_CANDIDATES = 100  # of a trial, for the choice of weights and the oracle
_MOST_TUNED = 300  # trials that choose the weights, so that the choice does not outlast training


class WordTrial(NamedTuple):
    """A trial to decode to words.

    Attributes:
        log_probs: (P, 41) log-posteriors of its own patches, in the order of `decoder.phonemes`; P
            may be 0.
        sentence: as recorded; None if the recording does not say.
        session, block, number: which trial it is.
    """

    log_probs: NDArray[np.floating]
    sentence: str | None
    session: str
    block: int
    number: int


class WordSettings(NamedTuple):
    """How trials are decoded to words.

    Attributes:
        beam_width: candidates kept after each frame.
        lm_weight, word_score, blank_penalty: see `decoder.words.beam.BeamSettings`; None chooses
            the value on one half of the trials.
    """

    beam_width: int = 50
    lm_weight: float | None = None
    word_score: float | None = None
    blank_penalty: float | None = None

    @property
    def is_tuned(self) -> bool:
        """Whether a weight is chosen, so that half of the trials is not reported."""
        return None in (self.lm_weight, self.word_score, self.blank_penalty)

    def stated(self, weights: Weights) -> "WordSettings":
        """The same with weights that were chosen before, as for sessions held out."""
        return self._replace(**weights._asdict())


class WordResources(NamedTuple):
    """What all runs on a data set share; see `decoder.words.resources.load_resources`.

    Attributes:
        lexicon: word → its pronunciations.
        language_model: an ARPA file or a binary of KenLM; None for none.
        space: both, made ready for the search.
        facts: plain values that identify both, for the record of a run.
    """

    lexicon: Lexicon
    language_model: Path | None
    space: SearchSpace
    facts: dict[str, str | int | None]


class WordResult(NamedTuple):
    """Word errors, and how they came about.

    Attributes:
        errors: of the reported trials.
        weights: that they were decoded with; None for a decoder of the user's.
        n_tuned: trials that chose the weights.
        n_reported: trials whose errors are counted.
        n_left_out: trials without a sentence, or with one of no words; they count nowhere.
        grid_size: combinations of weights that were compared; 1 if all are stated.
    """

    errors: WordErrors
    weights: Weights | None
    n_tuned: int
    n_reported: int
    n_left_out: int
    grid_size: int


def evaluate_words(
    trials: Sequence[WordTrial],
    settings: WordSettings,
    resources: WordResources,
    halved: Iterable[Place] | None = None,
) -> WordResult:
    """Decode trials to words and count their errors.

    If a weight is to be chosen, `halves_of` splits the trials with words: one half chooses by
    `choose_weights`, by `_MOST_TUNED` of its trials at most, evenly spread; only the other half is
    reported. With stated weights all trials are reported.

    The search of a trial holds Python's global lock, so other threads stand still meanwhile.

    Args:
        trials: in any order; those without patches, too.
        settings: of the search.
        resources: shared by all runs on the data set.
        halved: the places that are split into halves; None takes those of `trials`. Runs with the
            same ones have each trial in the same half, whichever trials they lack.
    """
    references = {i: words_of_sentence(one.sentence or "") for i, one in enumerate(trials)}
    counted = [i for i, words in references.items() if words]
    reported, tuned = tuple(counted), tuple[int, ...]()
    if settings.is_tuned:
        places = {i: Place(*trials[i][2:]) for i in counted}
        every = list(places.values() if halved is None else halved)
        half = [every[i] for i in halves_of(every).tuned]
        of_half = set(half)
        n = min(len(half), _MOST_TUNED)
        choosing = {half[i * len(half) // n] for i in range(n)}
        reported = tuple(i for i in counted if places[i] not in of_half)
        tuned = tuple(i for i in counted if places[i] in choosing)
    grid = _grid(settings, has_model=resources.language_model is not None)

    def search(positions: Sequence[int], weights: Weights) -> list[list[Candidate]]:
        beam = BeamSettings(settings.beam_width, **weights._asdict())
        decoder = WordDecoder(resources.space, beam)
        return [decoder.decode(trials[i].log_probs, _MOST_CANDIDATES) for i in positions]

    weights = choose_weights(lambda w: search(tuned, w), [references[i] for i in tuned], grid)
    found = search(reported, weights)
    errors = combined(
        sentence_errors(references[i], [one.words for one in some], resources.lexicon)
        for i, some in zip(reported, found, strict=True)
    )
    n_left_out = len(trials) - len(counted)
    return WordResult(errors, weights, len(tuned), len(reported), n_left_out, grid.size)


def _grid(settings: WordSettings, has_model: bool) -> Grid:
    usual = Grid()
    if not has_model:  # its weight has no effect
        usual = usual._replace(lm_weights=(0.0,))
    stated = (settings.lm_weight, settings.word_score, settings.blank_penalty)
    return Grid(
        *(
            values if value is None else (value,)
            for value, values in zip(stated, usual, strict=True)
        )
    )


def evaluate_sentences(trials: Sequence[WordTrial], sentences: Sequence[str]) -> WordResult:
    """Count the word errors of sentences that a decoder of the user's gave.

    All trials with words are reported, and no weight is chosen; its words are not known.

    Args:
        trials: in any order.
        sentences: one for each trial, from `decoder.words.command.decode_by_command`.
    """
    references = [words_of_sentence(one.sentence or "") for one in trials]
    reported = [i for i, words in enumerate(references) if words]
    errors = combined(
        sentence_errors(references[i], [words_of_sentence(sentences[i])], None) for i in reported
    )
    n_left_out = len(trials) - len(reported)
    return WordResult(errors, None, 0, len(reported), n_left_out, 1)
