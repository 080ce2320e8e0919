"""The figure of every candidate against each setting, collapsed and diverged ones shown."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.figures.style import WIDTH, look, new_figure, styled
from orchestrator.search.figures.marks import Setting, ended, fates, rate_axis, scatter
from orchestrator.spec.units import RATES, noun

_COLUMNS = 2


class Against(NamedTuple):
    """Candidates of one arm against one setting.

    Attributes:
        arm: the arm; empty where there is one alone.
        setting: the x axis.
        x: where the candidates lie on it.
        figures: where each ended.
        fate: see `search_marks.MARKS`.
    """

    arm: str
    setting: Setting
    x: tuple[float, ...]
    figures: tuple[float, ...]
    fate: tuple[str, ...]


class SettingsData(NamedTuple):
    """One panel an arm and setting; `base` is the base on the confirmation's seeds, or NaN."""

    objective: str
    panels: tuple[Against, ...]
    base: float


def settings_data(
    objective: str,
    settings: Sequence[tuple[str, Sequence[Setting]]],
    candidates: pd.DataFrame,
    base: float,
) -> SettingsData:
    """Gather the panels.

    Args:
        objective: the first one.
        settings: arm and its dimensions.
        candidates: the table of candidates.
        base: the base's mean on fresh seeds; NaN if it was not measured.
    """
    panels = []
    for arm, own in settings:
        rows = ended(candidates, arm)
        for setting in own:
            panels.append(
                Against(
                    arm if len(settings) > 1 else "",
                    setting,
                    tuple(setting.positions(rows[setting.path])),
                    tuple(rows["figure"].astype(float)),
                    tuple(fates(rows)),
                )
            )
    return SettingsData(objective, tuple(panels), base)


@styled
def draw_settings(data: SettingsData) -> Figure:
    """Draw `data`, two panels a row."""
    n_rows = -(-len(data.panels) // _COLUMNS)
    figure = new_figure(WIDTH, 0.5 + 2.7 * n_rows)
    grid = figure.subplots(n_rows, _COLUMNS, squeeze=False, sharey=True).ravel()
    lowest = min(figure for panel in data.panels for figure in panel.figures)
    for axes, panel in zip(grid, data.panels, strict=False):
        if panel.arm:
            axes.set_title(panel.arm, loc="left")
        scatter(axes, panel.x, panel.figures, panel.fate)
        if data.base == data.base:
            style = look(2)
            axes.axhline(
                data.base, color=style.colour, linestyle=style.line, linewidth=1,
                label="base, on fresh seeds",
            )  # fmt: skip
        panel.setting.prepare(axes)
        if data.objective in RATES and lowest > 0:
            rate_axis(axes, lowest)
    for axes in grid[len(data.panels) :]:
        axes.axis("off")
    for axes in grid[::_COLUMNS]:
        axes.set_ylabel(f"{noun(data.objective).removeprefix('final ')} where it ended")
    handles: dict[str, object] = {}
    for axes in grid[: len(data.panels)]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles=list(handles.values()), labels=list(handles), loc="outside upper left",
        ncols=3, frameon=False, borderaxespad=0.2,
    )  # fmt: skip
    return figure
