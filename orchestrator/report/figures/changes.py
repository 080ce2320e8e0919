"""The effect of each single change, with its interval; for a path also PER after each change."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.plan.document import ArmEntry
from orchestrator.report.figures.arm_per import ArmPer, draw_seeds, per_by_arm, scale_per
from orchestrator.report.figures.style import (
    FAINT,
    WIDTH,
    label_right,
    look,
    name_levels,
    new_figure,
    signed,
    styled,
)
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, noun, scale_of, unit_of
from orchestrator.verdicts.change_effects import Change, along_path, by_size, left_out, main_effects
from orchestrator.verdicts.controls import NoiseFloor

_SINGLE = look(0)


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
    spec: AblationSpec,
    arms: Sequence[ArmEntry],
    runs: pd.DataFrame,
    arms_table: pd.DataFrame,
    floors: Mapping[str, NoiseFloor],
) -> ChangesData:
    """Gather the effect of every change on PER and on the outcomes of confirmatory hypotheses.

    A fraction has no map of collapsed arms, so any collapse is shown here.

    Args:
        spec: an ablation of design ``leave_one_out``, ``path`` or ``fractional``.
        arms: the plan's arms.
        runs, arms_table: its tables.
        floors: outcome → noise floor.
    """
    of_design = {"leave_one_out": left_out, "path": along_path, "fractional": main_effects}
    titles = {
        "leave_one_out": "effect on {} of removing each change, largest first",
        "path": "effect on {} of adding each change, largest first",
        "fractional": "effect on {} of each change, averaged over the other factors, largest first",
    }
    panels = []
    claims = [h.outcome for h in spec.hypotheses.values() if not h.exploratory]
    seen = spec.design == "fractional" and (runs["collapsed"] == 1).any()
    for outcome in dict.fromkeys(["per", *claims, *(["collapsed"] if seen else [])]):
        changes = of_design[spec.design](spec, arms, runs, outcome)
        if changes:
            floor = floors[outcome].half_width if outcome in floors else math.nan
            title = titles[spec.design].format(noun(outcome))
            panels.append(ChangesPanel(outcome, title, tuple(by_size(changes)), floor))
    stairs = _stairs(spec, arms, runs, arms_table) if spec.design == "path" else {}
    return ChangesData(tuple(panels), stairs)


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


def _stairs(
    spec: AblationSpec,
    arms: Sequence[ArmEntry],
    runs: pd.DataFrame,
    arms_table: pd.DataFrame,
) -> dict[str, ArmPer]:
    steps = along_path(spec, arms, runs, "per")
    path = {change.arm: f"+ {change.factor}" for change in steps}
    first = next(a.arm_id for a in arms if a.in_design and a.arm_id not in path)
    per = per_by_arm(runs, arms_table)
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
    axes.axvline(0, color=FAINT, linewidth=1)
    if math.isfinite(panel.floor):
        axes.axvspan(-panel.floor, panel.floor, facecolor="#f0efe9", edgecolor="none", zorder=0)
    for row, change in enumerate(panel.changes):
        if math.isfinite(change.interval.low):
            axes.hlines(row, *change.interval, color=_SINGLE.colour, lw=1.6)
        axes.plot([change.effect], [row], "o", color=_SINGLE.colour, markersize=6)
    axes.set_ylim(len(panel.changes) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.changes)), [change.factor for change in panel.changes])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(unit_of(panel.outcome))
    scale = scale_of(panel.outcome)
    axes.xaxis.set_major_formatter(lambda value, _: signed(scale * value))
    for row, change in enumerate(panel.changes):
        if math.isfinite(change.effect):
            label_right(axes, row, difference_text(change.effect, panel.outcome))
