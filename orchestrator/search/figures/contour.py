"""The figure of two settings: a map of the score between the candidates."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from orchestrator.report.figures.style import WIDTH, new_figure, styled
from orchestrator.search.figures.shared import (
    Objective,
    Points,
    Setting,
    draw_colour_bar,
    draw_points,
    ended,
    marks_of,
    shared_legend,
)

_MIN_POINTS = 8
_N_LEVELS = 12


class ContourData(NamedTuple):
    """The candidates of one arm over two settings; scores (n,) at a step that all reached."""

    objective: Objective
    x: Setting
    y: Setting
    points: Points
    scores: np.ndarray
    step: int


def contour_data(
    objective: Objective, arm: str, x: Setting, y: Setting, candidates: pd.DataFrame
) -> ContourData | None:
    """Gather one arm over two numeric settings; None if its candidates are too few for a map."""
    rows = ended(candidates, arm)
    rows = rows[rows[x.path].notna() & rows[y.path].notna()].reset_index(drop=True)
    points = Points(x.positions(rows[x.path]), y.positions(rows[y.path]), marks_of(rows))
    if len(set(zip(points.x, points.y, strict=True))) < _MIN_POINTS:
        return None
    if min(len(set(points.x)), len(set(points.y))) < 3:
        return None
    scores = rows["common_figure"].to_numpy(dtype=float)
    return ContourData(objective, x, y, points, scores, int(rows["common_step"].iloc[0]))


@styled
def draw_contour(data: ContourData) -> Figure:
    """Draw colour between the candidates, linear on the scales of the axes."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.subplots()
    points = np.column_stack([data.points.x, data.points.y])
    scaled = np.column_stack([data.x.scaled(data.points.x), data.y.scaled(data.points.y)])
    unique, first = np.unique(scaled, axis=0, return_index=True)
    triangles = Triangulation(unique[:, 0], unique[:, 1]).triangles
    mesh = Triangulation(points[first, 0], points[first, 1], triangles)
    levels = np.linspace(data.scores.min(), data.scores.max(), _N_LEVELS + 1)
    if levels[-1] > levels[0]:
        drawn = axes.tricontourf(
            mesh, data.scores[first], levels=levels, cmap=data.objective.colour_map, alpha=0.6
        )
        bar = draw_colour_bar(figure, axes, drawn, data.objective)
        bar.set_ylabel(f"{data.objective.noun} at step {data.step}")
    draw_points(axes, data.points)
    axes.grid(False)
    axes.margins(0.04)
    axes.use_sticky_edges = False
    axes.autoscale_view()
    data.x.prepare(axes, "x")
    data.y.prepare(axes, "y")
    shared_legend(figure)
    return figure
