"""The figures of scores as points: against the steps spent, and against each setting."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.figures.style import WIDTH, look, new_figure, styled
from orchestrator.search.figures.shared import (
    Objective,
    Setting,
    draw_points,
    ended,
    score_axes,
    shared_legend,
)

_SPENT = Setting("training steps spent, over all runs of the search", False, ())


class ScorePanel(NamedTuple):
    """The candidates of one arm against something.

    Attributes:
        title: the arm; empty if there is only one.
        axis: what lies along x.
        x, scores, marks: one entry a candidate: its place along x (NaN for none), its score where
            it ended, and how it ended, a key of `MARKS`.
        best: best score at the end of the budget so far, one a candidate; NaN before the first;
            empty where it is not drawn.
        confirmed: name → mean on fresh seeds.
    """

    title: str
    axis: Setting
    x: tuple[float, ...]
    scores: tuple[float, ...]
    marks: tuple[str, ...]
    best: tuple[float, ...]
    confirmed: Mapping[str, float]


def progress_data(
    objective: Objective,
    arms: Sequence[str],
    candidates: pd.DataFrame,
    confirmed: Mapping[tuple[str, str], float],
) -> list[ScorePanel]:
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
        panels.append(ScorePanel(title, _SPENT, spent, scores, tuple(rows["mark"]), best, own))
    return panels


def settings_data(
    settings: Mapping[str, Sequence[Setting]], candidates: pd.DataFrame, base: float | None
) -> list[ScorePanel]:
    """Scores against each setting: one panel for each arm and setting.

    The base is its mean on fresh seeds; None if there is none, or several bases.
    """
    panels, confirmed = [], {} if base is None else {"base": base}
    for arm, own in settings.items():
        rows, title = ended(candidates, arm), arm if len(settings) > 1 else ""
        scores, marks = tuple(rows["figure"].astype(float)), tuple(rows["mark"])
        for setting in own:
            x = setting.positions(rows[setting.path])
            panels.append(ScorePanel(title, setting, x, scores, marks, (), confirmed))
    return panels


@styled
def draw_scores(objective: Objective, panels: Sequence[ScorePanel], n_columns: int) -> Figure:
    """Draw candidates as marks, the best so far as a staircase, confirmed means as lines."""
    n_rows = -(-len(panels) // n_columns)
    figure = new_figure(WIDTH, 0.6 + 2.7 * n_rows)
    grid: list[Axes] = list(
        figure.subplots(
            n_rows, n_columns, squeeze=False, sharex=n_columns == 1, sharey=True
        ).ravel()
    )
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_title(panel.title, loc="left")
        draw_points(axes, panel.x, panel.scores, panel.marks)
        if panel.best:
            style = look(0)
            axes.step(panel.x, panel.best, "-", where="post", color=style.colour,
                      label="best so far")  # fmt: skip
        for index, (name, mean) in enumerate(panel.confirmed.items(), 1):
            style = look(index)
            axes.axhline(mean, color=style.colour, linestyle=style.line, linewidth=1,
                         label=f"{name}, on fresh seeds")  # fmt: skip
        panel.axis.prepare(axes)
        if n_columns == 1:  # all panels have the same x axis
            axes.label_outer()
    scores = [score for panel in panels for score in panel.scores]
    score_axes(grid[: len(panels)], objective, min(scores))
    for axes in grid[len(panels) :]:
        axes.axis("off")
    for axes in grid[::n_columns]:
        axes.set_ylabel(f"{objective.noun} where it ended")
    shared_legend(figure)
    return figure
