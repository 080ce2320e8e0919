"""Compares T12 recordings as we read them with the functions of the public pipeline.

    pip install g2p_en==2.1.0 nltk==3.8.1     # not dependencies: see benchmarks/phonemes.py
    python -m orchestrator data make DATA --layout t12
    python benchmarks/t12_recordings.py DATA PATH/TO/formatCompetitionData.ipynb

DATA may also be the release. The notebook is that of github.com/cffan/neural_seq_decoder; the
script runs its cells that define functions.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from decoder.data import t12
from decoder.data.recordings import Problems


def public_functions(notebook: Path) -> dict[str, Any]:
    """Name → function, for the cells of the notebook that define functions."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for source in ("".join(cell["source"]) for cell in cells):
        if "def " in source:
            exec(source, names)
    return names


def main() -> None:
    folder, notebook = Path(sys.argv[1]), Path(sys.argv[2])
    public = public_functions(notebook)
    problems = Problems()
    index = t12.read_index(folder, t12.find_sessions(folder), problems)
    n_trials = n_same_labels = 0
    largest = 0.0
    for file in (*index.train, *index.val):
        theirs = public["getDataset"](str(file.path))
        for trial, features in t12.iterate_features(file, None, problems):
            labels = theirs["phonemes"][trial.number][: theirs["phoneLens"][trial.number]]
            n_trials += 1
            n_same_labels += labels.tolist() == trial.labels.tolist()
            difference = np.abs(features - theirs["sentenceDat"][trial.number])
            largest = max(largest, float(difference.max()))
    problems.raise_if_any()
    print(f"trials: {n_trials}, with the same labels: {n_same_labels}")
    print(f"largest difference of a feature: {largest:.1e}")


if __name__ == "__main__":
    main()
