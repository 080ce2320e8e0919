"""Final PER of every arm, along one factor, one line a level of the second: the interactions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from orchestrator.plan.document import ArmEntry
from orchestrator.report.figures.grouping import Facet, facets
from orchestrator.report.figures.style import (
    WIDTH,
    fill_rows,
    legend_above,
    level_line,
    look,
    name_levels,
    new_figure,
    panels,
    percent_axis,
    shown_interval,
    styled,
)
from orchestrator.spec.load import AblationSpec
from orchestrator.stats.run_values import COUNTED

_MIN_WIDTH = 1.9  # of a panel, in steps along x
_MIN_TOTAL, _MAX_TOTAL = 4.0, 11.0  # of a row
_DODGE = 0.14  # of one step along x, between the levels of the second factor


class Point(NamedTuple):
    """One arm: mean, 95 % t interval (NaN below two seeds), and its seeds."""

    x: int
    line: int
    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


class InteractionFacet(NamedTuple):
    group: Facet
    points: tuple[Point, ...]


class Interaction(NamedTuple):
    facets: tuple[InteractionFacet, ...]


def interaction_data(
    spec: AblationSpec,
    arms: Sequence[ArmEntry],
    runs: pd.DataFrame,
    arms_table: pd.DataFrame,
) -> Interaction:
    """Gather mean, interval and seeds of every arm with a result, arranged by factor."""
    by_arm = {row["arm"]: row for row in arms_table.to_dict("records")}
    counted = runs[runs["outcome"].isin(COUNTED)]
    found = []
    for group in facets(spec, arms):
        points = []
        for (x, y), arm in group.arms.items():
            row = by_arm[arm]
            if row["n"] == 0:
                continue
            finite = np.isfinite(row["per_low"])
            points.append(
                Point(
                    x=group.x_levels.index(x),
                    line=group.y_levels.index(y),
                    mean=float(row["per_mean"]),
                    low=float(row["per_low"]) if finite else np.nan,
                    high=float(row["per_high"]) if finite else np.nan,
                    seeds=tuple(counted.loc[counted["arm"] == arm, "per"]),
                )
            )
        found.append(InteractionFacet(group, tuple(points)))
    return Interaction(tuple(found))


@styled
def draw_interaction(data: Interaction) -> Figure:
    """Draw `data` as panels side by side on one PER axis."""
    widths = [max(_MIN_WIDTH, len(facet.group.x_levels)) for facet in data.facets]
    rows = fill_rows(widths, _MAX_TOTAL)
    total = max(_MIN_TOTAL, *(sum(widths[i] for i in row) for row in rows))
    figure = new_figure(WIDTH, 0.8 + 2.35 * len(rows))
    outer = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(outer, rows, strict=True):
        axes_row = panels(part, [widths[i] for i in row], total, sharey=True)
        for axes, facet in zip(axes_row, (data.facets[i] for i in row), strict=True):
            _draw_facet(axes, facet)
            _scale(axes, data)
            name_levels(axes, facet.group.x_levels, total)
        axes_row[0].set_ylabel("final PER")
    first = data.facets[0].group
    if first.y_factor:
        _legend(figure, first)
    return figure


def _draw_facet(axes: Axes, facet: InteractionFacet) -> None:
    group = facet.group
    axes.set_title(group.own_title, loc="left")
    axes.grid(False, axis="x")
    n_lines = len(group.y_levels)
    for line in range(n_lines):
        points = [point for point in facet.points if point.line == line]
        style = look(line) if group.is_design else look(6)
        shift = (line - (n_lines - 1) / 2) * _DODGE
        x = np.array([point.x + shift for point in points])
        beside = axes.transData + ScaledTranslation(-0.09, 0, axes.figure.dpi_scale_trans)
        for place, point in zip(x, points, strict=True):
            axes.plot(
                np.full(len(point.seeds), place),
                point.seeds,
                transform=beside,
                linestyle="",
                marker="o",
                markersize=3,
                markerfacecolor="none",
                markeredgecolor=style.colour,
                markeredgewidth=0.6,
                alpha=0.7,
            )
            axes.vlines(
                place,
                *shown_interval(point.low, point.high, point.seeds),
                color=style.colour,
                lw=1.4,
            )
        axes.plot(
            x,
            [point.mean for point in points],
            color=style.colour,
            linestyle=style.line if group.is_design and group.y_factor else "",
            marker=style.marker,
            markersize=6,
        )
    axes.set_xlim(-0.5, len(group.x_levels) - 0.5)
    axes.set_xlabel(group.x_label)


def _scale(axes: Axes, data: Interaction) -> None:
    highest = max((s for f in data.facets for p in f.points for s in p.seeds), default=1.0)
    axes.set_ylim(-0.02, max(1.04, 1.04 * highest))
    percent_axis(axes, "y")


def _legend(figure: Figure, group: Facet) -> None:
    handles = [level_line(index, level) for index, level in enumerate(group.y_levels)]
    legend_above(figure, handles, group.y_factor)
