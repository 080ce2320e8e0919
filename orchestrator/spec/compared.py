"""Which arms of a design a hypothesis compares, and the weight of each in the effect."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from decoder.errors import ConfigError
from orchestrator.spec.cells import Levels, fraction_of, matches
from orchestrator.spec.fraction import effect_name, roman
from orchestrator.spec.schema import AblationSpec, Hypothesis, levels_of


class Compared(NamedTuple):
    """One arm of a comparison; the effect is the sum of weight times outcome over the arms.

    Attributes:
        arm_id: an arm of the design.
        weight: +1 or -1; in a fraction, where a side has several arms, ±1 over their number.
        side: the index of the side it belongs to, of two or four, in the order of `compared`.
    """

    arm_id: str
    weight: float
    side: int


def compared(
    spec: AblationSpec, hypothesis: Hypothesis, cells: Mapping[str, Levels]
) -> tuple[Compared, ...]:
    """The arms that a hypothesis compares.

    The sides are ``(to, from)``; with an interaction, ``(to, from)`` at its ``to`` level and then
    ``(to, from)`` at its ``from`` level. If ``where`` leaves factors out, exactly one pair (or
    quadruple) of arms must fit. In a ``leave_one_out`` design the other changes are all made, in a
    ``paired`` design the other factors change together with the contrast, and in a ``fractional``
    design the effect is averaged over the whole fraction.

    Args:
        spec: the ablation.
        hypothesis: one of its claims, about factors and levels that exist.
        cells: arm id → levels of the design's arms, in the order of the plan.

    Raises:
        ConfigError: no arms fit, several do, or the effect is aliased. The sentence starts with
            ``where:`` if `where` has to be changed.
    """
    if spec.design == "fractional":
        return _over_fraction(spec, hypothesis, cells)
    where = _completed(spec, hypothesis)
    others = [f for f in spec.factors if f not in _varied(hypothesis) and f not in where]
    if others and spec.design != "paired":
        found = list(_fitting(hypothesis, where, cells))
        if len(found) != 1:
            raise ConfigError(_open_slice(spec, hypothesis, others, len(found)))
        (ids,) = found
    else:
        sides = _sides(hypothesis, where)
        if spec.design == "paired":
            sides = [_along(spec, side) for side in sides]
        ids = []
        for side in sides:
            fitting = [arm_id for arm_id, levels in cells.items() if levels == side]
            if not fitting:
                raise ConfigError(_no_arm(spec, side))
            ids += fitting
    weights = (1, -1) if hypothesis.interaction is None else (1, -1, -1, 1)
    return tuple(map(Compared, ids, weights, range(len(ids))))


def compared_by_name(
    spec: AblationSpec, cells: Mapping[str, Levels]
) -> dict[str, tuple[Compared, ...]]:
    """Hypothesis → the arms it compares, see `compared`.

    Raises:
        ConfigError: every hypothesis whose arms do not fit.
    """
    found, problems = {}, []
    for name, hypothesis in spec.hypotheses.items():
        try:
            found[name] = compared(spec, hypothesis, cells)
        except ConfigError as error:
            for problem in error.problems:
                dot = "." if problem.startswith("where: ") else ": "
                problems.append(f"hypotheses.{name}{dot}{problem}")
    if problems:
        raise ConfigError(problems)
    return found


def varied_factors(spec: AblationSpec, hypothesis: Hypothesis) -> frozenset[str]:
    """The factors that change from one side of the contrast to the other."""
    return (
        frozenset(spec.factors)
        if spec.design == "paired"
        else frozenset({hypothesis.contrast.factor})
    )


def _varied(hypothesis: Hypothesis) -> tuple[str, ...]:
    other = hypothesis.interaction
    return (hypothesis.contrast.factor, *((other.factor,) if other else ()))


def _completed(spec: AblationSpec, hypothesis: Hypothesis) -> dict[str, str]:
    if spec.design != "leave_one_out":
        return dict(hypothesis.where)
    on = {factor: names[-1] for factor, names in levels_of(spec).items()}
    varied = _varied(hypothesis)
    return {**{f: level for f, level in on.items() if f not in varied}, **hypothesis.where}


def _sides(hypothesis: Hypothesis, where: Levels) -> list[dict[str, str]]:
    """The levels that each side names, in the order of `compared`."""
    contrast, other = hypothesis.contrast, hypothesis.interaction
    pair = [{**where, contrast.factor: level} for level in (contrast.to_level, contrast.from_level)]
    if other is None:
        return pair
    return [
        {**side, other.factor: level}
        for level in (other.to_level, other.from_level)
        for side in pair
    ]


def _along(spec: AblationSpec, side: Levels) -> dict[str, str]:
    """The cell of a paired design to which the last level of `side` belongs."""
    levels = levels_of(spec)
    ((factor, level),) = list(side.items())[-1:]
    index = levels[factor].index(level)
    return {name: names[index] for name, names in levels.items()} | dict(side)


def _fitting(
    hypothesis: Hypothesis,
    where: Levels,
    cells: Mapping[str, Levels],
) -> Iterator[list[str]]:
    """Every set of arms that differ only in the factors that the hypothesis varies."""
    arms = {frozenset(levels.items()): arm_id for arm_id, levels in cells.items()}
    first, *_ = sides = _sides(hypothesis, where)
    for levels in cells.values():
        if matches(levels, first):
            ids = [arms.get(frozenset({**levels, **side}.items())) for side in sides]
            if None not in ids:
                yield [arm_id for arm_id in ids if arm_id is not None]


def _open_slice(spec: AblationSpec, hypothesis: Hypothesis, others: list[str], n_found: int) -> str:
    quoted = ", ".join(f"'{name}'" for name in others)
    missing = f"{quoted} {'is' if len(others) == 1 else 'are'} missing"
    what = "pairs" if hypothesis.interaction is None else "quadruples"
    if n_found:
        example = f"{others[0]}: {levels_of(spec)[others[0]][0]}"
        return (
            f"where: must name the level of every other factor if more than one slice fits, but "
            f"{missing} ({n_found} {what} of arms fit); add for example {example}"
        )
    varied = " and ".join(f"'{name}'" for name in _varied(hypothesis))
    return (
        f"compares {what} of arms that differ in {varied} alone, but design '{spec.design}' has "
        "none; use design: factorial, or add the arms under 'include'"
    )


def _no_arm(spec: AblationSpec, side: Levels) -> str:
    text = ", ".join(f"{factor}={side[factor]}" for factor in spec.factors if factor in side)
    return (
        f"compares the arm {text}, which design '{spec.design}' does not have; use design: "
        "factorial, add it under 'include', or the first level of each factor in 'where'"
    )


def _over_fraction(
    spec: AblationSpec, hypothesis: Hypothesis, cells: Mapping[str, Levels]
) -> tuple[Compared, ...]:
    if hypothesis.where:
        raise ConfigError(
            "where: no slice of a fraction keeps the other factors fixed; leave it out (the "
            "effect is then averaged over the whole fraction), or use design: factorial"
        )
    fraction = fraction_of(spec)
    effect = effect_name(sorted(_varied(hypothesis), key=list(spec.factors).index))
    if others := fraction.aliases[effect]:
        raise ConfigError(
            f"is about {effect}, which this fraction of resolution {roman(fraction.resolution)} "
            f"cannot separate from {_listed(others)}; use more arms (fraction.n_arms), other "
            "generators, or design: factorial"
        )
    signs = (1, -1) if hypothesis.interaction is None else (1, -1, -1, 1)
    found = []
    for index, (side, sign) in enumerate(zip(_sides(hypothesis, {}), signs, strict=True)):
        ids = [arm_id for arm_id, levels in cells.items() if matches(levels, side)]
        found += [Compared(arm_id, sign / len(ids), index) for arm_id in ids]
    return tuple(found)


def _listed(names: Iterable[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
