"""Designs to cells: which combinations of levels are trained, and their names."""

import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.spec.fraction import FractionalDesign, fractional
from orchestrator.spec.schema import AblationSpec, levels_of

TWO_LEVEL_DESIGNS = ("leave_one_out", "path", "fractional")
_MAX_ID_LENGTH = 64

Levels = Mapping[str, str]


@dataclass(frozen=True)
class DesignCell:
    """One combination of levels that a design trains.

    Attributes:
        arm_id: short text, usable in file names.
        name: a description for readers.
        levels: factor → level, for every factor.
    """

    arm_id: str
    name: str
    levels: dict[str, str]


def n_design_arms(spec: AblationSpec) -> int:
    """The number of arms of the design, before `include` and `exclude`."""
    sizes = [len(levels) for levels in spec.factors.values()]
    match spec.design:
        case "factorial":
            return math.prod(sizes)
        case "one_factor":
            return 1 + sum(size - 1 for size in sizes)
        case "leave_one_out":
            return 2 + (len(sizes) if len(sizes) > 1 else 0)
        case "paired":
            return sizes[0] if sizes else 0
        case "path":
            return 1 + len(sizes)
        case "fractional":
            return fraction_of(spec).n_arms
        case "arms":
            return len(spec.arms)


def design_cells(spec: AblationSpec) -> Iterator[DesignCell]:
    """The cells of a design in their order, without the excluded ones; included ones come last.

    Raises:
        ConfigError: the fraction cannot be constructed.
    """
    for cell in uncut_cells(spec):
        if not any(matches(cell.levels, pattern) for pattern in spec.exclude):
            yield cell
    for levels in spec.include:
        yield _crossed({factor: levels[factor] for factor in spec.factors})


def matches(levels: Levels, pattern: Levels) -> bool:
    """Whether a cell has every level that a pattern names."""
    return all(levels.get(factor) == level for factor, level in pattern.items())


def fraction_of(spec: AblationSpec) -> FractionalDesign:
    """The fraction of a ``fractional`` design.

    Raises:
        ConfigError: see `orchestrator.spec.fraction.fractional`.
    """
    asked = spec.fraction
    return fractional(
        tuple(spec.factors),
        asked.generators if asked else None,
        asked.n_arms if asked else None,
    )


def uncut_cells(spec: AblationSpec) -> Iterator[DesignCell]:
    """The cells of a design before `include` and `exclude`."""
    levels = levels_of(spec)
    match spec.design:
        case "factorial":
            for cell in itertools.product(*levels.values()):
                yield _crossed(dict(zip(levels, cell, strict=True)))
        case "one_factor":
            yield from _one_factor(levels)
        case "leave_one_out":
            yield from _leave_one_out(levels)
        case "paired":
            for cell in zip(*levels.values(), strict=True):
                yield _crossed(dict(zip(levels, cell, strict=True)))
        case "path":
            yield from _path(levels)
        case "fractional":
            for row in fraction_of(spec).rows():
                picked = zip(levels.items(), row, strict=True)
                yield _crossed({factor: names[index] for (factor, names), index in picked})
        case "arms":
            for arm_id, listed in spec.arms.items():
                chosen = {factor: listed[factor] for factor in levels}
                yield DesignCell(arm_id, _named(chosen), chosen)


def changes_cell(spec: AblationSpec, changed: Collection[str]) -> DesignCell:
    """The cell with these factors, and no others, at their second level.

    Its id is unique, since the ids of a path's arms start with ``+`` or have no ``+``.
    """
    factors = [factor for factor in spec.factors if factor in changed]
    cell = {f: names[int(f in changed)] for f, names in levels_of(spec).items()}
    return DesignCell(_short("+".join(["base", *factors])), f"only {', '.join(factors)}", cell)


def _one_factor(levels: Mapping[str, tuple[str, ...]]) -> Iterator[DesignCell]:
    base = {factor: names[0] for factor, names in levels.items()}
    yield DesignCell("base", "base", base)
    for factor, names in levels.items():
        for level in names[1:]:
            arm_id = _short(f"{factor}+{level}")
            yield DesignCell(arm_id, f"{factor}={level}", {**base, factor: level})


def _leave_one_out(levels: Mapping[str, tuple[str, ...]]) -> Iterator[DesignCell]:
    base = {factor: names[0] for factor, names in levels.items()}
    changed = {factor: names[1] for factor, names in levels.items()}
    yield DesignCell("all", "all changes", changed)
    for factor in levels if len(levels) > 1 else ():  # one change without itself is the base
        cell = {**changed, factor: base[factor]}
        yield DesignCell(_short(f"all-{factor}"), f"all changes but {factor}", cell)
    yield DesignCell("base", "base", base)


def _path(levels: Mapping[str, tuple[str, ...]]) -> Iterator[DesignCell]:
    cell = {factor: names[0] for factor, names in levels.items()}
    yield DesignCell("base", "base", cell)
    for index, (factor, names) in enumerate(levels.items()):
        cell = {**cell, factor: names[1]}
        name = f"+{factor} (change {index + 1} of {len(levels)})"
        yield DesignCell(_short(f"+{factor}"), name, cell)


def crossed_id(levels: Collection[str]) -> str:
    """The id of the arm that has these levels, one of each factor."""
    return _short("+".join(levels))


def _crossed(levels: dict[str, str]) -> DesignCell:
    return DesignCell(crossed_id(levels.values()), _named(levels), levels)


def _named(levels: Levels) -> str:
    return " · ".join(f"{factor}={level}" for factor, level in levels.items())


def _short(text: str) -> str:
    if len(text) <= _MAX_ID_LENGTH:
        return text
    return f"{text[: _MAX_ID_LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
