"""Effects on an axis: the ends of the axis of each outcome, and one claim as a small drawing."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.spec.units import difference_text, interval_words, unit_of
from orchestrator.stats.effects import Interval
from orchestrator.verdicts.verdicts import Verdict, Word

_WIDTH = 200.0
_EDGE = 7.0  # room left and right for a marker or an arrow
_SHAPES: Mapping[Word, str] = {
    "supported": "M{x:.1f} 8a4 4 0 1 0 .01 0Z",
    "refuted": "M{x:.1f} 12m-4-4l8 8m0-8l-8 8",
    "inconclusive": "M{x:.1f} 7l5 5l-5 5l-5-5Z",
}


class SmallInterval(NamedTuple):
    """One claim, in a box 200 wide and 24 high; as claimed is right.

    Attributes:
        margin: left end and width of the effects that are too small to matter.
        zero: no effect.
        interval: ends of the 95 % interval; None where it has none.
        bounds: ends of the one-sided bounds; None where it has none.
        marker: the effect, as the path of a shape that each verdict has of its own.
        arrows: an arrow at each end at which a line is cut, as a path; "" without.
        label: the same in words.
    """

    margin: tuple[float, float]
    zero: float
    interval: tuple[float, float] | None
    bounds: tuple[float, float] | None
    marker: str
    arrows: str
    label: str


def effect_limits(verdicts: Sequence[Verdict], floor: float = math.nan) -> tuple[float, float]:
    """Ends of an axis on which margins and estimates fit; a much wider line is cut.

    Args:
        verdicts: on claims about one outcome, at least one.
        floor: half-width of the noise floor that is drawn, too; NaN for none.
    """
    margins = max(verdict.hypothesis.margin for verdict in verdicts)
    floor = floor if math.isfinite(floor) else 0.0
    core = [v for e in verdicts for v in (e.claimed_effect, 0.0) if math.isfinite(v)]
    core += [1.5 * margins, -1.5 * margins, 1.05 * floor, -1.05 * floor]
    span = max(core) - min(core)
    lines = [line for e in verdicts for line in (e.claimed_interval, e.claimed_bounds)]
    ends = [v for line in lines for v in line if math.isfinite(v)] + core
    low, high = max(min(ends), min(core) - 2 * span), min(max(ends), max(core) + 2 * span)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def small_intervals(verdicts: Sequence[Verdict]) -> dict[str, SmallInterval]:
    """Hypothesis → its drawing, for those with an effect; claims of one outcome share an axis."""
    by_outcome: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if math.isfinite(verdict.claimed_effect):
            by_outcome.setdefault(verdict.hypothesis.outcome, []).append(verdict)
    return {
        verdict.name: _draw(verdict, effect_limits(of_one))
        for of_one in by_outcome.values()
        for verdict in of_one
    }


def _draw(verdict: Verdict, limits: tuple[float, float]) -> SmallInterval:
    low, high = limits

    def x(value: float) -> float:
        inside = min(max(value, low), high)
        return round(_EDGE + (_WIDTH - 2 * _EDGE) * (inside - low) / (high - low), 1)

    def ends(interval: Interval) -> tuple[float, float] | None:
        known = not (math.isnan(interval.low) or math.isnan(interval.high))
        return (x(interval.low), x(interval.high)) if known else None

    interval, margin = verdict.claimed_interval, verdict.hypothesis.margin
    lines = interval, verdict.claimed_bounds
    arrows = "M7 8l-6 4l6 4" * any(line.low < low for line in lines)
    arrows += "M193 8l6 4l-6 4" * any(line.high > high for line in lines)
    outcome = verdict.hypothesis.outcome
    words = interval_words(interval, outcome)
    return SmallInterval(
        margin=(x(-margin), round(x(margin) - x(-margin), 1)),
        zero=x(0.0),
        interval=ends(interval),
        bounds=ends(verdict.claimed_bounds),
        marker=_SHAPES[verdict.word].format(x=x(verdict.claimed_effect)),
        arrows=arrows,
        label=(
            f"Effect in the claimed direction {difference_text(verdict.claimed_effect, outcome)} "
            f"{unit_of(outcome)}, 95 % interval {words}, margin "
            f"{difference_text(margin, outcome, signed=False)}"
        ),
    )
