"""The figure of two objectives, with the Pareto front of each arm."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.figures.style import FAINT, WIDTH, look, new_figure, styled
from orchestrator.search.figures.shared import rate_axis, shared_legend
from orchestrator.search.schema import SECONDS
from orchestrator.spec.units import noun


class Front(NamedTuple):
    """One arm: its finished candidates' scores, (n, 2), and which of them are on the front."""

    scores: np.ndarray
    on_front: list[bool]


def pareto_data(
    objectives: Mapping[str, str], arms: Sequence[str], candidates: pd.DataFrame
) -> dict[str, Front]:
    """The front of each arm; the two objectives map names to ``minimize`` or ``maximize``."""
    signs = np.array([1 if sense == "minimize" else -1 for sense in objectives.values()])
    fronts = {}
    for arm in arms:
        chosen = (candidates["arm"] == arm) & (candidates["state"] == "finished")
        scores = candidates.loc[chosen, list(objectives)].to_numpy(dtype=float)
        fronts[arm] = Front(scores, on_front(scores * signs))
    return fronts


def on_front(points: np.ndarray) -> list[bool]:
    """Whether no other of the (n, 2) points is as small in both coordinates, smaller in one."""
    return [
        not any(bool((other <= point).all() and (other < point).any()) for other in points)
        for point in points
    ]


@styled
def draw_pareto(objectives: Iterable[str], arms: Mapping[str, Front]) -> Figure:
    """Draw the candidates, and a line through the front of each arm; the first lies along y."""
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    for index, (name, arm) in enumerate(arms.items()):
        style = look(index)
        label = f"{name}: " if len(arms) > 1 else ""
        front = arm.scores[np.array(arm.on_front, dtype=bool)]
        front = front[np.argsort(front[:, 1])]
        axes.plot(
            arm.scores[:, 1], arm.scores[:, 0], linestyle="", marker=style.marker, markersize=5,
            markerfacecolor="none", markeredgecolor=FAINT, label=f"{label}candidates",
        )  # fmt: skip
        axes.plot(
            front[:, 1], front[:, 0], color=style.colour, linestyle=style.line,
            marker=style.marker, markersize=6, label=f"{label}Pareto front",
        )  # fmt: skip
    first, second = objectives
    axes.set_ylabel(noun(first))
    axes.set_xlabel("seconds a run, its share of the pack" if second == SECONDS else noun(second))
    rate_axis(axes, "y", first)
    rate_axis(axes, "x", second)
    shared_legend(figure)
    return figure
