"""The figures of several settings together: parallel coordinates of all, and a map of two."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from orchestrator.report.figures.style import FAINT, INK, WIDTH, new_figure, styled
from orchestrator.search.figures.shared import (
    Objective,
    Setting,
    draw_colour_bar,
    draw_points,
    ended,
    shared_legend,
)

_MIN_POINTS = 8
_N_LEVELS = 12


class ParallelData(NamedTuple):
    """The candidates of one arm.

    Attributes:
        lines: (n, settings) position on each axis in [0, 1]; NaN where a setting is inactive.
        ends: the values at the lower and the upper end of each axis.
        scores: (n,) at `step`, which every candidate reached.
        step: training step.
        chosen: (n,) whether it is among the best.
    """

    settings: tuple[Setting, ...]
    lines: np.ndarray
    ends: tuple[tuple[str, str], ...]
    scores: np.ndarray
    step: int
    chosen: tuple[bool, ...]


def parallel_data(
    arm: str,
    settings: Sequence[Setting],
    candidates: pd.DataFrame,
    best: Sequence[int],
) -> ParallelData:
    """Gather one arm; `best` are numbers of the candidates to be drawn in bold."""
    rows = ended(candidates, arm)
    columns, ends = [], []
    for setting in settings:
        scaled = setting.scaled(setting.positions(rows[setting.path]))
        low, high = np.nanmin(scaled), np.nanmax(scaled)
        columns.append(_share(scaled))
        if setting.choices:
            ends.append((setting.choices[0], setting.choices[-1]))
        else:
            low, high = (10**end if setting.is_log else end for end in (low, high))
            ends.append((f"{low:.3g}", f"{high:.3g}"))
    return ParallelData(
        tuple(settings),
        np.column_stack(columns),
        tuple(ends),
        rows["common_figure"].to_numpy(dtype=float),
        int(rows["common_step"].iloc[0]),
        tuple(rows["candidate"].isin(best)),
    )


def _share(values: np.ndarray) -> np.ndarray:
    """Values moved to [0, 1]; 0.5 if all are equal."""
    low, high = np.nanmin(values), np.nanmax(values)
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


@styled
def draw_parallel(objective: Objective, data: ParallelData) -> Figure:
    """Draw the lines, better candidates on top and the best in bold."""
    figure = new_figure(WIDTH, 3.2)
    axes = figure.subplots()
    colours = ScalarMappable(
        Normalize(data.scores.min(), data.scores.max()), colormaps[objective.colour_map]
    )
    at = np.arange(len(data.settings) + 1)
    lines = np.column_stack([data.lines, _share(data.scores)])
    for index in np.argsort(-objective.sign * data.scores):
        bold, active = data.chosen[index], ~np.isnan(lines[index])
        axes.plot(
            at[active], lines[index][active], color=colours.to_rgba(data.scores[index]),
            linewidth=2.6 if bold else 0.9, alpha=1.0 if bold else 0.6, zorder=3 if bold else 2,
        )  # fmt: skip
    for x, (low, high) in enumerate(data.ends):
        axes.axvline(x, color=FAINT, linewidth=0.8)
        axes.annotate(low, (x, -0.02), ha="center", va="top", fontsize=8, color=FAINT)
        axes.annotate(high, (x, 1.02), ha="center", va="bottom", fontsize=8, color=FAINT)
    axes.axvline(len(data.settings), color=INK, linewidth=0.8)
    names = [setting.path for setting in data.settings]
    axes.set_xticks(at, [*names, f"{objective.noun}\nat step {data.step}"])
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_yticks([])
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(-0.3, len(data.settings) + 0.1)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    draw_colour_bar(figure, axes, colours, objective)
    return figure


class ContourData(NamedTuple):
    """The candidates of one arm over two settings.

    Attributes:
        x, y: the settings.
        points: (n, 2) their values.
        marks: how each candidate ended: keys of `MARKS`.
        scores: (n,) at `step`, which every candidate reached.
        step: training step.
    """

    x: Setting
    y: Setting
    points: np.ndarray
    marks: tuple[str, ...]
    scores: np.ndarray
    step: int


def contour_data(arm: str, x: Setting, y: Setting, candidates: pd.DataFrame) -> ContourData | None:
    """Gather one arm over two numeric settings; None if its candidates are too few for a map."""
    rows = ended(candidates, arm)
    rows = rows[rows[x.path].notna() & rows[y.path].notna()].reset_index(drop=True)
    points = rows[[x.path, y.path]].to_numpy(dtype=float)
    n_different = [len(np.unique(values)) for values in points.T]
    if len(np.unique(points, axis=0)) < _MIN_POINTS or min(n_different) < 3:
        return None
    scores, step = rows["common_figure"].to_numpy(dtype=float), int(rows["common_step"].iloc[0])
    return ContourData(x, y, points, tuple(rows["mark"]), scores, step)


@styled
def draw_contour(objective: Objective, data: ContourData) -> Figure:
    """Draw colour between the candidates, linear on the scales of the axes."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.subplots()
    x, y = data.points.T
    scaled = np.column_stack([data.x.scaled(x), data.y.scaled(y)])
    unique, first = np.unique(scaled, axis=0, return_index=True)
    triangles = Triangulation(unique[:, 0], unique[:, 1]).triangles
    mesh = Triangulation(x[first], y[first], triangles)
    levels = np.linspace(data.scores.min(), data.scores.max(), _N_LEVELS + 1)
    if levels[-1] > levels[0]:
        drawn = axes.tricontourf(
            mesh, data.scores[first], levels=levels, cmap=objective.colour_map, alpha=0.6
        )
        bar = draw_colour_bar(figure, axes, drawn, objective)
        bar.set_ylabel(f"{objective.noun} at step {data.step}")
    draw_points(axes, x, y, data.marks)
    axes.grid(False)
    axes.margins(0.04)
    axes.use_sticky_edges = False
    axes.autoscale_view()
    data.x.prepare(axes, "x")
    data.y.prepare(axes, "y")
    shared_legend(figure)
    return figure
