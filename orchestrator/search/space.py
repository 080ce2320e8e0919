"""The search space: active dimensions, grids, and the configuration that settings give.

This module does not import Optuna, so that a search file is checked without waiting for it.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from orchestrator.search.schema import Dimension, Scalar
from orchestrator.spec.configuration import CommandConfig, Configuration, flatten, override
from orchestrator.spec.references import follow, references_in
from orchestrator.spec.schema import Changes

Space = Mapping[str, Dimension]
Params = dict[str, Scalar]


def is_active(dimension: Dimension, chosen: Mapping[str, Scalar]) -> bool:
    """Whether a dimension is searched, given the values of the dimensions before it."""
    return all(path in chosen and chosen[path] == value for path, value in dimension.when.items())


def grid_values(dimension: Dimension) -> list[Scalar]:
    """The values of a dimension in a grid, in order, both ends included."""
    if dimension.choice is not None:
        return list(dimension.choice)
    low, high = dimension.bounds
    if dimension.int_ is not None:
        if dimension.points is None and not dimension.is_log:
            return list(range(int(low), int(high) + 1, dimension.step or 1))
        powers = range((int(high) // int(low)).bit_length())
        return [int(low) * 2**power for power in powers if int(low) * 2**power <= high]
    assert dimension.points is not None, "checked with the file"
    spread = np.geomspace if dimension.is_log else np.linspace
    return [float(f"{value:.6g}") for value in spread(low, high, dimension.points)]


def n_grid_values(dimension: Dimension) -> int:
    """How many values a dimension has in a grid, without making them."""
    if dimension.int_ is not None and dimension.points is None and not dimension.is_log:
        low, high = dimension.int_
        return (high - low) // (dimension.step or 1) + 1
    return len(grid_values(dimension))


def grid(space: Space) -> Iterator[Params]:
    """Every point of the grid, the last dimension fastest, without inactive dimensions."""
    if not space:
        yield {}
        return
    *before, (path, dimension) = space.items()
    for chosen in grid(dict(before)):
        if is_active(dimension, chosen):
            yield from ({**chosen, path: value} for value in grid_values(dimension))
        else:
            yield chosen


def corners(space: Space, most: int = 256) -> list[Params]:
    """The first `most` combinations of the ends of every range and of every choice."""
    ends: dict[str, Dimension] = {}
    for path, dimension in space.items():
        if dimension.choice is None:
            low, high = dimension.bounds
            kind = int if dimension.int_ is not None else float
            dimension = Dimension(choice=(kind(low), kind(high)), when=dimension.when)
        ends[path] = dimension
    return list(itertools.islice(grid(ends), most))


def configure(base: Configuration, *changes: Changes, where: str) -> Configuration:
    """The base with changes applied in order, references followed.

    Args:
        base: a whole configuration.
        changes: config path → value or reference; later ones win.
        where: stands at the front of every error.

    Raises:
        ConfigError: an unknown path, a value the decoder refuses, circular references.
    """
    merged: dict[str, Any] = {path: value for part in changes for path, value in part.items()}
    if isinstance(base, CommandConfig):  # whose own interpolation follows references
        return override(base, merged, where)
    filled = follow({**flatten(base), **merged}, references_in(merged))
    return override(base, {path: filled[path] for path in merged}, where)
