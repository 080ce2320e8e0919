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
    """

    arm: str
    n_members: int
    per: float
    per_low: float
    per_high: float
    n_subsets: int
    n_seeds: int


def ensembles_table(runs: pd.DataFrame, runs_dir: Path, say: Say) -> pd.DataFrame:
    """PER of the averaged log posteriors of an arm's seeds, on the validation trials.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a last evaluation are left out.
        runs_dir: holds each run's folder, with its logits.
        say: receives a line about each arm that is left out though it has logits: because a file
            is damaged, or because frames do not align.

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
                rows += _rows(str(arm), files)
            except CheckpointError as error:
                say(f"ensembles: arm {arm} is left out; {error}")
    return pd.DataFrame(rows, columns=EnsembleRow._fields)


def _rows(arm: str, files: Sequence[Path]) -> list[EnsembleRow]:
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
        low, high = np.quantile(rates, _SHARES) if len(rates) > 1 else (math.nan, math.nan)
        mean = math.fsum(rates) / len(rates)
        rows.append(EnsembleRow(arm, size, mean, float(low), float(high), len(rates), n_seeds))
    return rows


def _subsets(n: int, size: int) -> list[tuple[int, ...]]:
    """All subsets of n seeds, or some different ones, always the same, if there are many."""
    if math.comb(n, size) <= _MOST_SUBSETS:
        return list(combinations(range(n), size))
    rng, found = np.random.default_rng(0), set[tuple[int, ...]]()
    while len(found) < _MOST_SUBSETS:
        found.add(tuple(sorted(rng.choice(n, size, replace=False).tolist())))
    return sorted(found)
