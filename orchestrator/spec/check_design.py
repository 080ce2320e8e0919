"""What can be wrong with the choice of arms: levels that do not fit the design, unfit rules."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Set

from decoder.errors import ConfigError
from orchestrator.spec.cells import (
    TWO_LEVEL_DESIGNS,
    Levels,
    design_cells,
    matches,
    n_design_arms,
    uncut_cells,
)
from orchestrator.spec.check_claims import check_level
from orchestrator.spec.schema import AblationSpec

MAX_ARMS = 20_000


def check_design(
    spec: AblationSpec, broken: Set[str]
) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    """Check everything that decides which arms there are.

    Args:
        spec: the ablation, or what could be saved of it.
        broken: factors known to be malformed, see `orchestrator.spec.check_file.find_problems`.

    Returns:
        Arm id → levels of the design's arms, empty unless all is well so far, and every
        complaint found.
    """
    problems = [
        *_check_keys(spec),
        *_check_levels(spec, broken),
        *_check_cells(spec, broken),
    ]
    if problems or broken or any(len(levels) < 2 for levels in spec.factors.values()):
        return {}, problems
    try:
        if (n_arms := n_design_arms(spec)) > MAX_ARMS:
            raise ConfigError(
                f"factors: crossed they make {n_arms:,} arms, but at most {MAX_ARMS:,} are "
                "planned; leave levels out, or use design: one_factor"
            )
        problems = list(_check_rules(spec))
        cells = list(design_cells(spec))
    except ConfigError as error:
        return {}, list(error.problems)
    if not problems:
        problems += _check_distinct(spec, [(cell.arm_id, cell.levels) for cell in cells])
    return ({} if problems else {cell.arm_id: cell.levels for cell in cells}), problems


def _check_keys(spec: AblationSpec) -> Iterable[str]:
    """Keys that belong to another design."""
    if spec.fraction is not None and spec.design != "fractional":
        yield (
            f"fraction: belongs to design 'fractional', but the design is '{spec.design}'; write "
            "design: fractional, or leave it out"
        )
    if spec.fraction is not None and (spec.fraction.generators is None) == (
        spec.fraction.n_arms is None
    ):
        yield "fraction: must have either 'generators' or 'n_arms', one of them; for instance 8"
    if spec.greedy is not None and spec.design != "path":
        yield (
            f"greedy: belongs to design 'path', but the design is '{spec.design}'; write "
            "design: path, or leave it out"
        )
    if spec.greedy is not None and (spec.include or spec.exclude):
        rules = "include" if spec.include else "exclude"
        yield (
            f"{rules}: the greedy path goes over all changes and nothing else; leave '{rules}' "
            "out (arms beside the path are 'extra_arms'), or leave 'greedy' out"
        )
    if spec.arms and spec.design != "arms":
        yield (
            f"arms: belong to design 'arms', but the design is '{spec.design}'; write design: "
            "arms, or use 'extra_arms' for arms beside the design"
        )
    if not spec.arms and spec.design == "arms":
        yield (
            "arms: must list at least one arm for design 'arms', but there is none; write "
            "arms: {mine: {learning_rate: low, ...}}"
        )
    for rules in ("include", "exclude"):
        if getattr(spec, rules) and spec.design == "fractional":
            yield (
                f"{rules}: a fraction is balanced only as a whole; leave '{rules}' out, or use "
                "design: factorial"
            )


def _check_levels(spec: AblationSpec, broken: Set[str]) -> Iterable[str]:
    """Numbers of levels that the design cannot take."""
    sizes = {name: len(levels) for name, levels in spec.factors.items()}
    if spec.design in TWO_LEVEL_DESIGNS:
        for name, size in sizes.items():
            if size > 2 and not broken & {name, "*"}:
                yield (
                    f"factors.{name}: must have exactly two levels in design '{spec.design}', "
                    f"before and after the change, but has {size}; leave levels out"
                )
    if spec.design == "paired" and not broken and len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name} {size}" for name, size in sizes.items())
        yield (
            "factors: must all have equally many levels in design 'paired', where they move "
            f"together, but have {listing}; add or leave out levels"
        )


def _check_cells(spec: AblationSpec, broken: Set[str]) -> Iterable[str]:
    """Factors and levels named by arms and rules."""
    places: dict[str, Levels] = {f"arms.{name}": cell for name, cell in spec.arms.items()}
    places |= {f"include.{index}": cell for index, cell in enumerate(spec.include)}
    complete = set(places)
    places |= {f"exclude.{index}": cell for index, cell in enumerate(spec.exclude)}
    for where, cell in places.items():
        for factor, level in cell.items():
            yield from check_level(spec, where, factor, level, broken)
        missing = [factor for factor in spec.factors if factor not in cell]
        if where in complete and missing and not broken:
            yield (
                f"{where}: must name the level of every factor, but {', '.join(missing)} is "
                f"missing; add for instance {missing[0]}: {next(iter(spec.factors[missing[0]]))}"
            )
        if where not in complete and not cell:
            yield f"{where}: names no level, and so would leave out every arm; name one"


def _check_rules(spec: AblationSpec) -> Iterable[str]:
    """Rules that do nothing, or too much."""
    if not spec.include and not spec.exclude:
        return
    cells = [cell.levels for cell in uncut_cells(spec)]
    for index, pattern in enumerate(spec.exclude):
        if not any(matches(levels, pattern) for levels in cells):
            yield (
                f"exclude.{index}: no arm of design '{spec.design}' has {_text(pattern)}; "
                "correct it or leave it out"
            )
    kept = [c for c in cells if not any(matches(c, pattern) for pattern in spec.exclude)]
    if not kept and not spec.include:
        yield "exclude: leaves no arm of the design; leave one of its entries out"
    for index, levels in enumerate(spec.include):
        if levels in kept or levels in spec.include[:index]:
            yield f"include.{index}: the design has the arm {_text(levels)} already; leave it out"


def _check_distinct(spec: AblationSpec, cells: list[tuple[str, Levels]]) -> Iterable[str]:
    """Arms of one name, or listed arms that are the same."""
    for arm_id, count in Counter(arm_id for arm_id, _ in cells).items():
        if count > 1:
            yield (
                f"include: two arms of the design would be called '{arm_id}'; rename a level of "
                "one of them"
            )
    if spec.design == "arms":
        seen: dict[frozenset[tuple[str, str]], str] = {}
        for arm_id, levels in itertools.islice(cells, len(spec.arms)):
            first = seen.setdefault(frozenset(levels.items()), arm_id)
            if first != arm_id:
                yield (
                    f"arms.{arm_id}: has the same levels as '{first}'; leave it out, or make it "
                    "an A/A control under 'extra_arms'"
                )


def _text(levels: Levels) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in levels.items())
