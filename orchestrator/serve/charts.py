"""Curves as lines of an SVG: coordinates, ticks and labels, which a template draws."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from decoder.pack import further_columns
from orchestrator.spec.units import RATES

WIDTH, HEIGHT = 360.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 10.0, 24.0
_MOST_POINTS = 240  # of a line; more cannot be seen at this size
_LARGEST = 1e100  # a value beyond it is drawn as one that is not finite
N_STYLES = 7
_TITLES = {
    "per": "PER",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "blank_fraction": "blank fraction",
    "emitted_ratio": "emitted / target",
    "grad_norm": "gradient norm",
    "lr": "learning rate",
}
_LATER = tuple(name for name in _TITLES if name != "per")
_NOT_CURVES = ("step", "epoch", "on_plateau")

Rows = Sequence[Mapping[str, float]]


class Curve(NamedTuple):
    """The history of one run in a chart.

    Attributes:
        label: what a reader calls it.
        rows: its evaluations.
        style: which of `N_STYLES`; None is drawn faintly behind the others.
    """

    label: str
    rows: Rows
    style: int | None


class Line(NamedTuple):
    """A line of a chart: its style as in `Curve`, its SVG path, and its last value as text."""

    style: int | None
    path: str
    last: str


class Tick(NamedTuple):
    """A tick: where it stands along its axis in units of the SVG, and its text."""

    at: float
    text: str


class Chart(NamedTuple):
    """One metric over the steps, for all curves.

    Attributes:
        title: the metric's name.
        label: what the chart shows, in words.
        x_ticks, y_ticks: of both axes.
        lines: faint ones first, so that the others lie over them.
    """

    title: str
    label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def make_charts(curves: Sequence[Curve], x_name: str = "step") -> list[Chart]:
    """A chart for every metric that any of the curves has, PER first.

    Args:
        x_name: the column along x.
    """
    further = dict.fromkeys(
        name
        for curve in curves
        for name in further_columns(curve.rows)
        if name not in (*_TITLES, *_NOT_CURVES, x_name)
    )
    charts = (_chart(name, curves, x_name) for name in ("per", *further, *_LATER))
    return [chart for chart in charts if chart is not None]


def _chart(name: str, curves: Sequence[Curve], x_name: str) -> Chart | None:
    drawn = sorted(curves, key=lambda curve: curve.style is not None)
    points = [
        [
            (row[x_name], row[name] if abs(row[name]) < _LARGEST else math.nan)
            for row in curve.rows
            if abs(row.get(x_name, math.nan)) < _LARGEST and name in row
        ]
        for curve in drawn
    ]
    ys = [y for of_curve in points for _, y in of_curve if math.isfinite(y)]
    if not ys:
        return None
    xs = [x for of_curve in points for x, _ in of_curve]
    x_low, x_high = _span(xs)
    y_low, y_high = _span(ys)

    def place_x(x: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (x - x_low) / (x_high - x_low)

    def place_y(y: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (y - y_low) / (y_high - y_low)

    lines = [
        Line(
            curve.style,
            _path([(place_x(x), place_y(y)) for x, y in _thinned(of_curve)]),
            number_text(name, _last_finite(of_curve)),
        )
        for curve, of_curve in zip(drawn, points, strict=True)
        if of_curve
    ]
    title = _TITLES.get(name, name)
    shown = [f"{c.label} ends at {line.last}" for c, line in _with_style(drawn, points, lines)]
    return Chart(
        title,
        f"{title} by {x_name}: {'; '.join(shown)}",
        tuple(Tick(place_x(x), f"{x:,.10g}") for x in _ticks(x_low, x_high, 4)),
        tuple(Tick(place_y(y), number_text(name, y, tick=True)) for y in _ticks(y_low, y_high, 4)),
        tuple(lines),
    )


def _with_style(
    curves: Sequence[Curve], points: Sequence[Sequence[object]], lines: Sequence[Line]
) -> list[tuple[Curve, Line]]:
    present = [curve for curve, of_curve in zip(curves, points, strict=True) if of_curve]
    pairs = zip(present, lines, strict=True)
    return [(curve, line) for curve, line in pairs if curve.style is not None]


def number_text(name: str, value: float | None, *, tick: bool = False) -> str:
    """A value of a metric as text: rates in percent; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if name in RATES:
        return f"{100 * value:.4g} %" if tick else f"{100 * value:.1f} %"
    return f"{value:.4g}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    pad = abs(low) * 0.05 or 1.0
    return low - pad, high + pad


def _ticks(low: float, high: float, most: int) -> list[float]:
    """About `most` round numbers from `low` to `high`."""
    rough = (high - low) / most
    if not math.isfinite(rough) or rough <= 0:
        return []
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of which as many are left out as cannot be seen; peaks and gaps stay."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        finite = [point for point in group if math.isfinite(point[1])]
        ends = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])} if finite else ()
        kept += sorted(ends) or group[:1]
    return [*kept, points[-1]]


def _path(points: Sequence[tuple[float, float]]) -> str:
    """An SVG path; a value that is not finite is a gap, and a point alone a dot."""
    parts, is_open = [], False
    for index, (x, y) in enumerate(points):
        if not math.isfinite(y):
            is_open = False
            continue
        parts.append(f"{'L' if is_open else 'M'}{x:.1f} {y:.1f}")
        follows = index + 1 < len(points) and math.isfinite(points[index + 1][1])
        if not is_open and not follows:
            parts.append("h0.01")
        is_open = True
    return "".join(parts)


def _last_finite(points: Sequence[tuple[float, float]]) -> float | None:
    return next((y for _, y in reversed(points) if math.isfinite(y)), None)
