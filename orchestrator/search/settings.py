"""Settings of candidates: as text, and where the best ones lie in their ranges."""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from orchestrator.search.schema import Dimension, Scalar
from orchestrator.search.space import Space, grid_values

_NEAR = 0.05  # share of a range: this close to an end, better values may lie beyond it


class Place(NamedTuple):
    """Where a setting lies in the range that was searched.

    Attributes:
        path, value: the setting.
        range: the values that were possible, as text.
        share: 0 at the lowest value that could be proposed, 1 at the highest, measured on the
            scale of the dimension; None for a choice, which has no order.
        near: the end that it lies close to, if any.
    """

    path: str
    value: Scalar
    range: str
    share: float | None
    near: Literal["lower", "upper"] | None

    @property
    def text(self) -> str:
        """``97 %, near the upper end``; a dash for a choice."""
        if self.share is None:
            return "–"
        return f"{100 * self.share:.0f} %{f', near the {self.near} end' if self.near else ''}"


def places(space: Space, params: Mapping[str, Scalar], *, is_grid: bool) -> list[Place]:
    """The place of every setting of a candidate in its range.

    Args:
        space: the dimensions of its arm.
        params: its settings.
        is_grid: whether a grid proposed them, which reaches only its own points.
    """
    return [_place(path, space[path], value, is_grid) for path, value in params.items()]


def beyond_end(dimension: Dimension, end: Literal["lower", "upper"]) -> float:
    """The next value beyond an end of a range; of real numbers, one a little beyond it."""
    low, high = dimension.bounds
    bound, sign = (high, 1) if end == "upper" else (low, -1)
    if dimension.int_ is not None:
        return int(bound) + sign
    return bound * 1.01**sign if dimension.is_log else bound + sign * 0.01 * (high - low)


def setting_text(value: Scalar) -> str:
    """A value as YAML has it, with three digits if it is no whole number."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def to_cell(dimension: Dimension, value: Scalar) -> Scalar:
    """A value as the table of candidates has it.

    Where ``null`` can be chosen, all values are text, because an empty cell is a setting that is
    not searched.
    """
    if None not in (dimension.choice or ()):
        return value
    return "null" if value is None else str(value)


def from_cell(dimension: Dimension, cell: Any) -> Scalar:
    """The value that `to_cell` wrote; None also for an empty cell."""
    for choice in dimension.choice or ():
        if to_cell(dimension, choice) == cell:
            return choice
    return None if cell is None or cell != cell else cell  # NaN alone differs from itself


def settings_text(params: Mapping[str, Scalar]) -> str:
    """``optim.lr_max 0.0123, optim.epsilon 2.1e-06``."""
    return ", ".join(f"{path} {setting_text(value)}" for path, value in params.items())


def range_text(dimension: Dimension) -> str:
    """``0.0005 to 0.05, logarithmic``, or the choices."""
    if dimension.choice is not None:
        return ", ".join(setting_text(value) for value in dimension.choice)
    low, high = (setting_text(end) for end in dimension.bounds)
    kind = "whole numbers, " if dimension.kind == "int" else ""
    return f"{kind}{low} to {high}{', logarithmic' if dimension.is_log else ''}"


def _place(path: str, dimension: Dimension, value: Scalar, is_grid: bool) -> Place:
    if dimension.choice is not None or not isinstance(value, int | float):
        return Place(path, value, range_text(dimension), None, None)
    scale = math.log if dimension.is_log else float
    low, high = (scale(end) for end in _reachable(dimension, is_grid))
    share = (scale(value) - low) / (high - low) if high > low else 0.5
    near: Literal["lower", "upper"] | None = None
    if min(share, 1 - share) < _NEAR:
        near = "upper" if share > 0.5 else "lower"
    return Place(path, value, range_text(dimension), share, near)


def _reachable(dimension: Dimension, is_grid: bool) -> tuple[float, float]:
    """The lowest and the highest value that a sampler can propose.

    Steps and the points of a grid may end below the upper bound.
    """
    if is_grid:
        values = [value for value in grid_values(dimension) if isinstance(value, int | float)]
        return values[0], values[-1]
    low, high = dimension.bounds
    if dimension.int_ is not None and not dimension.is_log:
        step = dimension.step or 1
        high = low + (high - low) // step * step
    return low, high
