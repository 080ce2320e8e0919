"""Speed of decoding to words: trials a second on one core, at the sizes of T15.

    OMP_NUM_THREADS=1 python benchmarks/words_speed.py [--trials 5]

Log-posteriors are made from random sentences of CMUdict's words: each phoneme stands out over one
to three frames among blanks, as of a decoder with some errors. The language model is a trigram of
random sentences, so its scores are of the usual cost but of no use.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decoder.data.recordings import Problems
from decoder.phonemes import BLANK, N_CLASSES, SEPARATOR_ID
from decoder.words.beam import BeamSettings, SearchSpace, WordDecoder
from decoder.words.lexicon import Lexicon, load_lexicon
from decoder.words.ngram import KneserNey

N_FRAMES = 500
N_WORDS_IN_SENTENCE = 8


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
    common = rng.choice(vocabulary, 5000, replace=False)
    texts = [list(map(str, rng.choice(common, N_WORDS_IN_SENTENCE))) for _ in range(8000)]
    trials = [log_posteriors(lexicon, text, rng) for text in texts[:n_trials]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trigram.arpa"
        started = time.perf_counter()
        KneserNey(texts, 3, n_unknown=len(vocabulary) - len(common)).write_arpa(path)
        print(f"{len(vocabulary):,} words; trigram in {time.perf_counter() - started:.1f} s")
        for name, model in (("none", None), ("trigram", path)):
            for width in (50, 200):
                started = time.perf_counter()
                decoder = WordDecoder(SearchSpace(lexicon, model), BeamSettings(width))
                built = time.perf_counter() - started
                started = time.perf_counter()
                for trial in trials:
                    decoder.decode(trial)
                seconds = time.perf_counter() - started
                print(
                    f"model {name}, beam {width}: {n_trials / seconds:.2f} trials/s, "
                    f"built in {built:.1f} s"
                )


if __name__ == "__main__":
    main()
