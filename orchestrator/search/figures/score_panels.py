"""The figures of scores as points: against the steps spent, and against each setting."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.figures.style import WIDTH, look, new_figure, styled
from orchestrator.search.figures.shared import (
    Objective,
    Points,
    Setting,
    draw_points,
    ended,
    marks_of,
    score_axes,
    shared_legend,
)

_SPENT = Setting("training steps spent, over all runs of the search", False, ())


class ScorePanel(NamedTuple):
    """The candidates of one arm against something.

    Attributes:
        title: the arm; empty if there is only one.
        axis: what lies along x.
        points: candidates; y: scores where they ended.
        best: best score at the end of the budget so far, one a candidate; NaN before the first;
            empty where it is not drawn.
        confirmed: name → mean on fresh seeds.
    """

    title: str
    axis: Setting
    points: Points
    best: tuple[float, ...]
    confirmed: Mapping[str, float]


class ScoresData(NamedTuple):
    """The first objective, the panels, and how many of them stand side by side."""

    objective: Objective
    panels: tuple[ScorePanel, ...]
    n_columns: int


def progress_data(
    objective: Objective,
    arms: Sequence[str],
    candidates: pd.DataFrame,
    confirmed: Mapping[tuple[str, str], float],
) -> ScoresData:
    """Scores against the steps spent, with the best score so far: one panel an arm.

    The confirmed means on fresh seeds are those of (arm, ``base`` or ``best 1``).
    """
    panels = []
    for arm in arms:
        rows = ended(candidates, arm)
        full = rows["figure"].where(rows["state"] == "finished") * objective.sign
        best = tuple((full.cummin().ffill() * objective.sign).astype(float))
        spent, scores = (tuple(rows[name].astype(float)) for name in ("steps_so_far", "figure"))
        own = {name: mean for (of, name), mean in confirmed.items() if of == arm}
        title = arm if len(arms) > 1 else ""
        panels.append(ScorePanel(title, _SPENT, Points(spent, scores, marks_of(rows)), best, own))
    return ScoresData(objective, tuple(panels), 1)


def settings_data(
    objective: Objective,
    settings: Mapping[str, Sequence[Setting]],
    candidates: pd.DataFrame,
    base: float | None,
) -> ScoresData:
    """Scores against each setting: one panel for each arm and setting.

    The base is its mean on fresh seeds; None if there is none, or several bases.
    """
    panels, confirmed = [], {} if base is None else {"base": base}
    for arm, own in settings.items():
        rows, title = ended(candidates, arm), arm if len(settings) > 1 else ""
        scores, marks = tuple(rows["figure"].astype(float)), marks_of(rows)
        for setting in own:
            points = Points(setting.positions(rows[setting.path]), scores, marks)
            panels.append(ScorePanel(title, setting, points, (), confirmed))
    return ScoresData(objective, tuple(panels), 2)


@styled
def draw_scores(data: ScoresData) -> Figure:
    """Draw candidates as marks, the best so far as a staircase, confirmed means as lines."""
    n_rows = -(-len(data.panels) // data.n_columns)
    figure = new_figure(WIDTH, 0.6 + 2.7 * n_rows)
    grid: list[Axes] = list(
        figure.subplots(
            n_rows, data.n_columns, squeeze=False, sharex=data.n_columns == 1, sharey=True
        ).ravel()
    )
    for axes, panel in zip(grid, data.panels, strict=False):
        axes.set_title(panel.title, loc="left")
        draw_points(axes, panel.points)
        if panel.best:
            style = look(0)
            axes.step(panel.points.x, panel.best, "-", where="post", color=style.colour,
                      label="best so far")  # fmt: skip
        for index, (name, mean) in enumerate(panel.confirmed.items(), 1):
            style = look(index)
            axes.axhline(mean, color=style.colour, linestyle=style.line, linewidth=1,
                         label=f"{name}, on fresh seeds")  # fmt: skip
        panel.axis.prepare(axes)
        if data.n_columns == 1:  # all panels have the same x axis
            axes.label_outer()
    scores = [score for panel in data.panels for score in panel.points.y]
    score_axes(grid[: len(data.panels)], data.objective, min(scores))
    for axes in grid[len(data.panels) :]:
        axes.axis("off")
    for axes in grid[:: data.n_columns]:
        axes.set_ylabel(f"{data.objective.noun} where it ended")
    shared_legend(figure)
    return figure
