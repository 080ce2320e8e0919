"""Where runs collapse: one cell an arm, the share of its seeds that never learned to speak."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.plan.document import ArmEntry
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

_MIN_CELLS, _MAX_CELLS = 5.0, 9.0  # in a row: no cell grows too wide or too narrow for its text
# Light to dark in colour and in grey alike.
_SHADES = LinearSegmentedColormap.from_list(
    "collapse", ["#f4f4f1", "#f2b04a", "#c05a10", "#5e2205"]
)


class CollapseCell(NamedTuple):
    """One arm: `n_stuck` of `n` runs collapsed or diverged, the latter `n_diverged` of them."""

    x: int
    y: int
    n_stuck: int
    n_diverged: int
    n: int
    n_gaps: int


class CollapseFacet(NamedTuple):
    """One map: cells over two factors."""

    group: Facet
    cells: tuple[CollapseCell, ...]


class CollapseMap(NamedTuple):
    facets: tuple[CollapseFacet, ...]


def collapse_data(
    spec: AblationSpec, arms: Sequence[ArmEntry], arms_table: pd.DataFrame
) -> CollapseMap:
    """Gather the counts of every arm, arranged by factor."""
    by_arm = {row["arm"]: row for row in arms_table.to_dict("records")}
    found = []
    for group in facets(spec, arms):
        cells = []
        for (x, y), arm in group.arms.items():
            row = by_arm[arm]
            cells.append(
                CollapseCell(
                    x=group.x_levels.index(x),
                    y=group.y_levels.index(y),
                    n_stuck=int(row["n_collapsed_or_diverged"]),
                    n_diverged=int(row["n_diverged"]),
                    n=int(row["n"]),
                    n_gaps=int(row["n_failed"] + row["n_missing"]),
                )
            )
        found.append(CollapseFacet(group, tuple(cells)))
    return CollapseMap(tuple(found))


@styled
def draw_collapse(data: CollapseMap) -> Figure:
    """Draw `data` as maps with the counts written into the cells."""
    widths = [float(len(facet.group.x_levels)) for facet in data.facets]
    rows = fill_rows(widths, _MAX_CELLS)
    total = max(_MIN_CELLS, *(sum(widths[i] for i in row) for row in rows))
    parts = [[data.facets[i] for i in row] for row in rows]
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
    axes.set_ylim(n_y - 0.5, n_y - n_rows - 0.5)  # on the bottom line of the row
    axes.set_yticks(range(n_y) if group.y_factor and label_y else [])
    if group.y_factor and label_y:
        axes.set_yticklabels([wrap(level, 14) for level in group.y_levels])
        axes.set_ylabel(group.y_factor)
    axes.set_xlabel(group.x_label)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_cell(axes: Axes, cell: CollapseCell) -> None:
    corner = (cell.x - 0.48, cell.y - 0.47)
    if cell.n == 0:
        axes.add_patch(
            Rectangle(corner, 0.96, 0.94, facecolor="white", edgecolor=FAINT, hatch="////", lw=0)
        )
        axes.text(
            cell.x,
            cell.y,
            "no result",
            ha="center",
            va="center",
            color=INK,
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
        return
    share = cell.n_stuck / cell.n
    axes.add_patch(Rectangle(corner, 0.96, 0.94, facecolor=_SHADES(share), edgecolor="none"))
    notes = [f"{cell.n_diverged} diverged"] if cell.n_diverged else []
    notes += [f"{cell.n_gaps} without result"] if cell.n_gaps else []
    colour = "white" if share > 0.6 else INK
    axes.text(
        cell.x,
        cell.y - (0.14 if notes else 0),
        f"{cell.n_stuck}/{cell.n}",
        ha="center",
        va="center",
        color=colour,
        fontsize=11,
        fontweight="bold" if cell.n_stuck else "normal",
    )
    if notes:
        axes.text(
            cell.x,
            cell.y + 0.24,
            ", ".join(notes),
            ha="center",
            va="center",
            color=colour,
            fontsize=7.5,
        )
