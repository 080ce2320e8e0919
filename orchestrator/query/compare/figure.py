"""A comparison drawn: both figures of every arm, and the difference with its interval."""

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from orchestrator.query.compare.comparison import Comparison, Line
from orchestrator.query.compare.effects import Figure
from orchestrator.query.compare.rendering import arm_text
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


class FigureRow(NamedTuple):
    """One pair of arms.

    Attributes:
        label: the arm, and the session or the side where there are several.
        a, b: figures, None where an arm stands alone.
        side: index of the other side, 1 for the first.
        difference, low, high: B minus A; NaN and infinite where there is none.
        note: why there is no interval; empty where there is one.
    """

    label: str
    a: Figure | None
    b: Figure | None
    side: int
    difference: float
    low: float
    high: float
    note: str


class FigureData(NamedTuple):
    """Everything the drawing shows.

    Attributes:
        metric: what is compared.
        sides: labels, the reference first.
        rows: from top to bottom.
        n_left_out: rows beyond those.
    """

    metric: str
    sides: tuple[str, ...]
    rows: tuple[FigureRow, ...]
    n_left_out: int


def comparison_data(comparison: Comparison) -> FigureData:
    """Gather a row a line, up to a page."""
    rows = tuple(_row(line, comparison) for line in comparison.lines[:_MOST_ROWS])
    n_left_out = len(comparison.lines) - len(rows)
    return FigureData(comparison.options.metric, comparison.sides, rows, n_left_out)


@styled
def draw_comparison(data: FigureData) -> Drawing:
    """Draw `data`: means with every run as a ring on the left, differences on the right."""
    labels = [wrap(row.label, _LABEL) for row in data.rows]
    height = sum(0.34 + 0.14 * label.count("\n") for label in labels) + 1.1
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


def _row(line: Line, comparison: Comparison) -> FigureRow:
    parts = [arm_text(line)]
    parts += [line.session] if line.session else []
    parts += [f"({line.b_label})"] if len(comparison.sides) > 2 else []
    effect = line.effect
    tested = effect is not None and math.isfinite(effect.interval.low)
    note = "" if tested else effect.test if effect is not None else "stands alone"
    if line.mixed:
        note = f"not pooled: {', '.join(m.what for m in line.mixed)}"
    return FigureRow(
        label=" ".join(parts),
        a=line.a,
        b=line.b,
        side=comparison.sides.index(line.b_label),
        difference=effect.difference if effect is not None else math.nan,
        low=effect.interval.low if effect is not None else -math.inf,
        high=effect.interval.high if effect is not None else math.inf,
        note=note,
    )


def _draw_means(axes: Axes, at: int, row: FigureRow) -> None:
    for figure, side, offset in ((row.a, 0, -0.14), (row.b, row.side, 0.14)):
        if figure is None or not figure.n:
            continue
        style = look(side)
        axes.plot(
            figure.values,
            [at + offset] * figure.n,
            linestyle="none",
            marker=style.marker,
            markersize=4,
            markerfacecolor="none",
            markeredgecolor=style.colour,
            alpha=0.6,
        )
        axes.plot(
            [figure.mean],
            [at + offset],
            linestyle="none",
            marker=style.marker,
            markersize=6.5,
            color=style.colour,
        )


def _draw_difference(axes: Axes, at: int, row: FigureRow) -> None:
    style = look(row.side)
    if math.isfinite(row.low):
        axes.plot([row.low, row.high], [at, at], color=style.colour, linewidth=1.6)
    if math.isfinite(row.difference):
        fill = style.colour if not row.note else "white"
        axes.plot(
            [row.difference],
            [at],
            linestyle="none",
            marker=style.marker,
            markersize=6,
            markeredgecolor=style.colour,
            markerfacecolor=fill,
        )
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


def _legend(figure: Drawing, axes: Axes, data: FigureData) -> None:
    for side, label in enumerate(data.sides):
        style = look(side)
        axes.plot([], [], linestyle="none", marker=style.marker, color=style.colour, label=label)
    figure.legend(loc="outside upper left", ncols=min(len(data.sides), 3), frameon=False)
