"""Final PER of an arm as figures show it: a point, its 95 % interval, and a ring for each seed."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from orchestrator.report.arm_results import arm_results
from orchestrator.report.figures.style import LevelStyle, percent_axis, shown_interval
from orchestrator.stats.run_values import COUNTED
from orchestrator.tables.tables import Tables

_RINGS_LEFT_BY = 0.09  # inches


class ArmPer(NamedTuple):
    """Final PER of one arm: mean, 95 % t interval (NaN below two seeds), and its seeds."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


def per_by_arm(tables: Tables) -> dict[str, ArmPer]:
    """Arm → its final PER; without any result, NaN and no seeds."""
    counted = tables.runs[tables.runs["outcome"].isin(COUNTED)]
    seeds = dict(iter(counted.groupby("arm")["per"]))
    return {
        arm: ArmPer(row.per_mean, row.per_low, row.per_high, tuple(seeds.get(arm, ())))
        for arm, row in arm_results(tables.arms).items()
    }


def draw_seeds(axes: Axes, x: float, per: ArmPer, style: LevelStyle) -> None:
    """Draw the seeds of an arm as rings left of `x`, and its interval at `x`."""
    axes.plot(
        np.full(len(per.seeds), x),
        per.seeds,
        transform=axes.transData
        + ScaledTranslation(-_RINGS_LEFT_BY, 0, axes.figure.dpi_scale_trans),
        linestyle="",
        marker="o",
        markersize=3,
        markerfacecolor="none",
        markeredgecolor=style.colour,
        markeredgewidth=0.6,
        alpha=0.7,
    )
    axes.vlines(x, *shown_interval(per.low, per.high, per.seeds), color=style.colour, lw=1.4)


def scale_per(axes: Axes, shown: Iterable[ArmPer]) -> None:
    """Let the y axis span 0 to 100 %, or up to the highest seed if that is above 100 %."""
    highest = max((seed for per in shown for seed in per.seeds), default=1.0)
    axes.set_ylim(-0.02, max(1.04, 1.04 * highest))
    percent_axis(axes, "y")
