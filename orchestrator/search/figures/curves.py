"""Learning curves of all candidates: where stopped ones end, and how the best went on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.figures.style import FAINT, WIDTH, look, new_figure, percent_axis, styled
from orchestrator.search.figures.marks import MARKS, ended, fates
from orchestrator.spec.units import RATES, noun


class Curve(NamedTuple):
    """One candidate: mean over its seeds, while all of them are measured."""

    candidate: int
    fate: str
    rank: int  # among the best, from 1; 0 for the others
    steps: tuple[int, ...]
    means: tuple[float, ...]


class CandidateCurves(NamedTuple):
    """Arm → its candidates, and the rungs at which they were judged."""

    objective: str
    arms: tuple[tuple[str, tuple[Curve, ...]], ...]
    rungs: tuple[int, ...]


def candidate_curves(
    objective: str,
    arms: Sequence[str],
    candidates: pd.DataFrame,
    rungs: pd.DataFrame,
    courses: pd.DataFrame,
    best: Mapping[tuple[str, int], int],
) -> CandidateCurves:
    """Gather the curves.

    Args:
        objective: the first one, a metric of the evaluations.
        arms: names.
        candidates, rungs, courses: the tables of a search.
        best: (arm, number) of the candidates to stand out → rank within the arm, from 1.
    """
    counts = courses.groupby(["arm", "candidate", "step"])[objective].agg(["mean", "count"])
    found = []
    for arm in arms:
        curves = []
        rows = ended(candidates, arm)
        for number, fate in zip(rows["candidate"], fates(rows), strict=True):
            if (arm, number) not in counts.index:
                continue
            own = counts.loc[(arm, number)]
            own = own[own["count"] == own["count"].max()]
            rank = best.get((arm, number), 0)
            means = tuple(float(mean) for mean in own["mean"])
            curves.append(Curve(int(number), fate, rank, tuple(map(int, own.index)), means))
        found.append((arm, tuple(curves)))
    return CandidateCurves(objective, tuple(found), tuple(sorted(set(rungs["step"].astype(int)))))


@styled
def draw_candidate_curves(data: CandidateCurves) -> Figure:
    """Draw `data`, one panel an arm."""
    figure = new_figure(WIDTH, 0.5 + 2.9 * len(data.arms))
    panels = figure.subplots(len(data.arms), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (arm, curves) in zip(panels, data.arms, strict=True):
        if len(data.arms) > 1:
            axes.set_title(arm, loc="left")
        for step in data.rungs:
            axes.axvline(step, color=FAINT, linestyle=":", linewidth=1)
        for curve in sorted(curves, key=lambda one: -one.rank if one.rank else -1e9):
            _draw(axes, curve)
        axes.set_ylabel(noun(data.objective).removeprefix("final "))
        if data.objective in RATES:
            percent_axis(axes, "y")
    panels[-1].set_xlabel("training step")
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(sorted(zip(labels, handles, strict=True), key=lambda pair: pair[0]))
    panels[0].legend(
        list(unique.values()), list(unique), frameon=False, loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )  # fmt: skip
    return figure


def _draw(axes: Axes, curve: Curve) -> None:
    if curve.rank:
        style = look(curve.rank - 1)
        axes.plot(
            curve.steps, curve.means, color=style.colour, linestyle=style.line, linewidth=2,
            label=f"best {curve.rank}", zorder=4,
        )  # fmt: skip
        return
    mark = MARKS[curve.fate]
    axes.plot(curve.steps, curve.means, color=mark.colour, linewidth=0.8, alpha=0.55, zorder=2)
    axes.plot(
        curve.steps[-1:], curve.means[-1:], linestyle="", marker=mark.marker, markersize=5,
        markeredgecolor=mark.colour, markeredgewidth=1,
        markerfacecolor=mark.colour if mark.filled else "white", label=mark.label, zorder=3,
    )  # fmt: skip
