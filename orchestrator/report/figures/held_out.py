"""PER in sessions that trained nothing, against the days from the nearest trained session."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.report.figures.style import (
    WIDTH,
    look,
    new_figure,
    percent_axis,
    styled,
)
from orchestrator.stats.effects import Floats

_MOST_TICKS = 25  # that have room; distances closer than that get the axis's own ticks


class HeldOutCurve(NamedTuple):
    """The sessions held out of one arm.

    Attributes:
        arm: its id.
        days: (n,) from the nearest trained session, ascending.
        per: (n,) edits over reference phonemes, both summed over the seeds.
        low, high: (n,) the lowest and highest PER of a seed.
    """

    arm: str
    days: Floats
    per: Floats
    low: Floats
    high: Floats


def held_out_data(table: pd.DataFrame, only: Sequence[str] | None = None) -> list[HeldOutCurve]:
    """Gather the curve of every arm, in the order of the table.

    Args:
        table: `orchestrator.tables.breakdowns.held_out_table`; rows without days or without
            reference phonemes are left out.
        only: the arms; None takes all.
    """
    dated = table[table["days"].notna() & (table["n_reference"] > 0)]
    curves = []
    for arm, of_arm in dated.groupby("arm", sort=False):
        if only is not None and arm not in only:
            continue
        by_day = of_arm.groupby("days", sort=True)
        sums, seeds = by_day[["n_edits", "n_reference"]].sum(), by_day["per"]
        curves.append(
            HeldOutCurve(
                str(arm),
                sums.index.to_numpy(dtype=float),
                (sums["n_edits"] / sums["n_reference"]).to_numpy(dtype=float),
                seeds.min().to_numpy(dtype=float),
                seeds.max().to_numpy(dtype=float),
            )
        )
    return curves


@styled
def draw_held_out(data: Sequence[HeldOutCurve]) -> Figure:
    """Draw one line per arm; at a single distance, arms stand side by side with their ranges."""
    figure = new_figure(WIDTH, max(3.2, 0.6 + 0.18 * len(data)))
    axes = figure.add_subplot()
    days = sorted({float(day) for curve in data for day in curve.days})
    single = len(days) == 1
    for index, curve in enumerate(data):
        style = look(index)
        at = curve.days + ((index + 0.5) / len(data) - 0.5 if single else 0.0)
        if single:
            axes.vlines(at, curve.low, curve.high, color=style.colour, alpha=0.5)
        axes.fill_between(at, curve.low, curve.high, color=style.colour, alpha=0.16, linewidth=0)
        axes.plot(
            at,
            curve.per,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markersize=4.5,
            label=curve.arm,
        )
    if min(np.diff(days), default=1.0) * _MOST_TICKS >= days[-1] - days[0]:
        axes.set_xticks(days, [f"{day:g}".replace("-", "−") for day in days])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if single:
        axes.set_xlim(days[0] - 1.0, days[0] + 1.0)
    axes.set_xlabel("days since the nearest training day")
    axes.set_ylabel("PER in sessions held out")
    axes.set_ylim(0.0, 1.05 * max([1e-3, *(float(curve.high.max()) for curve in data)]))
    percent_axis(axes, "y")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
