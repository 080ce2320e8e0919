"""Where runs collapse: one cell per arm, with the share of its seeds that collapsed or diverged."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.plan.document import PlanDocument
from orchestrator.report.arm_results import ArmResults, arm_results
from orchestrator.report.figures.grouping import Facet, place
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
from orchestrator.tables.tables import Tables

_MIN_CELLS, _MAX_CELLS = 5.0, 9.0  # in a row: no cell is too wide, or too narrow for its text
# From light to dark, in colour and in grey.
_SHADES = LinearSegmentedColormap.from_list(
    "collapse", ["#f4f4f1", "#f2b04a", "#c05a10", "#5e2205"]
)


def collapse_data(
    plan: PlanDocument, tables: Tables, only: Sequence[str] | None = None
) -> list[Facet[ArmResults]]:
    """Gather the counts of every arm, arranged by factor; `only` names the arms shown."""
    return place(plan, arm_results(tables.arms), only)


@styled
def draw_collapse(shown: Sequence[Facet[ArmResults]]) -> Figure:
    """Draw the facets as maps, with the counts written into the cells."""
    widths = [float(len(facet.x_levels)) for facet in shown]
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
            name_levels(axes, facet.x_levels, total)
    return figure


def _tallest(row: Sequence[Facet[ArmResults]]) -> int:
    return max(len(facet.y_levels) for facet in row)


def _title_lines(row: Sequence[Facet[ArmResults]]) -> int:
    return max(len(facet.own_title.splitlines()) for facet in row)


def _name_lines(row: Sequence[Facet[ArmResults]], total: float) -> int:
    return max(text.count("\n") + 1 for f in row for text in level_names(f.x_levels, total))


def _draw_facet(axes: Axes, facet: Facet[ArmResults], label_y: bool, n_rows: int) -> None:
    axes.set_title(facet.own_title, loc="left")
    axes.grid(False)
    for x, y, arm in facet.cells:
        _draw_cell(axes, x, y, arm)
    n_x, n_y = len(facet.x_levels), len(facet.y_levels)
    axes.set_xlim(-0.5, n_x - 0.5)
    axes.set_ylim(n_y - 0.5, n_y - n_rows - 0.5)  # maps of one row end on the same line
    axes.set_yticks(range(n_y) if facet.y_factor and label_y else [])
    if facet.y_factor and label_y:
        axes.set_yticklabels([wrap(level, 14) for level in facet.y_levels])
        axes.set_ylabel(facet.y_factor)
    axes.set_xlabel(facet.x_label)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_cell(axes: Axes, x: int, y: int, arm: ArmResults) -> None:
    corner = (x - 0.48, y - 0.47)
    if arm.n == 0:
        axes.add_patch(
            Rectangle(corner, 0.96, 0.94, facecolor="white", edgecolor=FAINT, hatch="////", lw=0)
        )
        frame = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        _write(axes, x, y, "no result", color=INK, fontsize=8, bbox=frame)
        return
    share = arm.n_collapsed_or_diverged / arm.n
    axes.add_patch(Rectangle(corner, 0.96, 0.94, facecolor=_SHADES(share), edgecolor="none"))
    notes = [f"{arm.n_diverged} diverged"] if arm.n_diverged else []
    notes += [f"{arm.n_gaps} without result"] if arm.n_gaps else []
    colour, weight = "white" if share > 0.6 else INK, "bold" if share else "normal"
    count, above = f"{arm.n_collapsed_or_diverged}/{arm.n}", 0.14 * len(notes)
    _write(axes, x, y - above, count, color=colour, fontsize=11, fontweight=weight)
    _write(axes, x, y + 0.24, "\n".join(notes), color=colour, fontsize=7.5)


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, ha="center", va="center", **style)
