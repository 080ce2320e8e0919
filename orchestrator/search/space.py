"""What a candidate is: values for the dimensions that are active, and the configuration they give.

No optuna here: what has to be checked before a search begins must not wait for it.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from decoder.config import DecoderConfig, flatten, override
from orchestrator.search.schema import Dimension, Scalar
from orchestrator.spec.references import follow, references
from orchestrator.spec.schema import Changes

Space = Mapping[str, Dimension]
Params = dict[str, Scalar]


def is_active(dimension: Dimension, chosen: Mapping[str, Scalar]) -> bool:
    """Whether a dimension is searched beside these values of the dimensions before it."""
    return all(path in chosen and chosen[path] == value for path, value in dimension.when.items())


def values_of(dimension: Dimension) -> list[Scalar]:
    """Every value a grid takes of a dimension, in order; numbers with both ends."""
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


def grid(space: Space) -> list[Params]:
    """Every combination of a grid, the last dimension running fastest; inactive ones left out."""

    def grow(paths: list[str], chosen: Params) -> Iterator[Params]:
        if not paths:
            yield chosen
            return
        first, rest = paths[0], paths[1:]
        if not is_active(space[first], chosen):
            yield from grow(rest, chosen)
            return
        for value in values_of(space[first]):
            yield from grow(rest, {**chosen, first: value})

    return list(grow(list(space), {}))


def corners(space: Space, most: int = 256) -> list[Params]:
    """Candidates at the ends of every dimension, and at every choice: up to `most` of them."""
    ends: dict[str, Dimension] = {}
    for path, dimension in space.items():
        if dimension.choice is None:
            low, high = dimension.bounds
            kind = int if dimension.int_ is not None else float
            dimension = Dimension(choice=(kind(low), kind(high)), when=dimension.when)
        ends[path] = dimension
    return list(itertools.islice(grid(ends), most))


def configure(base: DecoderConfig, *changes: Changes, where: str) -> DecoderConfig:
    """The base with changes on top of each other, references followed.

    Args:
        base: a whole configuration.
        changes: config path → value or reference; later ones win.
        where: named at the front of every complaint.

    Raises:
        ConfigError: an unknown path, a value the decoder refuses, references in a circle.
    """
    merged: dict[str, Any] = {path: value for part in changes for path, value in part.items()}
    filled = follow({**flatten(base), **merged}, references(merged))
    return override(base, {path: filled[path] for path in merged}, where)
