"""Parallel coordinates: one line a candidate across all settings, coloured by its figure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from orchestrator.report.figures.style import FAINT, INK, WIDTH, new_figure, percent_axis, styled
from orchestrator.search.figures.marks import Setting, ended
from orchestrator.spec.units import RATES, noun

_MAP = "viridis"


class ParallelData(NamedTuple):
    """Candidates of one arm.

    Attributes:
        objective: the first one.
        sign: +1 where smaller is better, else -1.
        settings: one axis each.
        lines: (n, settings) position on each axis in [0, 1]; NaN where a setting is not active.
        ends: of each axis, what its lower and upper end are.
        figures: (n,) at `step`, which every candidate reached.
        step: training step.
        chosen: (n,) whether it is among the best.
    """

    objective: str
    sign: int
    settings: tuple[Setting, ...]
    lines: np.ndarray
    ends: tuple[tuple[str, str], ...]
    figures: np.ndarray
    step: int
    chosen: tuple[bool, ...]


def parallel_data(
    objective: str,
    sign: int,
    arm: str,
    settings: Sequence[Setting],
    candidates: pd.DataFrame,
    best: Sequence[int],
) -> ParallelData:
    """Gather one arm.

    Args:
        objective: the first one.
        sign: +1 where smaller is better, else -1.
        arm: its name.
        settings: its dimensions.
        candidates: the table of candidates.
        best: numbers of the candidates to stand out.
    """
    rows = ended(candidates, arm)
    columns, ends = [], []
    for setting in settings:
        values = np.array(setting.positions(rows[setting.path]))
        scaled = np.log10(values) if setting.is_log else values
        low, high = np.nanmin(scaled), np.nanmax(scaled)
        columns.append((scaled - low) / (high - low) if high > low else np.full(len(rows), 0.5))
        texts = [f"{10**end if setting.is_log else end:.3g}" for end in (low, high)]
        ends.append((setting.choices[0], setting.choices[-1]) if setting.choices else tuple(texts))
    return ParallelData(
        objective,
        sign,
        tuple(settings),
        np.column_stack(columns),
        tuple((str(low), str(high)) for low, high in ends),
        rows["common_figure"].to_numpy(dtype=float),
        int(rows["common_step"].iloc[0]),
        tuple(rows["candidate"].isin(best)),
    )


@styled
def draw_parallel(data: ParallelData) -> Figure:
    """Draw `data`: better candidates on top, the best in bold."""
    figure = new_figure(WIDTH, 3.2)
    axes = figure.subplots()
    scale = Normalize(float(data.figures.min()), float(data.figures.max()))
    colours = colormaps[_MAP if data.sign > 0 else f"{_MAP}_r"]
    at = np.arange(len(data.settings) + 1)
    spread = data.figures.max() - data.figures.min()
    outcome = (data.figures - data.figures.min()) / (spread or 1.0)
    for index in np.argsort(-data.sign * data.figures):
        bold = data.chosen[index]
        line = np.array([*data.lines[index], outcome[index]])
        active = ~np.isnan(line)
        axes.plot(
            at[active], line[active], color=colours(scale(data.figures[index])),
            linewidth=2.6 if bold else 0.9, alpha=1.0 if bold else 0.6, zorder=3 if bold else 2,
        )  # fmt: skip
    for x, (low, high) in enumerate(data.ends):
        axes.axvline(x, color=FAINT, linewidth=0.8)
        axes.annotate(low, (x, -0.02), ha="center", va="top", fontsize=8, color=FAINT)
        axes.annotate(high, (x, 1.02), ha="center", va="bottom", fontsize=8, color=FAINT)
    axes.axvline(len(data.settings), color=INK, linewidth=0.8)
    names = [setting.path for setting in data.settings]
    axes.set_xticks(
        at, [*names, f"{noun(data.objective).removeprefix('final ')}\nat step {data.step}"]
    )
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_yticks([])
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(-0.3, len(data.settings) + 0.1)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, pad=0.01, shrink=0.9)
    bar.outline.set_visible(False)
    if data.objective in RATES:
        percent_axis(bar.ax, "y")
    return figure
