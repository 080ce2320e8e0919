"""Words of averaged log posteriors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from decoder.data.prepare import prepare
from decoder.logits import KeptLogits, LogitTrial, half, read_logits, write_logits
from decoder.phonemes import BLANK, N_CLASSES, SEPARATOR_ID
from decoder.words.beam import SearchSpace
from decoder.words.ensembles import averaged_trials, log_softmax, sentences_of
from decoder.words.evaluate import WordResources, WordSettings, evaluate_words
from decoder.words.halves import Place

pytest.importorskip("flashlight.lib.text.decoder")

LEXICON = {"see": ((29, 18),), "sat": ((29, 2, 31),), "cat": ((20, 2, 31),), "we": ((36, 18),)}
STATED = WordSettings(lm_weight=0.0, word_score=0.0, blank_penalty=0.0)
NO_LABELS = np.zeros(0, np.int64)


def member(words: list[str], wrong: int, seed: int) -> KeptLogits:
    """A decoder that hears one of the words as another."""
    rng = np.random.default_rng(seed)
    trials = []
    for i, word in enumerate(words):
        said = "cat" if i == wrong else word
        path = [BLANK, *(p for q in LEXICON[said][0] for p in (q, BLANK)), SEPARATOR_ID]
        true = [BLANK, *(p for q in LEXICON[word][0] for p in (q, BLANK)), SEPARATOR_ID]
        path += [BLANK] * (8 - len(path))
        true += [BLANK] * (8 - len(true))
        logits = rng.normal(0, 0.3, (8, N_CLASSES))
        logits[np.arange(8), path] += 8.0
        logits[np.arange(8), true] += 5.0
        trials.append(LogitTrial(half(np.float32(logits)), NO_LABELS, "day", 1, i))
    return KeptLogits(tuple(trials), {})


def test_members_with_errors_of_their_own_are_better_together() -> None:
    words = ["see", "sat", "we"]
    sentences = {Place("day", 1, i): word for i, word in enumerate(words)}
    members = [member(words, wrong, seed=wrong) for wrong in range(3)]
    resources = WordResources(LEXICON, None, SearchSpace(LEXICON), {})

    def wer(some: list[KeptLogits]) -> float:
        return evaluate_words(averaged_trials(some, sentences), STATED, resources).errors.wer

    assert [wer([one]) for one in members] == pytest.approx([1 / 3] * 3)
    assert wer(members) == 0.0


def test_the_mean_is_that_of_log_softmax_made_to_sum_to_one() -> None:
    members = [member(["see"], 0, 1), member(["see"], 1, 2)]
    [trial] = averaged_trials(members, {})
    parts = [torch.from_numpy(np.float32(one.trials[0].logits)).log_softmax(-1) for one in members]
    expected = ((parts[0] + parts[1]) / 2).log_softmax(-1)
    assert trial.log_probs == pytest.approx(expected.numpy(), abs=1e-5)
    assert (trial.sentence, trial.log_probs.dtype) == (None, np.float32)


def test_a_trial_without_patches_has_no_posteriors() -> None:
    assert log_softmax(np.zeros((0, N_CLASSES), np.float16)).shape == (0, N_CLASSES)


def test_sentences_are_found_by_the_place_of_the_trial_after_logits_were_kept(
    tmp_path: Path,
) -> None:
    dataset = prepare("synthetic:tiny", None, None, tmp_path, needs_sentences=True)
    sentences = sentences_of(dataset)
    assert len(sentences) == dataset.val.n_trials
    assert dataset.val.sentences is not None
    trials = [
        LogitTrial(np.zeros((3, N_CLASSES)), dataset.val.target(i), session, block, number)
        for i, (session, block, number) in enumerate(sentences)
    ]
    write_logits(tmp_path / "logits.npz", trials, {})
    kept = read_logits(tmp_path / "logits.npz")
    found = averaged_trials([kept, kept], sentences)
    assert tuple(one.sentence for one in found) == dataset.val.sentences
