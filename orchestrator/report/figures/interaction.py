"""Final PER of every arm along one factor, with one line per level of a second: interactions."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.arm_per import ArmPer, draw_seeds, per_by_arm, scale_per
from orchestrator.report.figures.grouping import Facet, place
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
from orchestrator.tables.tables import Tables

_MIN_WIDTH = 1.9  # of a panel, in steps along x
_MIN_TOTAL, _MAX_TOTAL = 4.0, 11.0  # of a row
_DODGE = 0.14  # of one step along x, between the levels of the second factor


def interaction_data(
    plan: PlanDocument, tables: Tables, only: Sequence[str] | None = None
) -> list[Facet[ArmPer]]:
    """Gather final PER, interval and seeds of every arm with a result, arranged by factor.

    Args:
        only: the arms shown; None shows all.
    """
    return place(plan, {arm: per for arm, per in per_by_arm(tables).items() if per.seeds}, only)


@styled
def draw_interaction(shown: Sequence[Facet[ArmPer]]) -> Figure:
    """Draw the facets as panels side by side on one PER axis."""
    widths = [max(_MIN_WIDTH, len(facet.x_levels)) for facet in shown]
    rows = fill_rows(widths, _MAX_TOTAL)
    total = max(_MIN_TOTAL, *(sum(widths[i] for i in row) for row in rows))
    figure = new_figure(WIDTH, 0.8 + 2.35 * len(rows))
    outer = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(outer, rows, strict=True):
        axes_row = panels(part, [widths[i] for i in row], total, sharey=True)
        for axes, facet in zip(axes_row, (shown[i] for i in row), strict=True):
            _draw_facet(axes, facet)
            scale_per(axes, (per for one in shown for per in one.arms.values()))
            name_levels(axes, facet.x_levels, total)
        axes_row[0].set_ylabel("final PER")
    first = shown[0]
    if first.y_factor:
        handles = [level_line(index, level) for index, level in enumerate(first.y_levels)]
        legend_above(figure, handles, first.y_factor)
    return figure


def _draw_facet(axes: Axes, facet: Facet[ArmPer]) -> None:
    axes.set_title(facet.own_title, loc="left")
    axes.grid(False, axis="x")
    n_lines = len(facet.y_levels)
    for line in range(n_lines):
        style = look(line) if facet.is_design else look(6)
        shift = (line - (n_lines - 1) / 2) * _DODGE
        means = {x + shift: per.mean for x, y, per in facet.cells if y == line}
        for x, y, per in facet.cells:
            if y == line:
                draw_seeds(axes, x + shift, per, style)
        axes.plot(
            list(means),
            list(means.values()),
            color=style.colour,
            linestyle=style.line if facet.is_design and facet.y_factor else "",
            marker=style.marker,
            markersize=6,
        )
    axes.set_xlim(-0.5, len(facet.x_levels) - 0.5)
    axes.set_xlabel(facet.x_label)
