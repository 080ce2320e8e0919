"""What ensembles of an arm's seeds would give, from the logits that its runs kept."""

import math
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from decoder.errors import CheckpointError
from decoder.pack import LOGITS_NAME
from orchestrator.tables.ensemble_words import EnsembleWords
from orchestrator.terminal import Say

_SIZES = (1, 2, 3, 5, 10)  # of ensembles; and all seeds together
_MOST_SUBSETS = 20  # of a size; of more, so many are drawn
_SHARES = (0.025, 0.975)
_ENDINGS = ("ok", "collapsed")  # of runs with a last evaluation


class EnsembleRow(NamedTuple):
    """Ensembles of one size from the seeds of one arm.

    Attributes:
        arm: the arm.
        n_members: decoders whose log posteriors are averaged.
        per: PER of greedy decoding, mean over the subsets.
        per_low, per_high: between them lie 95 % of the subsets; NaN if there is only one.
        n_subsets: subsets of the seeds that were tried; all of them, or `_MOST_SUBSETS` drawn.
        n_seeds: runs of the arm that kept logits.
        wer: WER of single seeds, mean over them, and of all seeds together; NaN for other sizes and
            without words.
        wer_low, wer_high: between them lie 95 % of single seeds; NaN for other sizes.
    """

    arm: str
    n_members: int
    per: float
    per_low: float
    per_high: float
    n_subsets: int
    n_seeds: int
    wer: float
    wer_low: float
    wer_high: float


def ensembles_table(
    runs: pd.DataFrame, runs_dir: Path, say: Say, words: EnsembleWords | None = None
) -> pd.DataFrame:
    """PER and WER of the averaged log posteriors of an arm's seeds, on the validation trials.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a last evaluation are left out.
        runs_dir: holds each run's folder, with its logits.
        say: receives a line about each arm that is left out though it has logits: because a file
            is damaged, or because frames do not align.
        words: decodes ensembles to words; None leaves them without WER.

    Returns:
        One `EnsembleRow` per arm and size, for arms of which at least two runs kept logits.
    """
    rows: list[EnsembleRow] = []
    counted = runs[runs["outcome"].isin(_ENDINGS)]
    for arm, of_arm in counted.groupby("arm", sort=False):
        files = [runs_dir / str(run_id) / LOGITS_NAME for run_id in of_arm["run_id"].unique()]
        files = [path for path in files if os.path.lexists(path)]
        if len(files) > 1:
            try:
                of_files = of_arm[of_arm["run_id"].isin([path.parent.name for path in files])]
                rows += _rows(str(arm), files, of_files, words)
            except CheckpointError as error:
                say(f"ensembles: arm {arm} is left out; {error}")
    return pd.DataFrame(rows, columns=EnsembleRow._fields)


def _rows(
    arm: str, files: Sequence[Path], runs: pd.DataFrame, words: EnsembleWords | None
) -> list[EnsembleRow]:
    from decoder.ensembles import Ensemble, frames_align  # torch
    from decoder.logits import read_logits

    members = [read_logits(path) for path in files]
    if not frames_align(members):
        raise CheckpointError(
            f"{files[0].parent}: its frames do not align with those of the arm's other runs, "
            "because trials or numbers of patches differ"
        )
    ensemble, n_seeds, rows = Ensemble(members), len(members), []
    for size in [*(size for size in _SIZES if size < n_seeds), n_seeds]:
        subsets = _subsets(n_seeds, size)
        rates = [ensemble.score(subset).per for subset in subsets]
        wer = _wer(size, files, runs, words)
        rows.append(EnsembleRow(arm, size, *_spread(rates), len(rates), n_seeds, *_spread(wer)))
    return rows


def _wer(
    size: int, files: Sequence[Path], runs: pd.DataFrame, words: EnsembleWords | None
) -> list[float]:
    """WER of the runs one by one, as recorded, or of all together; empty if it is not known.

    To decode a subset takes as long as to decode a run, so those between are left out.
    """
    if words is None or "wer" not in runs or runs["wer"].isna().any():
        return []
    if size == 1:
        return [float(one) for one in runs["wer"]]
    if size < len(files):
        return []
    wer = words.wer([path.parent.name for path in files])
    return [] if math.isnan(wer) else [wer]


def _spread(rates: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and between what 95 % lie; NaN for what so few do not say."""
    if not rates:
        return math.nan, math.nan, math.nan
    low, high = np.quantile(rates, _SHARES) if len(rates) > 1 else (math.nan, math.nan)
    return math.fsum(rates) / len(rates), float(low), float(high)


def _subsets(n: int, size: int) -> list[tuple[int, ...]]:
    """All subsets of n seeds, or some different ones, always the same, if there are many."""
    if math.comb(n, size) <= _MOST_SUBSETS:
        return list(combinations(range(n), size))
    rng, found = np.random.default_rng(0), set[tuple[int, ...]]()
    while len(found) < _MOST_SUBSETS:
        found.add(tuple(sorted(rng.choice(n, size, replace=False).tolist())))
    return sorted(found)
