"""What each change does by itself: one point with its interval a change, and a path's steps."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.plan.document import ArmEntry
from orchestrator.report.figures.style import (
    FAINT,
    INK,
    WIDTH,
    look,
    name_levels,
    new_figure,
    percent_axis,
    shown_interval,
    signed,
    styled,
)
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, noun, scale_of, unit_of
from orchestrator.stats.run_values import COUNTED
from orchestrator.verdicts.change_effects import Change, along_path, by_size, left_out, main_effects
from orchestrator.verdicts.controls import NoiseFloor

_SINGLE = look(0)


class ChangesPanel(NamedTuple):
    """The changes of a design, by one outcome.

    Attributes:
        outcome: a column of the runs table.
        title: what a point means.
        changes: from the top.
        floor: half-width of the noise floor; NaN if unknown.
    """

    outcome: str
    title: str
    changes: tuple[Change, ...]
    floor: float


class Stair(NamedTuple):
    """One arm of a path: final PER, its 95 % interval (NaN below two seeds) and its seeds."""

    label: str
    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


class ChangesData(NamedTuple):
    """`stairs` are those of a path, in the stated order; empty in other designs."""

    panels: tuple[ChangesPanel, ...]
    stairs: tuple[Stair, ...]


def changes_data(
    spec: AblationSpec,
    arms: Sequence[ArmEntry],
    runs: pd.DataFrame,
    arms_table: pd.DataFrame,
    floors: Mapping[str, NoiseFloor],
) -> ChangesData:
    """Gather the effect of every change on PER and on what confirmatory claims are about.

    A fraction has no map of its arms, so it tells of collapse here, if there was any.

    Args:
        spec: an ablation of design ``leave_one_out``, ``path`` or ``fractional``.
        arms: the plan's arms.
        runs, arms_table: its tables.
        floors: outcome → noise floor.
    """
    of_design = {"leave_one_out": left_out, "path": along_path, "fractional": main_effects}
    titles = {
        "leave_one_out": "{} when the change is taken out",
        "path": "{} when the change is added, largest first",
        "fractional": "{} from first to second level, mean over the fraction",
    }
    panels = []
    claims = [h.outcome for h in spec.hypotheses.values() if not h.exploratory]
    seen = spec.design == "fractional" and (runs["collapsed"] == 1).any()
    for outcome in dict.fromkeys(["per", *claims, *(["collapsed"] if seen else [])]):
        changes = of_design[spec.design](spec, arms, runs, outcome)
        if changes:
            floor = floors[outcome].half_width if outcome in floors else math.nan
            title = titles[spec.design].format(f"change of {noun(outcome)}")
            panels.append(ChangesPanel(outcome, title, tuple(by_size(changes)), floor))
    stairs = _stairs(spec, arms, runs, arms_table) if spec.design == "path" else ()
    return ChangesData(tuple(panels), stairs)


@styled
def draw_changes(data: ChangesData) -> Figure:
    """Draw `data` as one forest an outcome, below the staircase of a path."""
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
) -> tuple[Stair, ...]:
    steps = along_path(spec, arms, runs, "per")
    path = {change.arm: f"+ {change.factor}" for change in steps}
    first = next(a.arm_id for a in arms if a.in_design and a.arm_id not in path)
    found = []
    by_arm = {row["arm"]: row for row in arms_table.to_dict("records")}
    for arm, label in {first: "base", **path}.items():
        row = by_arm[arm]
        finite = math.isfinite(row["per_low"])
        of_arm = runs[(runs["arm"] == arm) & runs["outcome"].isin(COUNTED)]
        found.append(
            Stair(
                label,
                float(row["per_mean"]),
                float(row["per_low"]) if finite else math.nan,
                float(row["per_high"]) if finite else math.nan,
                tuple(of_arm["per"]),
            )
        )
    return tuple(found)


def _draw_stairs(axes: Axes, stairs: Sequence[Stair]) -> None:
    places = np.arange(len(stairs))
    means = np.array([stair.mean for stair in stairs])
    axes.set_title("final PER along the path, in the stated order", loc="left")
    axes.stairs(means, np.arange(len(stairs) + 1) - 0.5, baseline=None, color=FAINT, lw=1)
    for place, stair in zip(places, stairs, strict=True):
        axes.plot(
            np.full(len(stair.seeds), place - 0.12),
            stair.seeds,
            linestyle="",
            marker="o",
            markersize=3,
            markerfacecolor="none",
            markeredgecolor=_SINGLE.colour,
            markeredgewidth=0.6,
        )
        axes.vlines(
            place, *shown_interval(stair.low, stair.high, stair.seeds), color=_SINGLE.colour, lw=1.4
        )
    axes.plot(places, means, linestyle="", marker="o", markersize=6, color=_SINGLE.colour)
    axes.set_xlim(-0.5, len(stairs) - 0.5)
    axes.grid(False, axis="x")
    name_levels(axes, [stair.label for stair in stairs], len(stairs))
    highest = max((seed for stair in stairs for seed in stair.seeds), default=1.0)
    axes.set_ylim(-0.02, max(1.04, 1.04 * highest))
    axes.set_ylabel("final PER")
    percent_axis(axes, "y")


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
            axes.annotate(
                difference_text(change.effect, panel.outcome),
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=8.5,
            )
