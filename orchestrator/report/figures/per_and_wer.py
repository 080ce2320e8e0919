"""Final WER against final PER: every run, and the mean of every arm."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.report.figures.style import (
    COLOURS,
    MARKERS,
    WIDTH,
    new_figure,
    percent_axis,
    styled,
)
from orchestrator.report.per_and_wer import PerAndWer
from orchestrator.stats.effects import Floats

_WIDE = 0.08  # a narrower axis has ticks at tenths of a percent


class ArmCloud(NamedTuple):
    """The runs of one arm.

    Attributes:
        arm: its id.
        per, wer: (n,) of each run.
    """

    arm: str
    per: Floats
    wer: Floats


def clouds_data(found: PerAndWer, only: Sequence[str] | None = None) -> list[ArmCloud]:
    """Gather the runs of every arm, in the order of the runs table; `only` names those shown."""
    return [
        ArmCloud(
            str(arm),
            of_arm["per"].to_numpy(dtype=float),
            of_arm["wer"].to_numpy(dtype=float),
        )
        for arm, of_arm in found.runs.groupby("arm", sort=False)
        if only is None or arm in only
    ]


@styled
def draw_clouds(data: Sequence[ArmCloud]) -> Figure:
    """Draw a small open marker for each run and a filled marker for the mean of each arm."""
    figure = new_figure(WIDTH, max(4.2, 0.6 + 0.19 * len(data)))
    axes = figure.add_subplot()
    for index, cloud in enumerate(data):
        colour, marker = _style(index)
        axes.plot(
            cloud.per,
            cloud.wer,
            linestyle="",
            marker=marker,
            markersize=4,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=0.7,
            alpha=0.6,
        )
        axes.plot(
            [cloud.per.mean()],
            [cloud.wer.mean()],
            linestyle="",
            marker=marker,
            markersize=8,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.8,
            label=cloud.arm,
        )
    for which, axis, values in (
        ("x", axes.xaxis, np.concatenate([cloud.per for cloud in data])),
        ("y", axes.yaxis, np.concatenate([cloud.wer for cloud in data])),
    ):
        span = max(float(np.ptp(values)), 0.01)
        limits = (float(values.min()) - 0.08 * span, float(values.max()) + 0.08 * span)
        (axes.set_xlim if which == "x" else axes.set_ylim)(limits)
        axis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], min_n_ticks=3))
        percent_axis(axes, which, digits=int(span < _WIDE))
    axes.set_xlabel("final PER")
    axes.set_ylabel("final WER")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _style(index: int) -> tuple[str, str]:
    """Colour and marker of the n-th arm; the same pair comes back only after 49 arms."""
    turn = index // len(COLOURS)
    return COLOURS[index % len(COLOURS)], MARKERS[(index + turn) % len(MARKERS)]
