"""Where runs collapse: one cell per arm, with the share of its seeds that collapsed or diverged."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.plan.document import ArmEntry
from orchestrator.report.arm_results import ArmResults, arm_results
from orchestrator.report.figures.grouping import Facet, facets
from orchestrator.report.figures.style import (
    FAINT,
    INK,
    WIDTH,
    fill_rows,
    level_names,
    name_levels,
    new_figure,
    panels,
    styled,
    wrap,
)
from orchestrator.spec.load import AblationSpec

_MIN_CELLS, _MAX_CELLS = (
    5.0,
    9.0,
)  # in a row, so that no cell is too wide, or too narrow for its text
# From light to dark, in colour and in grey.
_SHADES = LinearSegmentedColormap.from_list(
    "collapse", ["#f4f4f1", "#f2b04a", "#c05a10", "#5e2205"]
)


class CollapseCell(NamedTuple):
    """How the runs of one arm ended, and its place in the map."""

    x: int
    y: int
    arm: ArmResults


class CollapseFacet(NamedTuple):
    """One map: cells over two factors."""

    group: Facet
    cells: tuple[CollapseCell, ...]


def collapse_data(
    spec: AblationSpec, arms: Sequence[ArmEntry], arms_table: pd.DataFrame
) -> tuple[CollapseFacet, ...]:
    """Gather the counts of every arm, arranged by factor."""
    rows = arm_results(arms_table)
    return tuple(
        CollapseFacet(group, tuple(CollapseCell(x, y, rows[arm]) for x, y, arm in group.cells))
        for group in facets(spec, arms)
    )


@styled
def draw_collapse(shown: Sequence[CollapseFacet]) -> Figure:
    """Draw the facets as maps, with the counts written into the cells."""
    widths = [float(len(facet.group.x_levels)) for facet in shown]
    rows = fill_rows(widths, _MAX_CELLS)
    total = max(_MIN_CELLS, *(sum(widths[i] for i in row) for row in rows))
    parts = [[shown[i] for i in row] for row in rows]
    heights = [
        0.45 + 0.17 * (_title_lines(p) + _name_lines(p, total)) + 0.52 * _tallest(p) for p in parts
    ]
    figure = new_figure(WIDTH, sum(heights) + 0.2)
    outer = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row, facets_of_row in zip(outer, rows, parts, strict=True):
        axes_row = panels(part, [widths[i] for i in row], total, sharey=False)
        for axes, facet in zip(axes_row, facets_of_row, strict=True):
            _draw_facet(axes, facet, axes is axes_row[0], _tallest(facets_of_row))
            name_levels(axes, facet.group.x_levels, total)
    return figure


def _tallest(row: Sequence[CollapseFacet]) -> int:
    return max(len(facet.group.y_levels) for facet in row)


def _title_lines(row: Sequence[CollapseFacet]) -> int:
    return max(len(facet.group.own_title.splitlines()) for facet in row)


def _name_lines(row: Sequence[CollapseFacet], total: float) -> int:
    return max(text.count("\n") + 1 for f in row for text in level_names(f.group.x_levels, total))


def _draw_facet(axes: Axes, facet: CollapseFacet, label_y: bool, n_rows: int) -> None:
    group = facet.group
    axes.set_title(group.own_title, loc="left")
    axes.grid(False)
    for cell in facet.cells:
        _draw_cell(axes, cell)
    n_x, n_y = len(group.x_levels), len(group.y_levels)
    axes.set_xlim(-0.5, n_x - 0.5)
    axes.set_ylim(n_y - 0.5, n_y - n_rows - 0.5)  # maps of one row end on the same line
    axes.set_yticks(range(n_y) if group.y_factor and label_y else [])
    if group.y_factor and label_y:
        axes.set_yticklabels([wrap(level, 14) for level in group.y_levels])
        axes.set_ylabel(group.y_factor)
    axes.set_xlabel(group.x_label)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_cell(axes: Axes, cell: CollapseCell) -> None:
    arm, corner = cell.arm, (cell.x - 0.48, cell.y - 0.47)
    if arm.n == 0:
        axes.add_patch(
            Rectangle(corner, 0.96, 0.94, facecolor="white", edgecolor=FAINT, hatch="////", lw=0)
        )
        frame = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        _write(axes, cell.x, cell.y, "no result", color=INK, fontsize=8, bbox=frame)
        return
    share = arm.n_collapsed_or_diverged / arm.n
    axes.add_patch(Rectangle(corner, 0.96, 0.94, facecolor=_SHADES(share), edgecolor="none"))
    notes = [f"{arm.n_diverged} diverged"] if arm.n_diverged else []
    notes += [f"{arm.n_gaps} without result"] if arm.n_gaps else []
    colour, weight = "white" if share > 0.6 else INK, "bold" if share else "normal"
    count, above = f"{arm.n_collapsed_or_diverged}/{arm.n}", 0.14 * len(notes)
    _write(axes, cell.x, cell.y - above, count, color=colour, fontsize=11, fontweight=weight)
    _write(axes, cell.x, cell.y + 0.24, "\n".join(notes), color=colour, fontsize=7.5)


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, ha="center", va="center", **style)
