"""Learning curves: the median over the seeds of each arm, and the band of all its seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.grouping import Facet, curve_facets
from orchestrator.report.figures.style import (
    FAINT,
    INK,
    N_LOOKS,
    WIDTH,
    legend_above,
    level_line,
    look,
    new_figure,
    percent_axis,
    styled,
)
from orchestrator.spec.schema import levels_of
from orchestrator.stats.effects import Floats
from orchestrator.tables.tables import Tables

Metric = Literal["per", "emitted_ratio"]

_AXIS_LABEL: Mapping[Metric, str] = {"per": "validation PER", "emitted_ratio": "emitted / target"}
_PLATEAU = "blank plateau (at or below)"
_THRESHOLD: Any = {"color": FAINT, "linewidth": 1, "linestyle": (0, (2, 2))}
_MOST_IN_LEGEND = 3  # more curves leave no room for a legend inside the panel
_LOG_RANGE = 100  # a wider ratio of last to first step gets a logarithmic axis


class ArmCurve(NamedTuple):
    """The learning curve of one arm.

    Attributes:
        label: level of the factor that is shown by colour, or the arm's id.
        look_index: number of its style, see `look`.
        steps: (n,) evaluation steps.
        middle, low, high: (n,) median, smallest and largest value over the seeds.
        diverged: (step, value) at the last evaluation of each diverged run.
    """

    label: str
    look_index: int
    steps: Floats
    middle: Floats
    low: Floats
    high: Floats
    diverged: tuple[tuple[float, float], ...]


class CurvePanel(NamedTuple):
    """The curves of one panel."""

    title: str
    curves: tuple[ArmCurve, ...]
    is_design: bool


class Curves(NamedTuple):
    """The content of one figure.

    Attributes:
        metric: the column of the history table.
        panels: row by row, from the top left.
        n_columns: number of panels in a row.
        legend_title: the factor that is shown by colour; None if each panel has its own legend.
        threshold: height of the plateau line, or None.
        log_steps: whether the step axis is logarithmic.
        crowded: whether a panel has too many curves for a legend inside it.
    """

    metric: Metric
    panels: tuple[CurvePanel, ...]
    n_columns: int
    legend_title: str | None
    threshold: float | None
    log_steps: bool
    crowded: bool


def curves_data(
    metric: Metric, plan: PlanDocument, tables: Tables, only: Sequence[str] | None = None
) -> Curves:
    """Gather the curve of every arm, arranged by factor; `only` names the arms shown."""
    spec = plan.spec
    groups = curve_facets(spec, plan.arms, only)
    colours = levels_of(spec).get(groups[0].x_factor, ())
    shared = spec.design == "factorial" and only is None and len(colours) <= N_LOOKS
    panels = [
        (group, _panel_title(group, y), labelled)
        for group in groups
        for y in group.y_levels
        if (labelled := [(x, a) for x in group.x_levels if (a := group.arms.get((x, y)))])
    ]
    crowded = not shared and any(len(labelled) > _MOST_IN_LEGEND for _, _, labelled in panels)
    n_columns = len(groups[0].y_levels)
    if n_columns == 1:
        n_columns = 1 if crowded else min(2, len(panels))
    curves = arm_curves(metric, tables, only)
    steps = tables.history["step"]
    return Curves(
        metric=metric,
        panels=tuple(
            CurvePanel(
                title,
                tuple(
                    curves[arm]._replace(
                        label=label,
                        look_index=(
                            colours if shared and group.is_design else group.x_levels
                        ).index(label),
                    )
                    for label, arm in labelled
                    if arm in curves
                ),
                group.is_design,
            )
            for group, title, labelled in panels
        ),
        n_columns=n_columns,
        legend_title=groups[0].x_factor if shared else None,
        threshold=spec.collapse.emitted_ratio if metric == "emitted_ratio" else None,
        log_steps=bool(len(steps) and steps.max() > _LOG_RANGE * steps.min() > 0),
        crowded=crowded,
    )


def arm_curves(
    metric: Metric, tables: Tables, only: Sequence[str] | None = None
) -> dict[str, ArmCurve]:
    """Arm → its curve, for the arms with an evaluation; each has its id as label.

    Args:
        only: the arms; None takes all.

    A diverged run has a PER of 1 after its last evaluation, as in the tables.
    """
    if tables.history.empty:
        return {}
    history = tables.history
    if only is not None:
        history = history[history["arm"].isin(only)]
    every = history.pivot_table(index="step", columns=["arm", "seed"], values=metric)
    diverged = tables.runs[tables.runs["outcome"] == "diverged"]
    curves = {}
    for arm in every.columns.unique("arm"):
        table = every[arm].dropna(how="all")  # index: step, columns: seeds
        ends = []
        for seed in diverged.loc[diverged["arm"] == arm, "seed"]:
            if seed not in table.columns:
                continue
            last = table[seed].last_valid_index()
            ends.append((float(last), float(table.loc[last, seed])))
            if metric == "per":
                table.loc[table.index > last, seed] = 1.0
        values = table.to_numpy(dtype=float)  # (n_steps, n_seeds)
        curves[arm] = ArmCurve(
            arm,
            0,
            table.index.to_numpy(dtype=float),
            np.nanmedian(values, axis=1),
            np.nanmin(values, axis=1),
            np.nanmax(values, axis=1),
            tuple(ends),
        )
    return curves


@styled
def draw_curves(data: Curves) -> Figure:
    """Draw `data` as a grid of small panels on shared axes."""
    n_panels, n_columns = len(data.panels), data.n_columns
    n_rows = -(-n_panels // n_columns)
    n_title_lines = max(panel.title.count("\n") + 1 for panel in data.panels)
    height = 0.7 + n_rows * (1.85 + 0.16 * n_title_lines)
    figure = new_figure(max(WIDTH, 2.4 * n_columns), height)
    first: Axes | None = None
    for index, panel in enumerate(data.panels):
        axes = figure.add_subplot(n_rows, n_columns, index + 1, sharex=first, sharey=first)
        first = first or axes
        _draw_panel(axes, panel, data)
        is_lowest, is_leftmost = index + n_columns >= n_panels, index % n_columns == 0
        axes.tick_params(labelbottom=is_lowest, labelleft=is_leftmost)
        if is_lowest:
            axes.set_xlabel("training step")
        if is_leftmost:
            axes.set_ylabel(_AXIS_LABEL[data.metric])
        if panel.curves and (data.legend_title is None or not panel.is_design):
            if data.crowded:
                axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
            else:
                axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    assert first is not None
    _scale(first, data)
    if data.legend_title is not None:
        _shared_legend(figure, data)
    return figure


def _panel_title(group: Facet[str], y_level: str) -> str:
    own = f"{group.y_factor} = {y_level}" if group.y_factor else ""
    return "\n".join(part for part in (group.title, own) if part)


def _draw_panel(axes: Axes, panel: CurvePanel, data: Curves) -> None:
    axes.set_title(panel.title, loc="left")
    for curve in panel.curves:
        # Arms outside the design start at a colour that no level uses.
        style = look(curve.look_index + (0 if panel.is_design else 6))
        axes.fill_between(
            curve.steps, curve.low, curve.high, color=style.colour, alpha=0.16, linewidth=0
        )
        axes.plot(
            curve.steps,
            curve.middle,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markersize=3.6,
            markevery=max(1, len(curve.steps) // 8),
            label=curve.label,
        )
        for step, value in curve.diverged:
            axes.plot([step], [value], "x", color=INK, markersize=8, markeredgewidth=2, zorder=5)
    if data.threshold is not None:
        # A shared legend names the line only once.
        label = _PLATEAU if data.legend_title is None else None
        axes.axhline(data.threshold, label=label, **_THRESHOLD)


def _scale(axes: Axes, data: Curves) -> None:
    if data.log_steps:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    highest = max((c.high.max() for p in data.panels for c in p.curves if len(c.high)), default=1.0)
    axes.set_ylim(-0.02, max(1.05, 1.05 * float(highest)))
    if data.metric == "per":
        percent_axis(axes, "y")


def _shared_legend(figure: Figure, data: Curves) -> None:
    labels = {c.label: c.look_index for p in data.panels if p.is_design for c in p.curves}
    handles = [level_line(index, label) for label, index in labels.items()]
    if data.threshold is not None:
        handles.append(Line2D([], [], label=_PLATEAU, **_THRESHOLD))
    if any(curve.diverged for panel in data.panels for curve in panel.curves):
        handles.append(
            Line2D([], [], color=INK, linestyle="", marker="x", markersize=6, label="diverged")
        )
    legend_above(figure, handles, data.legend_title)
