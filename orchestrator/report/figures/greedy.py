"""The greedy path and the stated one: mean outcome after each change, and the changes not kept."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.plan.document import ArmEntry
from orchestrator.report.figures.style import (
    FAINT,
    MOST_UPRIGHT,
    WIDTH,
    level_names,
    look,
    new_figure,
    percent_axis,
    styled,
)
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import RATES, noun
from orchestrator.verdicts.change_effects import along_path
from orchestrator.verdicts.greedy import Round, arm_means


class GreedyData(NamedTuple):
    """Both paths, in the outcome that the greedy path optimises.

    Attributes:
        outcome: a column of the runs table.
        kept: the changes of the greedy path, in its order.
        stated: the changes of the stated path, in its order.
        kept_means, stated_means: mean outcome before the first change, and after each.
        others: for each greedy step, the mean of every change that was tried and not kept.
    """

    outcome: str
    kept: tuple[str, ...]
    stated: tuple[str, ...]
    kept_means: tuple[float, ...]
    stated_means: tuple[float, ...]
    others: tuple[tuple[float, ...], ...]


def greedy_data(
    spec: AblationSpec,
    arms: Sequence[ArmEntry],
    runs: pd.DataFrame,
    rounds: Sequence[Round],
) -> GreedyData:
    """Gather both paths; `spec` has ``greedy``, and there is at least one round."""
    assert spec.greedy is not None
    outcome = spec.greedy.outcome
    means = arm_means(runs, outcome)
    steps = along_path(spec, arms, runs, outcome)
    done = [one for one in rounds if one.kept]
    base = rounds[0].mean_before
    return GreedyData(
        outcome=outcome,
        kept=tuple(one.chosen for one in done),
        stated=tuple(step.factor for step in steps),
        kept_means=(base, *(one.kept.mean for one in done if one.kept)),
        stated_means=(base, *(float(means[step.arm]) for step in steps)),
        others=tuple(
            tuple(
                tried.mean
                for tried in one.tried
                if tried.change.factor != one.chosen and math.isfinite(tried.mean)
            )
            for one in rounds
        ),
    )


@styled
def draw_greedy(data: GreedyData) -> Figure:
    """Draw the two paths as staircases over the number of changes made."""
    figure = new_figure(WIDTH, 3.3)
    axes = figure.subplots()
    axes.set_title(f"{noun(data.outcome)} after each change", loc="left")
    _staircase(axes, data.stated_means, 1, "in the stated order")
    _staircase(axes, data.kept_means, 0, "in the greedy order (exploratory)")
    for step, means in enumerate(data.others, 1):
        label = "tried but not kept" if step == 1 and means else None
        axes.plot(
            [step] * len(means), means, "o", markersize=4, markerfacecolor="none",
            markeredgecolor=FAINT, markeredgewidth=0.7, label=label,
        )  # fmt: skip
    n_steps = len(data.stated) + 1
    width = n_steps if n_steps <= MOST_UPRIGHT else 2  # names written upwards have room
    greedy = level_names(["base", *(f"+ {name}" for name in data.kept)], width)
    stated = level_names(["", *(f"+ {name}" for name in data.stated)], width)
    greedy += ["+ ?"] * (n_steps - len(greedy))
    axes.set_xticks(
        range(n_steps),
        [f"{one}\n({other})" if other else one for one, other in zip(greedy, stated, strict=True)],
        rotation=90 if n_steps > MOST_UPRIGHT else 0,
    )
    axes.set_xlabel("change added in the greedy order (in the stated order)")
    axes.set_xlim(-0.5, n_steps - 0.5)
    axes.grid(False, axis="x")
    if data.outcome in RATES:
        percent_axis(axes, "y")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _staircase(axes: Axes, means: Sequence[float], index: int, label: str) -> None:
    style = look(index)
    edges = np.arange(len(means) + 1) - 0.5
    axes.stairs(np.array(means), edges, baseline=None, color=style.colour, ls=style.line, lw=1)
    axes.plot(
        np.arange(len(means)), means, linestyle="", marker=style.marker, markersize=6,
        color=style.colour, label=label,
    )  # fmt: skip
