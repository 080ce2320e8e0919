"""Speed of decoding to words: trials a CPU second, at the sizes of T15.

    OMP_NUM_THREADS=1 python benchmarks/words_speed.py [--trials 5]

Sentences are drawn from a chain over 5,000 of CMUdict's words, in which each word has 50 followers
of unequal chance. The language model is a trigram of 8,000 of them; others are decoded. In their
log-posteriors each phoneme stands out over one to three frames among blanks, by so much that some
9 % are lost, as of a decoder with some errors. Pruning is compared with the one that prunes least.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from decoder.data.recordings import Problems
from decoder.phonemes import BLANK, N_CLASSES, SEPARATOR_ID
from decoder.words.beam import BeamSettings, SearchSpace, WordDecoder
from decoder.words.lexicon import Lexicon, load_lexicon
from decoder.words.ngram import KneserNey

N_FRAMES = 500
# (threshold, classes per frame); the first prunes least and is what the others are compared with.
PRUNING: list[tuple[float, int | None]] = [
    (50.0, None),
    (25.0, None),
    (15.0, None),
    (50.0, 20),
    (50.0, 10),
    (25.0, 10),
    (15.0, 10),
]
N_WORDS_IN_SENTENCE = 8


def sentence(words: list[str], follower: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    chances = 1 / np.arange(1, follower.shape[1] + 1)
    picks = rng.choice(follower.shape[1], N_WORDS_IN_SENTENCE, p=chances / chances.sum())
    chain = [int(rng.integers(len(words)))]
    for pick in picks[1:]:
        chain.append(int(follower[chain[-1], pick]))
    return [words[i] for i in chain]


def log_posteriors(
    lexicon: Lexicon, words: list[str], rng: np.random.Generator
) -> NDArray[np.float32]:
    spoken = [p for word in words for p in (*lexicon[word][0], SEPARATOR_ID)]
    starts = np.sort(rng.choice(N_FRAMES // 4, len(spoken), replace=False)) * 4
    logits = rng.normal(0, 1, (N_FRAMES, N_CLASSES))
    logits[:, BLANK] += 6
    for start, phoneme in zip(starts, spoken, strict=True):
        logits[start : start + rng.integers(1, 4), phoneme] += rng.normal(9, 2)
    return np.float32(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5)
    n_trials = parser.parse_args().trials
    rng = np.random.default_rng(0)
    problems = Problems()
    lexicon = load_lexicon("cmudict", None, problems)
    vocabulary = sorted(lexicon)
    common = [str(word) for word in rng.choice(vocabulary, 5000, replace=False)]
    follower = rng.integers(0, len(common), (len(common), 50))
    drawn = [sentence(common, follower, rng) for _ in range(8000 + n_trials)]
    texts, training = drawn[:n_trials], drawn[n_trials:]
    trials = [log_posteriors(lexicon, text, rng) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trigram.arpa"
        started = time.process_time()
        KneserNey(training, 3, n_unknown=len(vocabulary) - len(common)).write_arpa(path)
        print(f"{len(vocabulary):,} words; trigram in {time.process_time() - started:.1f} s")
        for name, model in (("none", None), ("trigram", path)):
            started = time.process_time()
            space = SearchSpace(lexicon, model)
            print(f"model {name}: built in {time.process_time() - started:.1f} s")
            for width in (50, 200):
                compare(space, width, trials, texts)


def compare(
    space: SearchSpace, width: int, trials: list[NDArray[np.float32]], texts: list[list[str]]
) -> None:
    """Print speed, score lost and word edits of each pruning, against the least pruned one."""
    reference: list[float] = []
    for threshold, n_classes in PRUNING:
        settings = BeamSettings(width, threshold=threshold, classes_per_frame=n_classes)
        decoder = WordDecoder(space, settings)
        started = time.process_time()
        found = [decoder.decode(trial)[0] for trial in trials]
        seconds = time.process_time() - started
        reference = reference or [one.score for one in found]
        lost = np.subtract(reference, [one.score for one in found])
        edits = sum(
            Levenshtein.distance(text, list(one.words))
            for text, one in zip(texts, found, strict=False)
        )
        print(
            f"beam {width}, threshold {threshold:g}, classes {n_classes or 'all'}: "
            f"{len(trials) / seconds:.2f} trials a CPU second, score lost "
            f"{lost.mean():.3f} on average, {lost.max():.3f} at most, {edits} word edits",
            flush=True,
        )


if __name__ == "__main__":
    main()
