"""Outcomes and metrics as text: their names, their units, and the only place where rates become
percent."""

import math
from collections.abc import Container, Mapping

_OTHER_RATES = (
    *("best_per", "collapsed", "diverged"),
    *("blank_fraction", "blank_posterior", "clipped_share", "out_of_vocabulary"),
)
_ERROR_RATES = ("per", "wer", "cer")


def is_error_rate(name: str) -> bool:
    """Whether a name is that of an error rate, such as ``wer`` or ``wer_5gram``."""
    return name.partition("_")[0] in _ERROR_RATES


class _Rates:
    """Names of rates: error rates, what begins with one and ``_``, and some of our own."""

    def __contains__(self, name: object) -> bool:
        return name in _OTHER_RATES or is_error_rate(str(name))


# Rates are written in percent, and their differences in points of percent.
RATES: Container[str] = _Rates()
_NOT_A_NUMBER = "–"
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
    name = outcome.upper() if outcome in _ERROR_RATES else outcome
    return _NOUNS.get(outcome, f"final {name}")


def scale_of(outcome: str) -> float:
    """What an outcome is multiplied with where text is made."""
    return 100.0 if outcome in RATES else 1.0


def unit_of(outcome: str) -> str:
    """The unit of a difference."""
    if outcome in ("per", "best_per", "per_beam"):
        return "PER points"
    if outcome in _ERROR_RATES:
        return f"{outcome.upper()} points"
    if outcome in RATES:
        return "points"
    return "steps" if outcome == "escape_step" else outcome


def difference_text(value: float, outcome: str, signed: bool = True) -> str:
    """A difference in the outcome's unit, without naming it; a dash for NaN."""
    if math.isnan(value):
        return _NOT_A_NUMBER
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


def interval_words(interval: tuple[float, float], outcome: str) -> str:
    """``+1.0 to +2.0``, or that there is none."""
    low, high = interval
    if not math.isfinite(low) or not math.isfinite(high):
        return "none"
    return f"{difference_text(low, outcome)} to {difference_text(high, outcome)}"


def value_text(value: float, metric: str) -> str:
    """A value: rates in percent, other numbers with three significant digits."""
    if math.isnan(value):
        return _NOT_A_NUMBER
    if metric in RATES:
        return percent(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(rate: float, digits: int = 1) -> str:
    """A rate in [0, 1] as percent; a dash for NaN."""
    return _NOT_A_NUMBER if math.isnan(rate) else f"{_minus(f'{100 * rate:.{digits}f}')} %"


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; a dash for NaN."""
    if math.isnan(value):
        return _NOT_A_NUMBER
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return _minus(text)


def p_value(p: float | None) -> str:
    """A p-value with two significant digits, never "0"."""
    if p is None or math.isnan(p):
        return _NOT_A_NUMBER
    if p < 0.0001:
        return "< .0001"
    return "1" if p >= 0.9995 else f"{p:.2g}".lstrip("0")


def _minus(text: str) -> str:
    return text.replace("-", "−")
