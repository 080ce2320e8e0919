"""Two settings at a time: a map of the figure between the candidates that were tried."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from orchestrator.report.figures.style import WIDTH, new_figure, percent_axis, styled
from orchestrator.search.figures.marks import Setting, ended, fates, scatter
from orchestrator.spec.units import RATES, noun

_MIN_POINTS = 8
_N_LEVELS = 12


class ContourData(NamedTuple):
    """Candidates of one arm over two settings.

    Attributes:
        objective: the first one.
        sign: +1 where smaller is better, else -1.
        x, y: the settings.
        points: (n, 2) where the candidates lie.
        figures: (n,) at `step`, which every candidate reached.
        step: training step.
        fate: see `search_marks.MARKS`.
    """

    objective: str
    sign: int
    x: Setting
    y: Setting
    points: np.ndarray
    figures: np.ndarray
    step: int
    fate: tuple[str, ...]


def contour_data(
    objective: str, sign: int, arm: str, x: Setting, y: Setting, candidates: pd.DataFrame
) -> ContourData | None:
    """Gather one arm; None where too few candidates span no map.

    Args:
        objective: the first one.
        sign: +1 where smaller is better, else -1.
        arm: its name.
        x, y: two settings that are numbers.
        candidates: the table of candidates.
    """
    rows = ended(candidates, arm)
    rows = rows[rows[x.path].notna() & rows[y.path].notna()].reset_index(drop=True)
    points = np.column_stack([x.positions(rows[x.path]), y.positions(rows[y.path])])
    if len(np.unique(points, axis=0)) < _MIN_POINTS or any(len(np.unique(p)) < 3 for p in points.T):
        return None
    figures = rows["common_figure"].to_numpy(dtype=float)
    step = int(rows["common_step"].iloc[0])
    return ContourData(objective, sign, x, y, points, figures, step, tuple(fates(rows)))


@styled
def draw_contour(data: ContourData) -> Figure:
    """Draw `data`: colour between the candidates, linear on the axes' own scales."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.subplots()
    scaled = np.column_stack(
        [
            np.log10(values) if setting.is_log else values
            for setting, values in zip((data.x, data.y), data.points.T, strict=True)
        ]
    )
    unique, first = np.unique(scaled, axis=0, return_index=True)
    triangles = Triangulation(unique[:, 0], unique[:, 1]).triangles
    mesh = Triangulation(data.points[first, 0], data.points[first, 1], triangles)
    levels = np.linspace(data.figures.min(), data.figures.max(), _N_LEVELS + 1)
    if levels[-1] > levels[0]:
        drawn = axes.tricontourf(
            mesh, data.figures[first], levels=levels,
            cmap="viridis" if data.sign > 0 else "viridis_r", alpha=0.6,
        )  # fmt: skip
        bar = figure.colorbar(drawn, ax=axes, pad=0.02)
        bar.set_label(f"{noun(data.objective).removeprefix('final ')} at step {data.step}")
        bar.outline.set_visible(False)
        if data.objective in RATES:
            percent_axis(bar.ax, "y")
    scatter(axes, list(data.points[:, 0]), list(data.points[:, 1]), data.fate)
    axes.grid(False)
    axes.margins(0.04)
    axes.use_sticky_edges = False
    axes.autoscale_view()
    data.x.prepare(axes, "x")
    data.y.prepare(axes, "y")
    axes.legend(
        frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.2
    )
    return figure
