"""Outcomes and metrics in words: what they are called, and the unit they are written in."""

import math
from collections.abc import Mapping

from orchestrator.stats.effects import Interval

# Rates in [0, 1], written in percent, and their differences in points of percent.
RATES = (
    *("per", "best_per", "per_beam", "collapsed", "diverged"),
    *("blank_fraction", "blank_posterior", "clipped_share"),
)
_NOUNS: Mapping[str, str] = {
    "per": "final PER",
    "best_per": "lowest PER of any evaluation",
    "per_beam": "final PER with beam search",
    "collapsed": "runs collapsed",
    "diverged": "runs diverged",
    "escape_step": "steps to escape the blank plateau",
}


def noun(outcome: str) -> str:
    """What an outcome is called: ``final PER``."""
    return _NOUNS.get(outcome, f"final {outcome}")


def scale_of(outcome: str) -> float:
    """What an outcome is multiplied with where text is made."""
    return 100.0 if outcome in RATES else 1.0


def unit_of(outcome: str) -> str:
    """The unit of a difference."""
    if outcome in ("per", "best_per", "per_beam"):
        return "PER points"
    if outcome in RATES:
        return "points"
    return "steps" if outcome == "escape_step" else outcome


def difference_text(value: float, outcome: str, signed: bool = True) -> str:
    """A difference in the outcome's unit, without naming it; a dash for NaN."""
    if math.isnan(value):
        return "–"
    scaled = scale_of(outcome) * value
    if math.isinf(value):
        text = "∞"
    elif outcome == "escape_step":
        text = f"{abs(scaled):,.0f}"
    else:
        text = f"{abs(scaled):.1f}" if outcome in RATES else f"{abs(scaled):.3g}"
    if not signed or not text.strip("0."):
        return text
    return f"{'+' if scaled > 0 else '−'}{text}"


def interval_words(interval: Interval, outcome: str) -> str:
    """``+1.0 to +2.0``, or that there is none."""
    if not math.isfinite(interval.low) or not math.isfinite(interval.high):
        return "none"
    return f"{difference_text(interval.low, outcome)} to {difference_text(interval.high, outcome)}"


def value_text(value: float, metric: str) -> str:
    """A value: rates in percent, other numbers with three significant digits."""
    if math.isnan(value):
        return "–"
    if metric in RATES:
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def p_value(p: float | None) -> str:
    """A p-value with two significant digits, never "0"."""
    if p is None or math.isnan(p):
        return "–"
    if p < 0.0001:
        return "< .0001"
    return "1" if p >= 0.9995 else f"{p:.2g}".lstrip("0")
