"""The effect of each single change, with its interval; for a path also PER after each change."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.arm_per import ArmPer, draw_seeds, per_by_arm, scale_per
from orchestrator.report.figures.style import (
    FAINT,
    WIDTH,
    forest_axes,
    label_right,
    look,
    name_levels,
    new_figure,
    styled,
)
from orchestrator.spec.units import difference_text, noun, unit_of
from orchestrator.tables.tables import Tables
from orchestrator.verdicts.change_effects import Change, along_path, by_size, left_out, main_effects
from orchestrator.verdicts.controls import NoiseFloor

MOST_CHANGES = 60  # in a panel, and along a path
_SINGLE = look(0)
EFFECTS_OF = {  # the designs with this figure
    "leave_one_out": (left_out, "removing each change"),
    "path": (along_path, "adding each change"),
    "fractional": (main_effects, "each change, averaged over the other factors"),
}


class ChangesPanel(NamedTuple):
    """The effect of each change of a design on one outcome.

    Attributes:
        outcome: a column of the runs table.
        title: what a point shows.
        changes: from top to bottom.
        floor: half-width of the noise floor; NaN if unknown.
    """

    outcome: str
    title: str
    changes: tuple[Change, ...]
    floor: float


class ChangesData(NamedTuple):
    """The content of the figure.

    Attributes:
        panels: one for each outcome.
        stairs: of a path, ``base`` or ``+ change`` → final PER, in the stated order; empty in
            other designs.
    """

    panels: tuple[ChangesPanel, ...]
    stairs: Mapping[str, ArmPer]


def changes_data(
    plan: PlanDocument, tables: Tables, floors: Mapping[str, NoiseFloor]
) -> ChangesData:
    """Gather the effect of every change on PER and on the outcomes of confirmatory hypotheses.

    A fraction has no map of collapsed arms, so any collapse is shown here.

    Args:
        plan: of an ablation of design ``leave_one_out``, ``path`` or ``fractional``.
        tables: its tables.
        floors: outcome → noise floor.
    """
    spec, runs = plan.spec, tables.runs
    effects_of, what = EFFECTS_OF[spec.design]
    claims = [h.outcome for h in spec.hypotheses.values() if not h.exploratory]
    seen = spec.design == "fractional" and (runs["collapsed"] == 1).any()
    panels = [
        ChangesPanel(
            outcome,
            f"effect on {noun(outcome)} of {what}, largest first",
            tuple(by_size(changes)[:MOST_CHANGES]),
            floors[outcome].half_width if outcome in floors else math.nan,
        )
        for outcome in dict.fromkeys(["per", *claims, *(["collapsed"] if seen else [])])
        if (changes := effects_of(spec, plan.arms, runs, outcome))
    ]
    return ChangesData(tuple(panels), _stairs(plan, tables) if spec.design == "path" else {})


@styled
def draw_changes(data: ChangesData) -> Figure:
    """Draw one forest plot per outcome, below the staircase of a path."""
    heights = [0.95 + 0.34 * len(panel.changes) for panel in data.panels]
    heights = [2.7, *heights] if data.stairs else heights
    figure = new_figure(WIDTH, sum(heights) + 0.1)
    figure.set_layout_engine("constrained", h_pad=0.08)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if data.stairs:
        _draw_stairs(parts[0].subplots(), data.stairs)
    for part, panel in zip(parts[bool(data.stairs) :], data.panels, strict=True):
        _draw_panel(part.subplots(), panel)
    return figure


def _stairs(plan: PlanDocument, tables: Tables) -> dict[str, ArmPer]:
    steps = along_path(plan.spec, plan.arms, tables.runs, "per")[:MOST_CHANGES]
    path = {change.arm: f"+ {change.factor}" for change in steps}
    first = next(a.arm_id for a in plan.arms if a.in_design and a.arm_id not in path)
    per = per_by_arm(tables)
    return {label: per[arm] for arm, label in {first: "base", **path}.items()}


def _draw_stairs(axes: Axes, stairs: Mapping[str, ArmPer]) -> None:
    means = np.array([per.mean for per in stairs.values()])
    axes.set_title("final PER along the path, in the stated order", loc="left")
    axes.stairs(means, np.arange(len(stairs) + 1) - 0.5, baseline=None, color=FAINT, lw=1)
    for place, per in enumerate(stairs.values()):
        draw_seeds(axes, place, per, _SINGLE)
    axes.plot(
        range(len(stairs)), means, linestyle="", marker="o", markersize=6, color=_SINGLE.colour
    )
    axes.set_xlim(-0.5, len(stairs) - 0.5)
    axes.grid(False, axis="x")
    name_levels(axes, list(stairs), len(stairs))
    scale_per(axes, stairs.values())
    axes.set_ylabel("final PER")


def _draw_panel(axes: Axes, panel: ChangesPanel) -> None:
    axes.set_title(panel.title, loc="left")
    forest_axes(axes, [change.factor for change in panel.changes], panel.outcome)
    if math.isfinite(panel.floor):
        axes.axvspan(-panel.floor, panel.floor, facecolor="#f0efe9", edgecolor="none", zorder=0)
    for row, change in enumerate(panel.changes):
        if math.isfinite(change.interval.low):
            axes.hlines(row, *change.interval, color=_SINGLE.colour, lw=1.6)
        axes.plot([change.effect], [row], "o", color=_SINGLE.colour, markersize=6)
    axes.set_xlabel(unit_of(panel.outcome))
    for row, change in enumerate(panel.changes):
        if math.isfinite(change.effect):
            label_right(axes, row, difference_text(change.effect, panel.outcome))
