"""What the search to words loses on kept logits: by pruning, and by the alignments it leaves out.

    OMP_NUM_THREADS=1 python benchmarks/words_kept.py RESULTS [--runs 2] [--trials 60]

RESULTS is a results folder whose runs kept logits (`train.keep_logits: validation`) of one data
set. The lexicon is CMUdict's, the language model a trigram of the training sentences, the weights
those that the runs choose, and then those of the public T15 evaluation.
"""

import argparse
import itertools
import math
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from decoder.data.sentences import words_of_sentence
from decoder.data.store import open_dataset, read_manifest
from decoder.logits import read_logits
from decoder.phonemes import BLANK, SEPARATOR_ID
from decoder.words.beam import BeamSettings, WordDecoder
from decoder.words.ensembles import averaged_trials, sentences_of
from decoder.words.evaluate import WordResources, WordSettings, WordTrial, evaluate_words
from decoder.words.resources import load_resources
from decoder.words.tuning import Weights

T15_WEIGHTS = Weights(3.1, 0.0, math.log(90))
# (threshold, classes per frame); the first prunes least and is what the others are compared with.
PRUNING: list[tuple[float, int | None]] = [
    (100.0, None),
    (50.0, None),
    (25.0, None),
    (15.0, None),
    (25.0, 20),
    (25.0, 10),
    (15.0, 10),
    (25.0, 5),
]
N_CANDIDATES = 20  # of a trial, whose alignments are searched in full


def best_alignment(frames: NDArray[np.float64], words: list[tuple[int, ...]]) -> float:
    """The best alignment of CTC, none left out. Between words stands a blank or a separator."""
    gap = np.maximum(frames[:, BLANK], frames[:, SEPARATOR_ID])  # (P,)
    emitted, says = [gap], [0]
    for word in words:
        for i, phoneme in enumerate(word):
            after = frames[:, BLANK] if i + 1 < len(word) else gap
            emitted += [frames[:, phoneme], after]
            says += [phoneme, 0]
    states, spoken = np.array(emitted), np.array(says)  # (S, P), (S,)
    may_skip = np.zeros(len(spoken), bool)
    may_skip[2:] = (spoken[2:] > 0) & (spoken[2:] != spoken[:-2])
    score = np.full(len(spoken), -np.inf)
    score[:2] = states[:2, 0]
    for frame in states.T[1:]:
        before = np.concatenate([[-np.inf], score[:-1]])
        skipped = np.where(may_skip, np.concatenate([[-np.inf] * 2, score])[: len(score)], -np.inf)
        score = np.maximum(np.maximum(score, before), skipped) + frame
    return float(score[-2:].max())


def compare_alignments(trials: list[WordTrial], resources: WordResources, weights: Weights) -> None:
    """Print how often the search would find another sentence if no alignment was left out."""
    decoder = WordDecoder(resources.space, BeamSettings(50, *weights))
    n_lower = n_other = 0
    for trial in trials:
        frames = trial.log_probs.astype(float)
        frames[:, BLANK] -= weights.blank_penalty
        scores = []
        for one in (found := decoder.decode(trial.log_probs, N_CANDIDATES)):
            ways = itertools.product(*(resources.lexicon[word] for word in one.words))
            best = max(
                best_alignment(frames, list(spoken)) for spoken in itertools.islice(ways, 64)
            )
            scores.append(one.score - one.emission + max(best, one.emission))
        n_lower += scores[0] > found[0].score + 0.01
        n_other += int(np.argmax(scores)) > 0
    print(
        f"  all alignments: {n_lower} of {len(trials)} best sentences score more, "
        f"{n_other} are no longer the best"
    )


def compare_pruning(trials: list[WordTrial], resources: WordResources, weights: Weights) -> None:
    """Print speed, score lost and word edits of each pruning."""
    texts = [words_of_sentence(one.sentence or "") for one in trials]
    for width in (50, 200):
        reference: list[float] = []
        for threshold, n_classes in PRUNING:
            settings = BeamSettings(width, *weights, threshold, n_classes)
            decoder = WordDecoder(resources.space, settings)
            started = time.process_time()
            found = [decoder.decode(one.log_probs, 100) for one in trials]
            seconds = time.process_time() - started
            reference = reference or [some[0].score for some in found]
            lost = np.subtract(reference, [some[0].score for some in found])
            edits = [
                [Levenshtein.distance(text, list(one.words)) for one in some]
                for text, some in zip(texts, found, strict=True)
            ]
            print(
                f"  beam {width}, threshold {threshold:g}, classes {n_classes or 'all'}: "
                f"{len(trials) / seconds:.0f} trials a CPU second, score lost {lost.mean():.3f} on "
                f"average, {lost.max():.2f} at most, {sum(one[0] for one in edits)} word edits, "
                f"{sum(map(min, edits))} of the best candidates",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=60)
    args = parser.parse_args()
    [store] = [path.parent for path in (args.results / "datasets").glob("*/manifest.json")]
    dataset = open_dataset(store)
    resources = load_resources(
        lexicon="cmudict",
        language_model="train",
        order=3,
        folder=Path(read_manifest(store).source),
        training=dataset.train.sentences or (),
        datasets_dir=store.parent,
    )
    sentences = sentences_of(dataset)
    for path in sorted((args.results / "runs").glob("*/logits.npz"))[: args.runs]:
        kept = read_logits(path)
        trials = averaged_trials([kept], sentences)
        started = time.process_time()
        result = evaluate_words(trials, WordSettings(), resources)
        seconds = time.process_time() - started
        assert result.weights is not None
        n_patches = np.mean([len(one.log_probs) for one in trials])
        print(
            f"{path.parent.name}: PER {kept.facts['per']:.4f}, WER {result.errors.wer:.4f}, oracle "
            f"{result.errors.wer_oracle:.4f}; {len(trials)} trials of {n_patches:.0f} patches in "
            f"{seconds:.1f} CPU seconds, {result.n_tuned} of them chose the weights"
        )
        for weights in (result.weights, T15_WEIGHTS):
            print(" ".join(f"{name} {value:.2f}" for name, value in weights._asdict().items()))
            compare_alignments(trials, resources, weights)
            compare_pruning(trials[: args.trials], resources, weights)


if __name__ == "__main__":
    main()
