"""Final PER of every arm along one factor, with one line per level of a second: interactions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.plan.document import ArmEntry
from orchestrator.report.figures.arm_per import ArmPer, draw_seeds, per_by_arm, scale_per
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
    styled,
)
from orchestrator.spec.load import AblationSpec

_MIN_WIDTH = 1.9  # of a panel, in steps along x
_MIN_TOTAL, _MAX_TOTAL = 4.0, 11.0  # of a row
_DODGE = 0.14  # of one step along x, between the levels of the second factor


class Point(NamedTuple):
    """Final PER of one arm, and its place in the panel: x level and line."""

    x: int
    line: int
    per: ArmPer


class InteractionFacet(NamedTuple):
    """One panel: points over two factors."""

    group: Facet
    points: tuple[Point, ...]


def interaction_data(
    spec: AblationSpec,
    arms: Sequence[ArmEntry],
    runs: pd.DataFrame,
    arms_table: pd.DataFrame,
) -> tuple[InteractionFacet, ...]:
    """Gather final PER, interval and seeds of every arm with a result, arranged by factor."""
    per = per_by_arm(runs, arms_table)
    return tuple(
        InteractionFacet(
            group, tuple(Point(x, y, per[arm]) for x, y, arm in group.cells if per[arm].seeds)
        )
        for group in facets(spec, arms)
    )


@styled
def draw_interaction(shown: Sequence[InteractionFacet]) -> Figure:
    """Draw the facets as panels side by side on one PER axis."""
    widths = [max(_MIN_WIDTH, len(facet.group.x_levels)) for facet in shown]
    rows = fill_rows(widths, _MAX_TOTAL)
    total = max(_MIN_TOTAL, *(sum(widths[i] for i in row) for row in rows))
    figure = new_figure(WIDTH, 0.8 + 2.35 * len(rows))
    outer = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(outer, rows, strict=True):
        axes_row = panels(part, [widths[i] for i in row], total, sharey=True)
        for axes, facet in zip(axes_row, (shown[i] for i in row), strict=True):
            _draw_facet(axes, facet)
            scale_per(axes, (point.per for one in shown for point in one.points))
            name_levels(axes, facet.group.x_levels, total)
        axes_row[0].set_ylabel("final PER")
    first = shown[0].group
    if first.y_factor:
        handles = [level_line(index, level) for index, level in enumerate(first.y_levels)]
        legend_above(figure, handles, first.y_factor)
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
        for place, point in zip(x, points, strict=True):
            draw_seeds(axes, place, point.per, style)
        axes.plot(
            x,
            [point.per.mean for point in points],
            color=style.colour,
            linestyle=style.line if group.is_design and group.y_factor else "",
            marker=style.marker,
            markersize=6,
        )
    axes.set_xlim(-0.5, len(group.x_levels) - 0.5)
    axes.set_xlabel(group.x_label)
