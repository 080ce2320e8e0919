"""Every hypothesis' effect in the claimed direction, with its interval, margin and verdict."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.figures.style import FAINT, INK, WIDTH, new_figure, styled
from orchestrator.spec import Outcome
from orchestrator.verdicts import Verdict, Word

_OUTCOMES: tuple[Outcome, ...] = ("per", "collapsed", "escape_step")
_AXIS_TITLE: dict[Outcome, str] = {
    "per": "effect on final PER, in the claimed direction (points)",
    "collapsed": "effect on the share of runs collapsed, in the claimed direction (points)",
    "escape_step": "effect on steps to escape the blank plateau, in the claimed direction",
}
_LOOK: dict[Word, tuple[str, str, str]] = {  # colour, marker, fill
    "supported": ("#009E73", "o", "#009E73"),
    "refuted": ("#D55E00", "X", "#D55E00"),
    "inconclusive": ("#4d4d4d", "D", "white"),
}


class Effect(NamedTuple):
    """One hypothesis, in the claimed direction and in the outcome's unit."""

    name: str
    effect: float
    low: float
    high: float
    bound_low: float
    bound_high: float
    margin: float
    word: Word
    note: str


class EffectPanel(NamedTuple):
    """The hypotheses about one outcome, which share a unit."""

    outcome: Outcome
    effects: tuple[Effect, ...]


class Effects(NamedTuple):
    panels: tuple[EffectPanel, ...]


def effects_data(verdicts: Sequence[Verdict]) -> Effects:
    """Gather the effects by outcome, in the order of the file."""
    panels = []
    for outcome in _OUTCOMES:
        chosen = [v for v in verdicts if v.hypothesis.outcome == outcome]
        if chosen:
            panels.append(EffectPanel(outcome, tuple(_effect(verdict) for verdict in chosen)))
    return Effects(tuple(panels))


@styled
def draw_effects(data: Effects) -> Figure:
    """Draw `data` as one forest an outcome; right of the margin's band is what was claimed."""
    heights = [0.75 + 0.42 * len(panel.effects) for panel in data.panels]
    figure = new_figure(WIDTH, sum(heights) + 0.1)
    axes_column = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(axes_column, data.panels, strict=True):
        _draw_panel(axes, panel)
    figure.align_ylabels()
    return figure


def _effect(verdict: Verdict) -> Effect:
    interval, bounds = verdict.claimed_interval, verdict.claimed_bounds
    note = "strongly" if verdict.strong else verdict.reason.replace("undecided", "")
    if verdict.exploratory:
        note = f"{note}, exploratory" if note else "exploratory"
    return Effect(
        verdict.name,
        verdict.claimed_effect,
        interval.low,
        interval.high,
        bounds.low,
        bounds.high,
        verdict.hypothesis.margin,
        verdict.word,
        note,
    )


def _limits(panel: EffectPanel) -> tuple[float, float]:
    """Room for margins and estimates; a much wider interval is cut and gets an arrow."""
    margins = max(effect.margin for effect in panel.effects)
    core = [v for e in panel.effects for v in (e.effect, 0.0) if math.isfinite(v)]
    core += [1.5 * margins, -1.5 * margins]
    span = max(core) - min(core)
    ends = [v for e in panel.effects for v in (e.low, e.high) if math.isfinite(v)] + core
    low, high = max(min(ends), min(core) - 2 * span), min(max(ends), max(core) + 2 * span)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _draw_panel(axes: Axes, panel: EffectPanel) -> None:
    low, high = _limits(panel)
    axes.set_xlim(low, high)
    axes.set_ylim(len(panel.effects) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.axvline(0, color=FAINT, linewidth=1)
    for row, effect in enumerate(panel.effects):
        _draw_effect(axes, row, effect, (low, high))
    axes.set_yticks(range(len(panel.effects)), [effect.name for effect in panel.effects])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(_AXIS_TITLE[panel.outcome])
    scale = 1 if panel.outcome == "escape_step" else 100
    axes.xaxis.set_major_formatter(lambda value, _: _signed(scale * value))


def _signed(value: float) -> str:
    return f"{value:+.10g}".replace("-", "−") if round(value, 9) else "0"


def _draw_effect(axes: Axes, row: int, effect: Effect, limits: tuple[float, float]) -> None:
    axes.add_patch(
        Rectangle(
            (-effect.margin, row - 0.38),
            2 * effect.margin,
            0.76,
            facecolor="#e9eef3",
            edgecolor="#8fa3b5",
            linewidth=0.6,
            zorder=0.5,
        )
    )
    colour, marker, fill = _LOOK[effect.word]
    if math.isfinite(effect.effect):
        for low, high, width in (
            (effect.low, effect.high, 1.3),
            (effect.bound_low, effect.bound_high, 3.4),
        ):
            axes.hlines(row, max(low, limits[0]), min(high, limits[1]), color=colour, lw=width)
        for beyond, place, arrow in (
            (effect.low < limits[0], limits[0], "<"),
            (effect.high > limits[1], limits[1], ">"),
        ):
            if beyond:
                axes.plot([place], [row], arrow, color=colour, markersize=6, clip_on=False)
        axes.plot(
            [effect.effect],
            [row],
            marker,
            color=colour,
            markerfacecolor=fill,
            markersize=7,
            markeredgewidth=1.4,
            zorder=4,
        )
    note = f"\n{effect.note}" if effect.note else ""
    axes.annotate(
        f"{effect.word}{note}",
        (1, row),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        ha="left",
        fontsize=8.5,
        color=INK,
    )
