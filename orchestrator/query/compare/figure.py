"""The figure of a comparison: the runs and mean of every arm, and the difference of each pair."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.query.compare.comparison import Comparison, ComparisonRow
from orchestrator.query.compare.rendering import arm_text, method
from orchestrator.report.figures.style import (
    FAINT,
    WIDTH,
    look,
    new_figure,
    percent_axis,
    signed,
    styled,
    wrap,
)
from orchestrator.spec.units import RATES, noun, scale_of, unit_of

_MOST_ROWS = 60
_LABEL = 30  # characters of an arm's name in a row
_LEGEND = 100  # characters of the legend in a row


class FigureRow(NamedTuple):
    """One pair of arms.

    Attributes:
        label: the arm, with the session or the side if there are several.
        compared: the arms in the metric, and their difference.
        side: index of side B; side A is 0.
        note: why there is no interval; empty where there is one.
    """

    label: str
    compared: ComparisonRow
    side: int
    note: str


class FigureData(NamedTuple):
    """Everything the figure shows.

    Attributes:
        metric: the metric compared.
        sides: labels, the reference first.
        rows: from top to bottom.
        n_left_out: further rows, which are not drawn.
    """

    metric: str
    sides: tuple[str, ...]
    rows: tuple[FigureRow, ...]
    n_left_out: int


def comparison_data(comparison: Comparison) -> FigureData:
    """Gather one row per row of the comparison, as many as fit on a page."""
    rows = tuple(_row(row, comparison) for row in comparison.rows[:_MOST_ROWS])
    n_left_out = len(comparison.rows) - len(rows)
    return FigureData(comparison.options.metric, comparison.sides, rows, n_left_out)


@styled
def draw_comparison(data: FigureData) -> Figure:
    """Draw `data`: every run as a ring and the means on the left, differences on the right."""
    labels = [wrap(row.label, _LABEL) for row in data.rows]
    breaks = [label.count("\n") for label in labels]
    most = max((one + two for one, two in pairwise(breaks)), default=2 * max(breaks)) / 2
    height = len(labels) * (0.34 + 0.14 * most) + 1.1  # neighbours do not overlap
    figure = new_figure(WIDTH, height)
    means, differences = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1.0))
    for at, row in enumerate(data.rows):
        _draw_means(means, at, row)
        _draw_difference(differences, at, row)
    means.set_ylim(len(labels) - 0.5, -0.5)
    means.set_yticks(range(len(labels)), labels)
    for axes in (means, differences):
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
    if data.metric in RATES:
        percent_axis(means, "x")
    means.locator_params(axis="x", nbins=6)
    means.set_xlabel(noun(data.metric))
    differences.axvline(0, color=FAINT, linewidth=1)
    scale = scale_of(data.metric)
    differences.xaxis.set_major_formatter(lambda value, _: signed(scale * value))
    text = (
        f"difference from\n{wrap(data.sides[0], _LABEL)}\n({unit_of(data.metric)}, 95 % interval)"
    )
    if data.n_left_out:
        text += f"\n{data.n_left_out} more rows are not drawn"
    differences.set_xlabel(text)
    _legend(figure, means, data)
    return figure


def _row(row: ComparisonRow, comparison: Comparison) -> FigureRow:
    side = f"({row.b_label})" if len(comparison.sides) > 2 else ""
    effect, note = row.difference, ""
    if effect is None:
        note = "only on one side"
    elif math.isinf(effect.interval.low):
        note = method(row)
    label = " ".join(filter(None, (arm_text(row), row.session, side)))
    return FigureRow(label, row, comparison.sides.index(row.b_label), note)


def _draw_means(axes: Axes, at: int, row: FigureRow) -> None:
    a, b = row.compared.a, row.compared.b
    for arm, side, offset in ((a, 0, -0.14), (b, row.side, 0.14)):
        if arm is not None and arm.n:
            _draw_markers(axes, arm.values, at + offset, side, 4, face="none", alpha=0.6)
            _draw_markers(axes, [arm.mean], at + offset, side, 6.5)


def _draw_difference(axes: Axes, at: int, row: FigureRow) -> None:
    effect = row.compared.difference
    if effect and math.isfinite(effect.interval.low):
        axes.plot(effect.interval, [at, at], color=look(row.side).colour, linewidth=1.6)
    if effect and math.isfinite(effect.value):
        face = "white" if row.note else None
        _draw_markers(axes, [effect.value], at, row.side, 6, face=face)
    if row.note:
        axes.annotate(
            row.note,
            (0.99, at),
            xycoords=("axes fraction", "data"),
            xytext=(0, 5),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color=FAINT,
        )


def _draw_markers(
    axes: Axes,
    values: Sequence[float],
    at: float,
    side: int,
    size: float,
    *,
    face: str | None = None,
    alpha: float = 1.0,
) -> None:
    """Markers of a side at the height `at`; `face` is the colour inside, None the side's own."""
    style = look(side)
    axes.plot(
        values,
        [at] * len(values),
        linestyle="none",
        marker=style.marker,
        markersize=size,
        markeredgecolor=style.colour,
        markerfacecolor=face or style.colour,
        alpha=alpha,
    )


def _legend(figure: Figure, axes: Axes, data: FigureData) -> None:
    for side, label in enumerate(data.sides):
        style = look(side)
        axes.plot([], [], linestyle="none", marker=style.marker, color=style.colour, label=label)
    n_columns = _LEGEND // (max(map(len, data.sides)) + 5)  # 5: a marker and a gap
    figure.legend(loc="outside upper left", ncols=max(1, min(3, n_columns)), frameon=False)
