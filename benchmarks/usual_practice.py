"""The usual analysis of a sweep: unpaired t-tests on completed runs, percentile bootstrap."""

import math
from typing import NamedTuple

import numpy as np
from calibration_sweeps import Floats, Runs
from scipy import special

_N_BOOTSTRAP = 400


class Rate(NamedTuple):
    """The rate of `n_events` in `n`, with its Monte-Carlo error."""

    n_events: float
    n: int

    @property
    def value(self) -> float:
        return self.n_events / self.n if self.n else math.nan

    @property
    def error(self) -> float:
        """Standard error; without any event it is computed as if there were one."""
        rate = min(max(self.value, 1 / self.n), 1 - 1 / self.n)
        return math.sqrt(rate * (1 - rate) / self.n)

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ± {100 * self.error:.1f}"


class Usual(NamedTuple):
    """The results of the usual practice on the same sweeps, for PER.

    Attributes:
        claimed: sweeps in which a t-test at .05 finds an effect in the claimed direction.
        dismissed: contrasts dismissed because p is above .05.
        covered: contrasts whose bootstrap interval contains the true effect.
    """

    claimed: Rate
    dismissed: Rate
    covered: Rate


def usual_practice(runs: Runs, effect: float, rng: np.random.Generator) -> Usual:
    """Unpaired t-tests on the completed runs, and the percentile bootstrap of the first contrast.

    Args:
        runs: simulated sweeps; failed and diverged runs are dropped, as is usual.
        effect: true difference of every arm from the base.
        rng: source of randomness of the bootstrap.
    """
    per = np.where(np.isin(runs.outcome, ("failed", "diverged")), np.nan, runs.per)
    n = np.isfinite(per).sum(axis=2)  # (n_sweeps, n_arms)
    enough = (n[:, 1:] > 1) & (n[:, :1] > 1)
    filled = np.where(np.isfinite(per), per, 0.0)
    mean = filled.sum(axis=2) / np.maximum(n, 1)
    squares = (np.where(np.isfinite(per), per - mean[:, :, None], 0.0) ** 2).sum(axis=2)
    freedom = np.maximum(n[:, 1:] + n[:, :1] - 2, 1)
    pooled = (squares[:, 1:] + squares[:, :1]) / freedom
    error = np.sqrt(pooled * (1 / np.maximum(n[:, 1:], 1) + 1 / np.maximum(n[:, :1], 1)))
    difference = mean[:, 1:] - mean[:, :1]
    t = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
    p = 2 * special.stdtr(freedom, -np.abs(t))
    claimed = enough & (p < 0.05) & (difference > 0)
    dismissed = enough & (p >= 0.05)
    covered = [
        low <= effect <= high
        for base, arm in per[:, :2]
        for low, high in [_bootstrap(base, arm, rng)]
    ]
    return Usual(
        Rate(int(claimed.any(axis=1).sum()), len(claimed)),
        Rate(int(dismissed.sum()), int(enough.sum())),
        Rate(sum(covered), len(covered)),
    )


def _bootstrap(base: Floats, arm: Floats, rng: np.random.Generator) -> tuple[float, float]:
    base, arm = base[np.isfinite(base)], arm[np.isfinite(arm)]
    if not len(base) or not len(arm):
        return -math.inf, math.inf
    means = [
        values[rng.integers(0, len(values), (_N_BOOTSTRAP, len(values)))].mean(axis=1)
        for values in (base, arm)
    ]
    low, high = np.quantile(means[1] - means[0], (0.025, 0.975))
    return float(low), float(high)
