"""A decoder to words of your own, as `evaluation.words.command` starts it, without this project.

    command: [python, word_decoder.py, "{logits}", "{sentences}", words.txt]

It gives each trial the one sentence of a list that its phonemes resemble most. Put your own WFST or
language model in the place of `resemblance`.
"""

import csv
import difflib
import itertools
import sys
from pathlib import Path

import numpy as np

logits_path, sentences_path, known_path = sys.argv[1:]
with np.load(logits_path) as file:
    logits, ends, names = file["logits"], file["offsets"], file["classes"].tolist()
with Path(known_path).open(
    encoding="utf-8"
) as lines:  # a sentence, a tab, its phonemes with spaces
    known = [line.rstrip("\n").split("\t") for line in lines]


def resemblance(heard: list[str], phonemes: str) -> float:
    return difflib.SequenceMatcher(None, heard, phonemes.split(), autojunk=False).ratio()


with Path(sentences_path).open("w", encoding="utf-8", newline="") as output:
    writer = csv.writer(output)
    writer.writerow(["id", "text"])
    for trial, (start, end) in enumerate(itertools.pairwise(ends)):
        merged = [names[best] for best, _ in itertools.groupby(logits[start:end].argmax(1))]
        heard = [name for name in merged if name not in ("BLANK", "SIL")]
        text, _ = max(known, key=lambda one: resemblance(heard, one[1]))
        writer.writerow([trial, text])
