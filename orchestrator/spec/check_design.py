"""Finds mistakes in the choice of arms: in the design, its levels, and what it leaves out."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Set

from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from orchestrator.spec.cells import (
    TWO_LEVEL_DESIGNS,
    Levels,
    design_cells,
    matches,
    uncut_cells,
)
from orchestrator.spec.check_claims import check_level
from orchestrator.spec.limits import check_counts
from orchestrator.spec.schema import AblationSpec


def check_design(
    spec: AblationSpec, broken: Set[str]
) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    """Check every key that decides which arms the design has.

    Args:
        spec: the ablation, or its sound parts.
        broken: malformed factors, see `orchestrator.spec.check_file.find_problems`.

    Returns:
        Arm id → levels of the design's arms, empty if there are complaints; and the complaints.
    """
    found = itertools.chain(
        _check_keys(spec), _check_levels(spec, broken), _check_cells(spec, broken)
    )
    problems = list(itertools.islice(found, ENOUGH_PROBLEMS))
    if problems or broken or any(len(levels) < 2 for levels in spec.factors.values()):
        return {}, problems
    try:
        if problems := list(check_counts(spec)):
            return {}, problems
        problems = list(_check_rules(spec))
        cells = list(design_cells(spec))
    except ConfigError as error:
        return {}, list(error.problems)
    if not problems:
        problems += _check_distinct(spec, [(cell.arm_id, cell.levels) for cell in cells])
    return ({} if problems else {cell.arm_id: cell.levels for cell in cells}), problems


def _check_keys(spec: AblationSpec) -> Iterable[str]:
    """Complaints about keys of another design."""
    keys = {
        "fraction": ("fractional", "leave it out"),
        "greedy": ("path", "leave it out"),
        "arms": ("arms", "use 'extra_arms' for arms outside the design"),
    }
    for key, (design, mend) in keys.items():
        if getattr(spec, key) and spec.design != design:
            yield (
                f"{key}: is a key of design '{design}', but the design is '{spec.design}'; write "
                f"design: {design}, or {mend}"
            )
    fraction = spec.fraction
    if fraction is not None and (fraction.generators is None) == (fraction.n_arms is None):
        yield "fraction: must have either 'generators' or 'n_arms'; write for example n_arms: 8"
    if spec.greedy is not None and (spec.include or spec.exclude):
        rules = "include" if spec.include else "exclude"
        yield (
            f"{rules}: a greedy path is made of all changes; leave '{rules}' out (other arms go "
            "under 'extra_arms'), or leave 'greedy' out"
        )
    if not spec.arms and spec.design == "arms":
        yield (
            "arms: must list at least one arm for design 'arms', but got none; write for example "
            "arms: {mine: {learning_rate: low, ...}}"
        )
    for rules in ("include", "exclude"):
        if getattr(spec, rules) and spec.design == "fractional":
            yield (
                f"{rules}: only a whole fraction is balanced; leave '{rules}' out, or use "
                "design: factorial"
            )


def _check_levels(spec: AblationSpec, broken: Set[str]) -> Iterable[str]:
    """Complaints about factors with a number of levels that the design does not allow."""
    sizes = {name: len(levels) for name, levels in spec.factors.items()}
    if spec.design in TWO_LEVEL_DESIGNS:
        for name, size in sizes.items():
            if size > 2 and not broken & {name, "*"}:
                yield (
                    f"factors.{name}: must have exactly two levels in design '{spec.design}', "
                    f"before and after the change, but got {size}; leave levels out"
                )
    if spec.design == "paired" and not broken and len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name} {size}" for name, size in sizes.items())
        yield (
            "factors: must all have the same number of levels in design 'paired', but got "
            f"{listing}; add or leave out levels"
        )


def _check_cells(spec: AblationSpec, broken: Set[str]) -> Iterable[str]:
    """Complaints about factors and levels that `arms`, `include` and `exclude` name."""
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
                f"missing; add for example {missing[0]}: {next(iter(spec.factors[missing[0]]))}"
            )
        if where not in complete and not cell:
            yield f"{where}: names no level, which leaves out every arm; name one"


def _check_rules(spec: AblationSpec) -> Iterable[str]:
    """Complaints about entries of `include` and `exclude` that have no effect or leave no arm."""
    if not spec.include and not spec.exclude:
        return
    cells = [cell.levels for cell in uncut_cells(spec)]
    for index, pattern in enumerate(spec.exclude):
        if not any(matches(levels, pattern) for levels in cells):
            yield (
                f"exclude.{index}: no arm of design '{spec.design}' has {_text(pattern)}; "
                "correct this entry or leave it out"
            )
    kept = [c for c in cells if not any(matches(c, pattern) for pattern in spec.exclude)]
    if not kept and not spec.include:
        yield "exclude: excludes every arm of the design; leave one of its entries out"
    for index, levels in enumerate(spec.include):
        if levels in kept or levels in spec.include[:index]:
            yield f"include.{index}: the design already has the arm {_text(levels)}; leave it out"


def _check_distinct(spec: AblationSpec, cells: list[tuple[str, Levels]]) -> Iterable[str]:
    """Complaints about arms with the same name, and about listed arms with the same levels."""
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
                    f"arms.{arm_id}: has the same levels as '{first}'; leave it out, or list it "
                    "under 'extra_arms' as an A/A control"
                )


def _text(levels: Levels) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in levels.items())
