"""What repeated configurations show: the spread of PER, and the smallest believable difference."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from orchestrator.history.audit.counting import Counted
from orchestrator.history.reading.record import ForeignRun
from orchestrator.stats.effects import Interval, t_quantile

_EXACT = 1e-4  # a standard deviation below is that of runs which repeat, and of rounding
_SAME_STEP = 0.02  # last steps this close, relatively, count as the same budget


class Arm(NamedTuple):
    """Runs of one configuration, seeds aside; copies are left out.

    Attributes:
        runs: in the order of the group.
        counted: the settings that count, the same for all.
    """

    runs: tuple[ForeignRun, ...]
    counted: Counted

    @property
    def comparable(self) -> tuple[ForeignRun, ...]:
        """The runs with a PER that means what the configuration leads to, diverged ones too."""
        return tuple(
            run for run in self.runs if run.outcome != "unfinished" and run.counted is not None
        )

    @property
    def per(self) -> float:
        """Mean PER of its comparable runs; NaN without any."""
        values = [run.counted for run in self.comparable if run.counted is not None]
        return sum(values) / len(values) if values else math.nan


class Spread(NamedTuple):
    """How PERs of one configuration differ.

    Attributes:
        sd: standard deviation of a run's PER, pooled over configurations.
        interval: 95 %, by chi-square; infinite above where nothing bounds it.
        freedom: degrees of freedom.
        n_runs, n_arms: what it rests on.
        largest: the largest difference of two runs of one configuration.
    """

    sd: float
    interval: Interval
    freedom: int
    n_runs: int
    n_arms: int
    largest: float

    def believable(self, n_a: int = 1, n_b: int = 1, n_pairs: int = 1) -> float:
        """The difference of two means of so many runs that chance exceeds in 1 of 20 cases.

        Args:
            n_a, n_b: runs in each mean.
            n_pairs: comparisons of which the largest is looked at (Bonferroni).
        """
        t = t_quantile(1 - 0.025 / n_pairs, self.freedom)
        return t * self.sd * math.sqrt(1 / n_a + 1 / n_b)


def pooled(groups: Sequence[Sequence[float]]) -> Spread | None:
    """The spread within groups of two or more values; None if there is no such group.

    Values are taken to vary alike in every group, and normally.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups if len(group) > 1]
    freedom = sum(len(values) - 1 for values in arrays)
    if not freedom:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in arrays)
    low, high = (float(special.chdtri(freedom, tail)) for tail in (0.025, 0.975))
    return Spread(
        math.sqrt(squares / freedom),
        Interval(math.sqrt(squares / low), math.sqrt(squares / high)),
        freedom,
        sum(len(values) for values in arrays),
        len(arrays),
        max(float(np.ptp(values)) for values in arrays),
    )


class Spreads(NamedTuple):
    """Spread between seeds, and that of the same seed trained again; None where none was seen.

    Attributes:
        seeds: of runs that differ in their seed, or do not say it; one run a seed.
        same: of runs that state the same seed.
        n_left_out: repeated runs that collapsed, diverged or ended elsewhere, and count in none.
    """

    seeds: Spread | None
    same: Spread | None
    n_left_out: int

    @property
    def best(self) -> Spread | None:
        """What differences are held against: the seeds' spread if any was seen.

        The same seed trained again is a makeshift, and none where it repeats exactly: then it
        tells nothing of what another course of training would have come to.
        """
        seen = (spread for spread in (self.seeds, self.same) if spread is not None)
        return next((spread for spread in seen if spread.sd > _EXACT), None)


def find_spreads(arms: Sequence[Arm]) -> Spreads:
    """Both spreads of a group of runs, from every configuration that was trained again."""
    by_seed: list[list[float]] = []
    same: list[list[float]] = []
    n_left_out = 0
    for arm in arms:
        fit = [run for run in arm.comparable if run.outcome == "ok"]
        at_end = [run for run in fit if _same_budget(run, fit)]
        if len(arm.runs) > 1:
            n_left_out += sum(bool(run.history) for run in arm.runs) - len(at_end)
        seeds: dict[object, list[float]] = {}
        for index, run in enumerate(at_end):
            assert run.counted is not None
            seeds.setdefault(("unstated", index) if run.seed is None else run.seed, []).append(
                run.counted
            )
        by_seed.append([values[0] for values in seeds.values()])
        same += [values for values in seeds.values() if len(values) > 1]
    return Spreads(pooled(by_seed), pooled(same), n_left_out)


def _same_budget(run: ForeignRun, others: Sequence[ForeignRun]) -> bool:
    """Whether a run ends where the longest of the others ends."""
    last = [other.last_step for other in others if other.last_step is not None]
    if run.last_step is None or not last:
        return True
    return run.last_step >= (1 - _SAME_STEP) * max(last)


def expected_best(n: int, sd: float) -> float:
    """How far below the mean the best of `n` runs of equal worth lies, on average."""
    grid = np.linspace(-8.0, 8.0, 4001)
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    of_largest = n * density * special.ndtr(grid) ** (n - 1)
    return float(sd * np.trapezoid(grid * of_largest, grid))


def find_arms(runs: Sequence[ForeignRun], known: Mapping[str, Counted]) -> tuple[Arm, ...]:
    """Runs with settings, put together by the settings that count."""
    groups: dict[str, list[ForeignRun]] = {}
    for run in runs:
        if run.settings:
            groups.setdefault(known[run.name].signature, []).append(run)
    return tuple(Arm(tuple(group), known[group[0].name]) for group in groups.values())
