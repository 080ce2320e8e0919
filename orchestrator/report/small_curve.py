"""Learning curves as small drawings: the median over the seeds, and the band of all seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.spec.units import noun, value_text
from orchestrator.stats.effects import Floats

_MOST_POINTS = 60


class SmallCurve(NamedTuple):
    """A metric during training, in a box 100 wide and 30 high with its least value at the bottom.

    Attributes:
        line: the median over the seeds, as the points of an SVG polyline.
        band: lowest to highest seed, as the points of an SVG polygon.
        label: a description in words.
    """

    line: str
    band: str
    label: str


def small_curve(
    steps: Floats,
    middle: Floats,
    low: Floats,
    high: Floats,
    last_step: float,
    metric: str = "per",
    limits: tuple[float, float] = (0.0, 1.0),
) -> SmallCurve:
    """Draw a curve.

    Args:
        steps: (n,) evaluation steps, at least one.
        middle, low, high: (n,) median, smallest and largest value over the seeds.
        last_step: the step at the right edge of the box.
        limits: the values at the lower and upper edge; what lies beyond is drawn there.
    """
    n = len(steps)
    chosen = np.unique(np.linspace(0, n - 1, min(n, _MOST_POINTS)).round().astype(int))
    least, most = limits

    def points(values: Floats, order: NDArray[np.int_]) -> str:
        y = 30 * (1 - (np.clip(values, least, most) - least) / ((most - least) or 1.0))
        x = 100 * steps / last_step
        return " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in order)

    start, end = (value_text(float(middle[i]), metric) for i in (0, -1))
    name = "PER" if metric == "per" else noun(metric).removeprefix("final ")
    return SmallCurve(
        line=points(middle, chosen),
        band=f"{points(high, chosen)} {points(low, chosen[::-1])}",
        label=f"{name} during training, median over the seeds: {start} at step {steps[0]:,.0f}, "
        f"{end} at step {steps[-1]:,.0f}",
    )
