"""The figure of the candidates' learning curves."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.figures.style import FAINT, look, styled
from orchestrator.search.figures.shared import (
    MARKS,
    Objective,
    arm_panels,
    draw_points,
    ended,
    rate_axis,
    shared_legend,
)
from orchestrator.search.tables import SearchTables


class CandidateCurve(NamedTuple):
    """The mean curve of one candidate, as far as all of its seeds are measured.

    Attributes:
        candidate: its number.
        mark: how it ended: a key of `MARKS`.
        rank: among the best of its arm, from 1; 0 for the others.
        steps, means: one entry an evaluation.
    """

    candidate: int
    mark: str
    rank: int
    steps: tuple[int, ...]
    means: tuple[float, ...]


def curves_data(
    arms: Sequence[str], tables: SearchTables, best: Mapping[tuple[str, int], int]
) -> dict[str, list[CandidateCurve]]:
    """The curves of each arm; `best` maps (arm, number) of the bold ones to ranks from 1."""
    grouped = tables.curves.groupby(["arm", "candidate", "step"])["value"]
    counts = grouped.agg(["mean", "count"])
    curves: dict[str, list[CandidateCurve]] = {arm: [] for arm in arms}
    for arm in arms:
        rows = ended(tables.candidates, arm)
        for number, mark in zip(rows["candidate"], rows["mark"], strict=True):
            if (arm, number) not in counts.index:
                continue
            own: pd.DataFrame = counts.loc[(arm, number)]
            own = own[own["count"] == own["count"].max()]
            steps, means = tuple(map(int, own.index)), tuple(map(float, own["mean"]))
            rank = best.get((arm, number), 0)
            curves[arm].append(CandidateCurve(int(number), mark, rank, steps, means))
    return curves


@styled
def draw_curves(
    objective: Objective, arms: Mapping[str, Sequence[CandidateCurve]], rungs: Sequence[int]
) -> Figure:
    """Draw the curves, one panel an arm, the best on top and in bold; dotted lines at `rungs`."""
    figure, panels = arm_panels(list(arms), [2.9] * len(arms), sharey=True)
    for axes, curves in zip(panels, arms.values(), strict=True):
        for step in rungs:
            axes.axvline(step, color=FAINT, linestyle=":", linewidth=1)
        for curve in sorted(curves, key=lambda one: -one.rank):
            _draw_curve(axes, curve)
        axes.set_ylabel(objective.noun)
        rate_axis(axes, "y", objective.name)
    panels[-1].set_xlabel("training step")
    shared_legend(figure)
    return figure


def _draw_curve(axes: Axes, curve: CandidateCurve) -> None:
    if curve.rank:
        style = look(curve.rank - 1)
        axes.plot(
            curve.steps, curve.means, color=style.colour, linestyle=style.line, linewidth=2,
            label=f"best {curve.rank}", zorder=4,
        )  # fmt: skip
        return
    colour = MARKS[curve.mark].colour
    axes.plot(curve.steps, curve.means, color=colour, linewidth=0.8, alpha=0.55, zorder=2)
    draw_points(axes, curve.steps[-1:], curve.means[-1:], [curve.mark])
