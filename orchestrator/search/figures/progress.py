"""How a search came along: the best figure so far against what was spent."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.figures.style import WIDTH, look, new_figure, styled
from orchestrator.search.figures.marks import ended, fates, rate_axis, scatter
from orchestrator.spec.units import RATES, noun


class Progress(NamedTuple):
    """One arm.

    Attributes:
        arm: its name.
        spent: steps trained up to and with each candidate, over all seeds.
        figures: each candidate's figure where it ended.
        fate: see `search_marks.MARKS`.
        best: best figure of a candidate at the end of its budget so far; NaN before the first.
    """

    arm: str
    spent: tuple[float, ...]
    figures: tuple[float, ...]
    fate: tuple[str, ...]
    best: tuple[float, ...]


class ProgressData(NamedTuple):
    """All arms, and what was confirmed: (arm, name) → mean on fresh seeds."""

    objective: str
    arms: tuple[Progress, ...]
    confirmed: Mapping[tuple[str, str], float]


def progress_data(
    objective: str,
    sign: int,
    arms: Sequence[str],
    candidates: pd.DataFrame,
    confirmed: Mapping[tuple[str, str], float],
) -> ProgressData:
    """Gather the course of each arm's search.

    Args:
        objective: the first one.
        sign: +1 where smaller is better, else -1.
        arms: names.
        candidates: the table of candidates.
        confirmed: arm and configuration → mean on fresh seeds, as lines across.
    """
    found = []
    for arm in arms:
        rows = ended(candidates, arm)
        full = rows["figure"].where(rows["state"] == "finished") * sign
        found.append(
            Progress(
                arm,
                tuple(rows["steps_so_far"].astype(float)),
                tuple(rows["figure"].astype(float)),
                tuple(fates(rows)),
                tuple((full.cummin().ffill() * sign).astype(float)),
            )
        )
    return ProgressData(objective, tuple(found), dict(confirmed))


@styled
def draw_progress(data: ProgressData) -> Figure:
    """Draw `data`: candidates as marks, the best so far as a staircase."""
    figure = new_figure(WIDTH, 0.6 + 2.7 * len(data.arms))
    panels = figure.subplots(len(data.arms), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    lowest = min(figure for arm in data.arms for figure in arm.figures)
    for axes, arm in zip(panels, data.arms, strict=True):
        if len(data.arms) > 1:
            axes.set_title(arm.arm, loc="left")
        scatter(axes, arm.spent, arm.figures, arm.fate)
        style = look(0)
        axes.step(arm.spent, arm.best, where="post", color=style.colour, label="best so far")
        own = [(name, value) for (of, name), value in data.confirmed.items() if of == arm.arm]
        for index, (name, value) in enumerate(own, 1):
            style = look(index)
            axes.axhline(
                value, color=style.colour, linestyle=style.line, linewidth=1,
                label=f"{name}, on fresh seeds",
            )  # fmt: skip
        axes.set_ylabel(f"{noun(data.objective).removeprefix('final ')} where it ended")
        if data.objective in RATES and lowest > 0:
            rate_axis(axes, lowest)
    panels[-1].set_xlabel("training steps spent, over all runs of the search")
    panels[0].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
