"""Word errors of log-posteriors: the halves, the weights, what is counted."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from decoder.data.sentences import words_of_sentence
from decoder.phonemes import BLANK, N_CLASSES, SEPARATOR_ID
from decoder.words import evaluate
from decoder.words.beam import Candidate, SearchSpace
from decoder.words.errors import WordErrors
from decoder.words.evaluate import (
    WordResources,
    WordSettings,
    WordTrial,
    evaluate_sentences,
    evaluate_words,
)
from decoder.words.halves import Place, halves_of
from decoder.words.ngram import KneserNey
from decoder.words.tuning import N_ROUNDS, Grid

pytest.importorskip("flashlight.lib.text.decoder")

LEXICON = {
    "see": ((29, 18),),
    "sea": ((29, 18),),
    "the": ((10, 3),),
    "a": ((3,),),
    "we": ((36, 18),),
    "cat": ((20, 2, 31),),
    "sat": ((29, 2, 31),),
    "at": ((2, 31),),
}
SENTENCES = ["We see the sea.", "The cat sat!", "a cat sat at the sea", "we see a cat"]


def log_probs_of(sentence: str, rng: np.random.Generator, noise: float) -> np.ndarray:
    """(P, 41), two frames a phoneme and a blank between them."""
    path = [BLANK]
    for word in words_of_sentence(sentence):
        for phoneme in (*LEXICON[word][0], SEPARATOR_ID):
            path += [phoneme, phoneme, BLANK]
    logits = rng.normal(0, noise, (len(path), N_CLASSES))
    logits[np.arange(len(path)), path] += 4.0
    return np.float32(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


def trials_of(n: int, seed: int = 0, noise: float = 1.6) -> list[WordTrial]:
    rng = np.random.default_rng(seed)
    sentences = [SENTENCES[i] for i in rng.integers(0, len(SENTENCES), n)]
    return [
        WordTrial(log_probs_of(one, rng, noise), one, f"day{i % 2}", i // 4, i)
        for i, one in enumerate(sentences)
    ]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> WordResources:
    path = tmp_path_factory.mktemp("model") / "bigram.arpa"
    KneserNey([words_of_sentence(one) for one in SENTENCES], 2).write_arpa(path)
    return WordResources(LEXICON, path, SearchSpace(LEXICON, path), {})


def tuned_half(trials: Sequence[WordTrial]) -> tuple[int, ...]:
    return halves_of([Place(*one[2:]) for one in trials]).tuned


def test_clear_log_posteriors_have_no_error_and_noise_has_some(resources: WordResources) -> None:
    clear = evaluate_words(trials_of(8, noise=0.1), WordSettings(), resources)
    assert (clear.errors.wer, clear.errors.n_sentences) == (0.0, clear.n_reported)
    noisy = evaluate_words(trials_of(24, noise=3.0), WordSettings(), resources)
    assert 0.1 < noisy.errors.wer < 0.9
    assert noisy.errors.wer_oracle < noisy.errors.wer
    assert noisy == evaluate_words(trials_of(24, noise=3.0), WordSettings(), resources)


def test_sentences_of_the_reported_half_do_not_reach_the_weights(resources: WordResources) -> None:
    trials = trials_of(16, noise=2.2)
    tuned = tuned_half(trials)
    poisoned = [
        one if i in tuned else one._replace(sentence="sat at sat at sat at")
        for i, one in enumerate(trials)
    ]
    first = evaluate_words(trials, WordSettings(), resources)
    second = evaluate_words(poisoned, WordSettings(), resources)
    assert first.weights == second.weights
    assert first.errors != second.errors
    other = [one._replace(sentence="a") if i in tuned else one for i, one in enumerate(trials)]
    assert evaluate_words(other, WordSettings(), resources).weights != first.weights


def test_log_posteriors_of_the_reported_half_do_not_reach_the_weights(
    resources: WordResources,
) -> None:
    trials = trials_of(16, noise=2.2)
    tuned = tuned_half(trials)
    rng = np.random.default_rng(1)
    poisoned = [
        one if i in tuned else one._replace(log_probs=log_probs_of("sat at", rng, 3.0))
        for i, one in enumerate(trials)
    ]
    first = evaluate_words(trials, WordSettings(), resources)
    assert first.weights == evaluate_words(poisoned, WordSettings(), resources).weights


def test_stated_weights_report_every_trial_and_tune_none(resources: WordResources) -> None:
    trials = trials_of(10)
    stated = WordSettings(lm_weight=1.0, word_score=-0.5, blank_penalty=0.25)
    result = evaluate_words(trials, stated, resources)
    assert (result.n_tuned, result.n_reported, result.grid_size) == (0, 10, 1)
    assert result.weights == (1.0, -0.5, 0.25)
    n_words = sum(len(words_of_sentence(one.sentence or "")) for one in trials)
    assert result.errors.n_reference == n_words


def test_no_more_trials_choose_the_weights_than_is_stated_and_all_sessions_do(
    resources: WordResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_MOST_TUNED", 4)
    trials = trials_of(24)
    searched: list[int] = []
    decode = evaluate.WordDecoder.decode

    def noted(self: evaluate.WordDecoder, log_probs: np.ndarray, n_best: int) -> list[Candidate]:
        searched.extend(i for i, one in enumerate(trials) if one.log_probs is log_probs)
        return decode(self, log_probs, n_best)

    monkeypatch.setattr(evaluate.WordDecoder, "decode", noted)
    result = evaluate_words(trials, WordSettings(), resources)
    half = tuned_half(trials)
    assert (result.n_tuned, result.n_reported) == (4, 24 - len(half))
    chosen = set(searched) & set(half)
    assert len(chosen) == 4 and {trials[i].session for i in chosen} == {"day0", "day1"}
    n_searches = len(Grid().blank_penalties) * N_ROUNDS
    assert Counter(searched) == Counter(
        {i: n_searches if i in chosen else 1 for i in chosen | set(range(24)) - set(half)}
    )


def test_one_stated_weight_stays_and_the_others_are_chosen(resources: WordResources) -> None:
    result = evaluate_words(trials_of(8), WordSettings(lm_weight=0.7), resources)
    assert result.weights is not None and result.weights.lm_weight == 0.7
    assert result.grid_size == len(Grid().word_scores) * len(Grid().blank_penalties)
    assert result.n_tuned == len(tuned_half(trials_of(8)))


def test_without_a_model_its_weight_is_not_searched(resources: WordResources) -> None:
    without = WordResources(LEXICON, None, SearchSpace(LEXICON), {})
    result = evaluate_words(trials_of(8), WordSettings(), without)
    assert result.grid_size == len(Grid().word_scores) * len(Grid().blank_penalties)
    assert result.weights is not None and result.weights.lm_weight == 0.0


def test_trials_without_words_count_nowhere_and_trials_without_patches_are_deletions(
    resources: WordResources,
) -> None:
    none = np.zeros((0, N_CLASSES), np.float32)
    trials = [
        *trials_of(4, noise=0.1),
        WordTrial(none, "we see", "day0", 9, 9),
        WordTrial(none, None, "day0", 9, 10),
        WordTrial(none, " ... ", "day0", 9, 11),
    ]
    stated = WordSettings(lm_weight=1.0, word_score=0.0, blank_penalty=0.0)
    result = evaluate_words(trials, stated, resources)
    assert (result.n_reported, result.n_left_out) == (5, 2)
    assert (result.errors.n_deletions, result.errors.n_edits) == (2, 2)


def test_a_trial_that_one_run_lacks_moves_no_other_trial_to_the_other_half(
    resources: WordResources,
) -> None:
    trials = [one for i, one in enumerate(trials_of(12)) if i not in (0, 2)]  # a whole block
    everyone = [Place(*one[2:]) for one in trials_of(12)]
    tuned = {everyone[i] for i in halves_of(everyone).tuned}
    settings = WordSettings(lm_weight=1.0, blank_penalty=0.0)
    result = evaluate_words(trials, settings, resources, everyone)
    reported = [one for one in trials if Place(*one[2:]) not in tuned]
    n_words = sum(len(words_of_sentence(one.sentence or "")) for one in reported)
    assert (result.errors.n_reference, result.n_reported) == (n_words, len(reported))
    assert result.n_tuned == len(trials) - len(reported)
    own = evaluate_words(trials, settings, resources)
    assert (own.n_reported, own.n_tuned) != (result.n_reported, result.n_tuned)


def test_sentences_of_another_decoder_are_normalised_and_all_reported() -> None:
    trials = [*trials_of(2), WordTrial(np.zeros((0, N_CLASSES)), None, "day0", 9, 9)]
    given = [f"{trials[0].sentence} ", "", "anything"]
    result = evaluate_sentences(trials, given)
    n_words = [len(words_of_sentence(one.sentence or "")) for one in trials]
    assert result.errors == WordErrors(
        2, n_words[0] + n_words[1], 0, n_words[1], 0, n_words[1], None
    )
    assert (result.n_reported, result.n_left_out, result.weights) == (2, 1, None)


def test_no_trial_at_all_has_no_rate(resources: WordResources) -> None:
    result = evaluate_words([], WordSettings(), resources)
    assert (result.n_reported, result.n_tuned, result.errors) == (0, 0, WordErrors())
    assert Path(str(resources.language_model)).is_file()
