"""What the figures of a search share: marks for how candidates ended, axes for settings."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from orchestrator.report.figures.style import COLOURS, FAINT, percent_axis

_MOST_TICKS = 6
_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LONGEST = 9  # characters of a choice on an axis


class Mark(NamedTuple):
    """How candidates of one fate are drawn."""

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
        choices: its values where they have no order, as text; empty for numbers.
    """

    path: str
    is_log: bool
    choices: tuple[str, ...]

    def positions(self, values: pd.Series) -> list[float]:
        """Where values lie on the axis; NaN for a candidate in which it is not active."""
        if self.choices:
            return [
                float(self.choices.index(str(value)))
                if str(value) in self.choices
                else float("nan")
                for value in values
            ]
        return [float(value) for value in pd.to_numeric(values)]

    def prepare(self, axes: Axes, which: str = "x") -> None:
        """Scale and label an axis."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        (axes.set_xlabel if which == "x" else axes.set_ylabel)(self.path)
        if self.is_log:
            (axes.set_xscale if which == "x" else axes.set_yscale)("log")
            axis.set_major_locator(LogLocator(numticks=_MOST_TICKS))
            axis.set_major_formatter(lambda value, _: _number(value))
            axis.set_minor_formatter(NullFormatter())
        elif self.choices:
            axis.set_ticks(range(len(self.choices)), [c[:_LONGEST] for c in self.choices])


def rate_axis(axes: Axes, lowest: float) -> None:
    """A rate along y on a logarithmic scale, where the best ones are told apart."""
    axes.set_yscale("log")
    axes.set_yticks([tick for tick in _RATES if tick > 0.6 * lowest])
    axes.set_ylim(bottom=0.7 * lowest)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    percent_axis(axes, "y")


def _number(value: float) -> str:
    """``0.01`` and ``1e-8``."""
    text = f"{value:g}" if value >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")
    return text.replace("-", "−")


def fates(candidates: pd.DataFrame) -> list[str]:
    """One of `MARKS` for each candidate that ended."""
    return [
        ending if ending in ("collapsed", "diverged") else state
        for state, ending in zip(candidates["state"], candidates["ending"], strict=True)
    ]


def scatter(axes: Axes, x: Sequence[float], y: Sequence[float], fate: Sequence[str]) -> None:
    """Candidates with the mark of their fate, labelled for a legend."""
    for name, mark in MARKS.items():
        at = [index for index, other in enumerate(fate) if other == name]
        if at:
            axes.plot(
                [x[i] for i in at], [y[i] for i in at], linestyle="", marker=mark.marker,
                markersize=5.5, markeredgecolor=mark.colour, markeredgewidth=1.0,
                markerfacecolor=mark.colour if mark.filled else "none", label=mark.label,
                zorder=3,
            )  # fmt: skip


def ended(candidates: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The candidates of an arm that were tried to an end, stopped ones included."""
    chosen = candidates["state"].isin(["finished", "stopped"]) & (candidates["arm"] == arm)
    return candidates[chosen].reset_index(drop=True)
