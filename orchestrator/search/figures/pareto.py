"""Two objectives against each other, with the candidates that no other beats in both."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.figures.style import FAINT, WIDTH, look, new_figure, percent_axis, styled
from orchestrator.spec.units import RATES, noun


class Front(NamedTuple):
    """One arm: its candidates trained to the end, (n, 2), and which of them are on the front."""

    arm: str
    points: np.ndarray
    on_front: tuple[bool, ...]


class ParetoData(NamedTuple):
    """All arms over the two objectives, first along y."""

    objectives: tuple[str, str]
    arms: tuple[Front, ...]


def pareto_data(
    objectives: Mapping[str, str], arms: Sequence[str], candidates: pd.DataFrame
) -> ParetoData:
    """Gather the arms.

    Args:
        objectives: two: name → ``minimize`` or ``maximize``.
        arms: names.
        candidates: the table of candidates.
    """
    first, second = objectives
    signs = np.array([1 if sense == "minimize" else -1 for sense in objectives.values()])
    found = []
    for arm in arms:
        chosen = (candidates["arm"] == arm) & (candidates["state"] == "finished")
        points = candidates.loc[chosen, [first, second]].to_numpy(dtype=float)
        found.append(Front(arm, points, tuple(on_front(points * signs))))
    return ParetoData((first, second), tuple(found))


def on_front(points: np.ndarray) -> list[bool]:
    """Whether no other point is at least as small in both and smaller in one.

    Args:
        points: (n, 2)
    """
    return [
        not any(bool((other <= point).all() and (other < point).any()) for other in points)
        for point in points
    ]


@styled
def draw_pareto(data: ParetoData) -> Figure:
    """Draw `data`: the front of each arm joined by a line."""
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    for index, arm in enumerate(data.arms):
        style = look(index)
        label = f"{arm.arm}: " if len(data.arms) > 1 else ""
        front = arm.points[np.array(arm.on_front, dtype=bool)]
        front = front[np.argsort(front[:, 1])]
        axes.plot(
            arm.points[:, 1], arm.points[:, 0], linestyle="", marker=style.marker, markersize=5,
            markerfacecolor="none", markeredgecolor=FAINT, label=f"{label}candidates",
        )  # fmt: skip
        axes.plot(
            front[:, 1], front[:, 0], color=style.colour, linestyle=style.line,
            marker=style.marker, markersize=6, label=f"{label}beaten by none in both",
        )  # fmt: skip
    axes.set_ylabel(noun(data.objectives[0]))
    second = data.objectives[1]
    axes.set_xlabel("seconds a run, its share of the pack" if second == "seconds" else noun(second))
    for which, name in zip("yx", data.objectives, strict=True):
        if name in RATES:
            percent_axis(axes, which)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
