"""The table of arms as typed rows, for everything that the report shows arm by arm."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.spec.units import percent
from orchestrator.stats.run_values import ENDINGS, NOT_NEEDED


class ArmResults(NamedTuple):
    """One row of `orchestrator.tables.tables.arms_table`; what is not known is NaN.

    `n_escaped` is None if no run says what collapse and escape are judged by.
    """

    arm: str
    n: int
    n_ok: int
    n_collapsed: int
    n_diverged: int
    n_failed: int
    n_missing: int
    n_not_needed: int
    n_collapsed_or_diverged: int
    n_escaped: int | None
    per_mean: float
    per_low: float
    per_high: float
    per_median: float
    emitted_ratio_mean: float
    blank_fraction_mean: float
    grad_norm_mean: float
    grad_norm_p99_max: float
    escape_step_mean: float

    @property
    def n_gaps(self) -> int:
        """Planned runs without a result, but for those that are not needed."""
        return self.n_failed + self.n_missing

    @property
    def interval(self) -> str:
        """The interval of the mean PER as text; "" if it is not known."""
        known = not math.isnan(self.per_low)
        return f"{percent(self.per_low)} to {percent(self.per_high)}" if known else ""

    @property
    def endings(self) -> str:
        """How many runs ended in which way: ``2 ok, 1 diverged``."""
        counts = (self.n_ok, self.n_collapsed, self.n_diverged, self.n_failed, self.n_missing)
        counted = zip((*counts, self.n_not_needed), (*ENDINGS, NOT_NEEDED), strict=True)
        return ", ".join(f"{n} {name}" for n, name in counted if n)


def arm_results(arms: pd.DataFrame) -> dict[str, ArmResults]:
    """Arm → its row of the table of arms, in the order of the table."""
    table = arms.assign(n_not_needed=arms.get("n_not_needed", 0))[list(ArmResults._fields)]
    limits = ["per_low", "per_high"]
    table[limits] = table[limits].replace([-np.inf, np.inf], np.nan)
    rows = map(ArmResults._make, table.itertuples(index=False, name=None))
    return {
        row.arm: row._replace(n_escaped=None if pd.isna(row.n_escaped) else row.n_escaped)
        for row in rows
    }


def further_means(arms: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Metric that only some runs have → arm → its mean, in the order of the table of arms."""
    own = (*ArmResults._fields, "best_per_mean", "selection_optimism_mean", "per_beam_mean")
    names = [name for name in arms.columns if name.endswith("_mean") and name not in own]
    return {
        name.removesuffix("_mean"): dict(zip(arms["arm"], arms[name].tolist(), strict=True))
        for name in names
    }
