"""Compares phonemes from text with those of the public T12 pipeline, which uses g2p_en.

    pip install g2p_en==2.1.0 nltk==3.8.1     # not a dependency: it downloads data when it starts
    python benchmarks/phonemes.py SENTENCES.txt

SENTENCES.txt has one sentence per line. nltk downloads its ``averaged_perceptron_tagger`` and
``cmudict`` if it does not find them.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from decoder.data.pronunciation import cmu_dictionary, pronounce, words_of
from decoder.phonemes import CLASSES, SEPARATOR_ID


def public_words(text: str, g2p: object) -> list[tuple[int, ...]]:
    """The classes of each word as in formatCompetitionData.ipynb of neural_seq_decoder."""
    plain = re.sub(r"[^a-zA-Z\- \']", "", text.strip()).replace("--", "").lower()
    words: list[tuple[int, ...]] = []
    spoken: list[int] = []
    for symbol in [*g2p(plain), " "]:  # type: ignore[operator]
        if symbol == " ":
            words.append(tuple(spoken))
            spoken = []
        elif symbol[0].isupper():
            spoken.append(CLASSES.index(symbol.rstrip("012")))
    return words


def main() -> None:
    from g2p_en import G2p

    g2p, dictionary = G2p(), cmu_dictionary()
    counts: Counter[str] = Counter()
    for text in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        public, ours = public_words(text, g2p), words_of(text)
        counts["sentences"] += 1
        if not ours or len(ours) != len(public):
            counts["sentences cut otherwise"] += 1
            continue
        for word, theirs in zip(ours, public, strict=True):
            spoken = pronounce(word, dictionary)
            is_heteronym = word in g2p.homograph2features
            counts["words"] += 1
            counts["heteronyms"] += is_heteronym
            if spoken is None:
                counts["without a pronunciation here"] += 1
                continue
            by_rule = word not in dictionary and word.strip("'-") != ""
            counts["pronounced by rule"] += by_rule
            counts["by rule, the same as there"] += by_rule and spoken == theirs
            counts["the same"] += spoken == theirs
            counts["heteronyms that differ"] += is_heteronym and spoken != theirs
            counts["edits"] += Levenshtein.distance(spoken, theirs)
            counts["phonemes and separators"] += len((*theirs, SEPARATOR_ID))
    for name, count in counts.items():
        print(f"{name}: {count}")
    print(f"PER of ours against theirs: {counts['edits'] / counts['phonemes and separators']:.4f}")


if __name__ == "__main__":
    main()
