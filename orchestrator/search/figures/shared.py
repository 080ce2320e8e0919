"""What the figures of a search share: marks, axes of settings and scores, panels, legends."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from orchestrator.report.figures.style import COLOURS, FAINT, WIDTH, new_figure, percent_axis
from orchestrator.spec.units import RATES, noun

_MOST_TICKS = 6
_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LONGEST = 9  # characters of a choice on an axis
_COLOUR_MAP = "viridis"


class Objective(NamedTuple):
    """The objective whose score a figure shows: its name, and +1 if smaller is better, else -1."""

    name: str
    sign: int

    @property
    def noun(self) -> str:
        """What its score is called: ``PER``."""
        return noun(self.name).removeprefix("final ")

    @property
    def colour_map(self) -> str:
        """Colours from the best score to the worst."""
        return _COLOUR_MAP if self.sign > 0 else f"{_COLOUR_MAP}_r"


class Mark(NamedTuple):
    """How candidates that ended in one way are drawn."""

    label: str
    marker: str
    colour: str
    filled: bool


MARKS = {
    "finished": Mark("trained to the end", "o", COLOURS[0], True),
    "stopped": Mark("stopped early", "o", FAINT, False),
    "collapsed": Mark("a seed on the blank plateau", "s", COLOURS[4], False),
    "diverged": Mark("a seed diverged", "X", COLOURS[1], True),
}


class Setting(NamedTuple):
    """One dimension of the space, as an axis.

    Attributes:
        path: the config path.
        is_log: whether its axis is logarithmic.
        choices: its values as text if they have no order; empty for numbers.
    """

    path: str
    is_log: bool
    choices: tuple[str, ...]

    def positions(self, values: pd.Series) -> tuple[float, ...]:
        """Where values lie on the axis; NaN for a candidate in which the setting is inactive."""
        if not self.choices:
            return tuple(float(value) for value in pd.to_numeric(values))
        position = {choice: float(index) for index, choice in enumerate(self.choices)}
        return tuple(position.get(str(value), math.nan) for value in values)

    def scaled(self, positions: Sequence[float]) -> np.ndarray:
        """Positions such that equal distances look equal on the axis."""
        return np.log10(positions) if self.is_log else np.array(positions)

    def prepare(self, axes: Axes, which: str = "x") -> None:
        """Scale and label an axis."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_label_text(self.path)
        if self.is_log:
            (axes.set_xscale if which == "x" else axes.set_yscale)("log")
            axis.set_major_locator(LogLocator(numticks=_MOST_TICKS))
            axis.set_major_formatter(lambda value, _: _number(value))
            axis.set_minor_formatter(NullFormatter())
        elif self.choices:
            axis.set_ticks(range(len(self.choices)), [c[:_LONGEST] for c in self.choices])


def ended(candidates: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The candidates of an arm that were finished or stopped.

    The column ``mark`` says how each ended, as a key of `MARKS`.
    """
    chosen = candidates["state"].isin(["finished", "stopped"]) & (candidates["arm"] == arm)
    rows = candidates[chosen].reset_index(drop=True)
    went_wrong = rows["ending"].isin(["collapsed", "diverged"])
    return rows.assign(mark=rows["ending"].where(went_wrong, rows["state"]))


def arm_panels(
    arms: Sequence[str], heights: Sequence[float], sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with a column of panels, one an arm, `heights` in inches."""
    figure = new_figure(WIDTH, 0.6 + sum(heights))
    panels = figure.subplots(
        len(arms), 1, squeeze=False, sharex=True, sharey=sharey, height_ratios=heights
    )[:, 0]
    for axes, arm in zip(panels, arms, strict=True):
        axes.set_title(arm if len(arms) > 1 else "", loc="left")
    return figure, list(panels)


def draw_points(axes: Axes, x: Sequence[float], y: Sequence[float], marks: Sequence[str]) -> None:
    """Draw candidates with the mark of how they ended, a key of `MARKS`, labelled for a legend."""
    for name, mark in MARKS.items():
        at = [index for index, other in enumerate(marks) if other == name]
        if at:
            axes.plot(
                [x[i] for i in at], [y[i] for i in at], linestyle="",
                marker=mark.marker, markersize=5.5, markeredgecolor=mark.colour,
                markeredgewidth=1.0, markerfacecolor=mark.colour if mark.filled else "none",
                label=mark.label, zorder=3,
            )  # fmt: skip


def score_axes(panels: Sequence[Axes], objective: Objective, lowest: float) -> None:
    """Format the y axis that panels share, for scores down to `lowest`.

    A rate gets a logarithmic axis, on which good scores are easy to tell apart, unless one is 0.
    """
    if objective.name not in RATES or lowest <= 0:
        return
    for axes in panels:
        axes.set_yscale("log")
        axes.set_yticks([tick for tick in _RATES if tick > 0.6 * lowest])
        axes.set_ylim(bottom=0.7 * lowest)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        percent_axis(axes, "y")


def rate_axis(axes: Axes, which: str, metric: str) -> None:
    """Label an axis in percent if the metric is a rate."""
    if metric in RATES:
        percent_axis(axes, which)


def draw_colour_bar(
    figure: Figure, axes: Axes, drawn: ScalarMappable, objective: Objective
) -> Axes:
    """Draw the scale of coloured scores beside the axes."""
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    rate_axis(bar.ax, "y", objective.name)
    return bar.ax


def shared_legend(figure: Figure) -> None:
    """Draw one legend above the panels: the marks of candidates, then lines by name."""
    first = [mark.label for mark in MARKS.values()]
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        found |= {
            label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
    labels = [label for label in first if label in found]
    labels += sorted(found.keys() - first, key=str.casefold)
    figure.legend(
        [found[label] for label in labels], labels, loc="outside upper left", ncols=4,
        frameon=False, borderaxespad=0.2,
    )  # fmt: skip


def _number(value: float) -> str:
    """``0.01`` and ``1e-8``."""
    text = f"{value:g}" if value >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")
    return text.replace("-", "−")
