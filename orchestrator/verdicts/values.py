"""The values of an outcome per arm and seed, and bounds for the values of failed runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from decoder.errors import ConfigError
from orchestrator.spec.claims import is_share
from orchestrator.spec.units import is_error_rate
from orchestrator.stats import effects as stats
from orchestrator.stats.run_values import NOT_NEEDED, Bools, counted_values

_ALWAYS = ("escape_step", "n_steps", "per")


class ArmRuns(NamedTuple):
    """The runs of one arm, one entry per seed of the ablation, in the order of the file.

    Attributes:
        outcome: (n_seeds,) one of `orchestrator.stats.run_values.ENDINGS`.
        columns: column of the runs table → (n_seeds,) its numbers, NaN where there is none.
    """

    outcome: np.ndarray[Any, np.dtype[np.str_]]
    columns: Mapping[str, stats.Floats]

    def first(self, n_seeds: int) -> "ArmRuns":
        """The runs of the first `n_seeds` seeds."""
        columns = {name: values[:n_seeds] for name, values in self.columns.items()}
        return ArmRuns(self.outcome[:n_seeds], columns)


class Values(NamedTuple):
    """An outcome in one arm, one entry per seed.

    Attributes:
        values: (n_seeds,) NaN for a gap.
        escaped: (n_seeds,) whether the run left the blank plateau for good within the budget.
    """

    values: stats.Floats
    escaped: Bools


def arm_runs(
    runs: pd.DataFrame, seeds: Sequence[int], outcomes: Iterable[str]
) -> dict[str, ArmRuns]:
    """Arm → its runs, in the order of `seeds`; a run that is not in the table, or that
    was not needed, is missing.

    Args:
        runs: the runs table. Runs are paired by ``block``, the seed of the ablation.
        seeds: the seeds of the ablation, in the order of the file.
        outcomes: the outcomes of the claims.

    Raises:
        ConfigError: the table has no column for an outcome.
    """
    names = [*_ALWAYS, *dict.fromkeys(o for o in outcomes if not is_share(o) and o not in _ALWAYS)]
    lacking = [name for name in names if name not in runs.columns]
    if lacking:
        raise ConfigError(
            f"outcome '{lacking[0]}' is not in the table of runs; there are: "
            f"{', '.join(str(column) for column in runs.columns)}"
        )
    position = {seed: index for index, seed in enumerate(seeds)}
    blocks = runs["block" if "block" in runs.columns else "seed"].tolist()
    outcome = runs["outcome"].replace(NOT_NEEDED, "missing").to_numpy(dtype=object)
    columns = {n: runs[n].to_numpy(dtype=np.float64, na_value=math.nan) for n in names}
    rows: dict[str, list[tuple[int, int]]] = {}  # arm → (position of the seed, row)
    for row, (arm, block) in enumerate(zip(runs["arm"].tolist(), blocks, strict=True)):
        if block in position:
            rows.setdefault(arm, []).append((position[block], row))
    by_arm = {}
    for arm, pairs in rows.items():
        at, of = (list(part) for part in zip(*pairs, strict=True))
        arranged = np.full(len(seeds), "missing", dtype="<U16")
        arranged[at] = outcome[of]
        numbers = {}
        for name, column in columns.items():
            numbers[name] = np.full(len(seeds), math.nan)
            numbers[name][at] = column[of]
        by_arm[arm] = ArmRuns(arranged, numbers)
    return by_arm


def values_of(outcome: str, runs: ArmRuns, budget: float) -> Values:
    """The value of an outcome for every seed; see `orchestrator.stats.run_values.counted_values`.

    Args:
        outcome: the outcome of the claim.
        runs: the runs of one arm.
        budget: step up to which escape is judged, the same in every arm compared.
    """
    steps = runs.columns["escape_step"]
    column = steps if is_share(outcome) else runs.columns[outcome]
    values = counted_values(outcome, runs.outcome, column, budget)
    return Values(values, np.isin(runs.outcome, ("ok", "collapsed")) & (steps <= budget))


def imputed(
    outcome: str, seen: Sequence[Values], signs: Sequence[float], budget: float
) -> list[Values]:
    """The arms with their gaps filled by the extreme values of the outcome.

    For a metric without natural limits, these are the extremes measured in the arms compared.

    Args:
        outcome: the outcome of the claim.
        seen: the values of each arm.
        signs: above 0 fills the gaps of an arm with the highest value, below 0 with the lowest.
        budget: the highest number of steps.
    """
    present = np.concatenate([arm.values[np.isfinite(arm.values)] for arm in seen])
    if outcome == "escape_step":
        low, high = 0.0, budget
    elif is_share(outcome):
        low, high = 0.0, 1.0
    elif is_error_rate(outcome):  # insertions can lift one above 1
        low, high = 0.0, float(max(1.0, present.max(initial=1.0)))
    elif len(present):
        low, high = float(present.min()), float(present.max())
    else:
        low = high = math.nan
    filled = []
    for arm, sign in zip(seen, signs, strict=True):
        gap = np.isnan(arm.values)
        values = np.where(gap, high if sign > 0 else low, arm.values)
        filled.append(Values(values, np.where(gap, sign < 0, arm.escaped)))
    return filled
