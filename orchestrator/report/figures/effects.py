"""The effect of every hypothesis in the claimed direction, with interval, margin and verdict."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.figures.style import (
    INK,
    WIDTH,
    forest_axes,
    label_right,
    new_figure,
    styled,
)
from orchestrator.report.intervals import effect_limits
from orchestrator.report.wording import label_text
from orchestrator.spec.units import difference_text, noun, unit_of
from orchestrator.verdicts.controls import NoiseFloor
from orchestrator.verdicts.verdicts import Verdict, Word

MOST_EFFECTS = 60  # hypotheses in a figure
_DOTS = (0.0, (1.0, 1.2))
_LOOK: dict[Word, tuple[str, str, str]] = {  # colour, marker, fill
    "supported": ("#009E73", "o", "#009E73"),
    "refuted": ("#D55E00", "X", "#D55E00"),
    "inconclusive": ("#4d4d4d", "D", "white"),
}


class EffectPanel(NamedTuple):
    """The hypotheses about one outcome, which share a unit.

    Attributes:
        outcome: a column of the runs table.
        verdicts: in the order of the file.
        floor: half-width of the noise floor; NaN if unknown.
    """

    outcome: str
    verdicts: tuple[Verdict, ...]
    floor: float


def effects_data(
    verdicts: Sequence[Verdict], floors: Mapping[str, NoiseFloor]
) -> tuple[EffectPanel, ...]:
    """Gather the first `MOST_EFFECTS` effects, one panel for each outcome.

    `floors` has the outcomes that have a noise floor.
    """
    verdicts = verdicts[:MOST_EFFECTS]
    return tuple(
        EffectPanel(
            outcome,
            tuple(verdict for verdict in verdicts if verdict.hypothesis.outcome == outcome),
            floors[outcome].half_width if outcome in floors else math.nan,
        )
        for outcome in dict.fromkeys(verdict.hypothesis.outcome for verdict in verdicts)
    )


@styled
def draw_effects(panels: Sequence[EffectPanel]) -> Figure:
    """Draw one forest plot per outcome; effects right of the margin's box are as claimed."""
    heights = [
        0.75 + 0.16 * math.isfinite(panel.floor) + 0.42 * len(panel.verdicts) for panel in panels
    ]
    figure = new_figure(WIDTH, sum(heights) + 0.1)
    axes_column = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(axes_column, panels, strict=True):
        _draw_panel(axes, panel)
    figure.align_ylabels()
    return figure


def _draw_panel(axes: Axes, panel: EffectPanel) -> None:
    low, high = effect_limits(panel.verdicts, panel.floor)
    axes.set_xlim(low, high)
    forest_axes(axes, [verdict.name for verdict in panel.verdicts], panel.outcome)
    for row, verdict in enumerate(panel.verdicts):
        _draw_verdict(axes, row, verdict, (low, high))
        if math.isfinite(panel.floor):
            ends = (-panel.floor, panel.floor)
            axes.vlines(ends, row - 0.44, row + 0.44, color=INK, lw=1, linestyles=_DOTS, zorder=3)
    unit = unit_of(panel.outcome)
    label = f"effect on {noun(panel.outcome)}, in the claimed direction ({unit})"
    if math.isfinite(panel.floor):
        floor = difference_text(panel.floor, panel.outcome, signed=False)
        label += (
            f"\ndotted: noise floor, ±{floor} between two single runs of the same configuration"
        )
    axes.set_xlabel(label)


def _draw_verdict(axes: Axes, row: int, verdict: Verdict, limits: tuple[float, float]) -> None:
    margin, effect = verdict.hypothesis.margin, verdict.claimed_effect
    axes.barh(row, 2 * margin, 0.76, -margin, fc="#e9eef3", ec="#8fa3b5", lw=0.6, zorder=0.5)
    colour, marker, fill = _LOOK[verdict.word]
    if math.isfinite(effect):
        lines = verdict.claimed_interval, verdict.claimed_bounds
        for (low, high), width in zip(lines, (1.3, 3.4), strict=True):
            axes.hlines(row, max(low, limits[0]), min(high, limits[1]), color=colour, lw=width)
        for is_cut, end, arrow in (
            (any(line.low < limits[0] for line in lines), limits[0], "<"),
            (any(line.high > limits[1] for line in lines), limits[1], ">"),
        ):
            if is_cut:
                axes.plot([end], [row], arrow, color=colour, markersize=6, clip_on=False)
        axes.plot(
            [effect],
            [row],
            marker,
            color=colour,
            markerfacecolor=fill,
            markersize=7,
            markeredgewidth=1.4,
            zorder=4,
        )
    notes = ["strongly" if verdict.strong else verdict.reason.replace("undecided", "")]
    notes += [label_text(verdict).replace(" before", "\nbefore")]
    label_right(axes, row, f"{verdict.word}\n{', '.join(filter(None, notes))}".strip())
