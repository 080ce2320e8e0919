"""Runs of one configuration: the spread of their PERs, and the differences that chance explains."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from orchestrator.history.audit.effective_settings import EffectiveSettings
from orchestrator.history.audit.run_pairs import BUDGET_TOLERANCE
from orchestrator.history.reading.record import ImportedRun
from orchestrator.stats.effects import Interval, t_quantile

_EXACT = 1e-4  # a standard deviation below this is rounding: training repeated exactly


class ConfigurationRuns(NamedTuple):
    """The runs of one configuration, on any seed, without copies.

    Attributes:
        runs: in the order of the group.
        settings: those that count; equal for all runs.
    """

    runs: tuple[ImportedRun, ...]
    settings: EffectiveSettings

    @property
    def comparable(self) -> tuple[ImportedRun, ...]:
        """The runs with a PER that were not cut short; diverged runs are among them."""
        return tuple(
            run for run in self.runs if run.outcome != "unfinished" and run.compared_per is not None
        )

    @property
    def pers(self) -> list[float]:
        """The PERs of its comparable runs."""
        return [run.compared_per for run in self.comparable if run.compared_per is not None]

    @property
    def mean_per(self) -> float:
        """Mean PER of its comparable runs, of which there must be one."""
        return sum(self.pers) / len(self.pers)

    @property
    def n_seeds(self) -> int:
        """Number of seeds of its comparable runs; a run without a stated seed counts as one."""
        return len(by_seed(self.comparable))


def by_seed(runs: Sequence[ImportedRun]) -> list[list[ImportedRun]]:
    """The runs of each seed; a run without a stated seed is alone."""
    seeds: dict[object, list[ImportedRun]] = {}
    for index, run in enumerate(runs):
        seed = ("not stated", index) if run.seed is None else run.seed
        seeds.setdefault(seed, []).append(run)
    return list(seeds.values())


class RepeatSpread(NamedTuple):
    """How much PERs differ between runs of one configuration.

    Attributes:
        sd: standard deviation of a run's PER, pooled over configurations.
        interval: of the standard deviation, 95 %, by chi-square.
        freedom: degrees of freedom.
        n_runs: number of runs.
        n_configurations: number of configurations.
        largest: the largest difference between two runs of one configuration.
    """

    sd: float
    interval: Interval
    freedom: int
    n_runs: int
    n_configurations: int
    largest: float

    def chance_limit(self, n_a: int = 1, n_b: int = 1, n_pairs: int = 1) -> float:
        """The difference of two means that chance exceeds in 1 of 20 cases.

        Args:
            n_a: runs in one mean.
            n_b: runs in the other mean.
            n_pairs: number of comparisons, if the largest difference was picked (Bonferroni).
        """
        t = t_quantile(1 - 0.025 / n_pairs, self.freedom)
        return t * self.sd * math.sqrt(1 / n_a + 1 / n_b)


class RepeatSpreads(NamedTuple):
    """The spread between seeds, and between repeats of one seed.

    Attributes:
        seeds: between runs that differ in the seed or do not state it, one run per seed; None
            if no configuration was trained on two seeds.
        same: between runs that state the same seed; None if no seed was trained twice.
        n_left_out: repeated runs that collapsed, diverged or ended early.
    """

    seeds: RepeatSpread | None
    same: RepeatSpread | None
    n_left_out: int

    @property
    def best(self) -> RepeatSpread | None:
        """The spread with which differences are compared: that between seeds, if known.

        Repeats of one seed are a fallback. If training is deterministic they agree exactly and
        say nothing about chance, so that they are not used.
        """
        return next((one for one in (self.seeds, self.same) if one and one.sd > _EXACT), None)


def pooled_spread(groups: Sequence[Sequence[float]]) -> RepeatSpread | None:
    """The spread within groups of two or more values; None if there is no such group.

    The values are assumed to be normal, with the same variance in every group.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups if len(group) > 1]
    freedom = sum(len(values) - 1 for values in arrays)
    if not freedom:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in arrays)
    low, high = (float(special.chdtri(freedom, tail)) for tail in (0.025, 0.975))
    return RepeatSpread(
        math.sqrt(squares / freedom),
        Interval(math.sqrt(squares / low), math.sqrt(squares / high)),
        freedom,
        sum(len(values) for values in arrays),
        len(arrays),
        max(float(np.ptp(values)) for values in arrays),
    )


def find_spreads(configurations: Sequence[ConfigurationRuns]) -> RepeatSpreads:
    """Both spreads of a group, from every configuration that was trained more than once."""
    seeds: list[list[float]] = []
    same: list[list[float]] = []
    n_left_out = 0
    for configuration in configurations:
        ended_well = [run for run in configuration.comparable if run.outcome == "ok"]
        longest = max((run.last_step or 0.0 for run in ended_well), default=0.0)
        enough = (1 - BUDGET_TOLERANCE) * longest
        at_end = [run for run in ended_well if run.last_step is None or run.last_step >= enough]
        if len(configuration.runs) > 1:
            n_left_out += sum(bool(run.history) for run in configuration.runs) - len(at_end)
        pers = [[run.compared_per or 0.0 for run in runs] for runs in by_seed(at_end)]
        seeds.append([values[0] for values in pers])
        same += pers
    return RepeatSpreads(pooled_spread(seeds), pooled_spread(same), n_left_out)


def expected_best(n: int, sd: float) -> float:
    """How far the lowest of `n` equally good runs lies below their mean, on average."""
    grid = np.linspace(-8.0, 8.0, 4001)
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    of_largest = n * density * special.ndtr(grid) ** (n - 1)
    return float(sd * np.trapezoid(grid * of_largest, grid))
