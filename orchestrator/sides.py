"""Which arms of a plan a hypothesis compares, and with what weight."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from decoder.errors import ConfigError
from orchestrator.schema import Design, Hypothesis

Levels = Mapping[str, str]


class Part(NamedTuple):
    """An arm's part in an effect.

    Attributes:
        arm: its id.
        weight: what its outcome is multiplied by; the effect is the sum over all parts.
        side: which of the sides it stands for, in the order of `sides_of`.
    """

    arm: str
    weight: float
    side: int


def sides_of(hypothesis: Hypothesis) -> list[tuple[dict[str, str], int]]:
    """(levels, sign) of each side, as far as the claim names them: ``to``, then ``from``; with
    an interaction the same at its ``to`` level, then, with the signs turned, at its ``from``."""
    contrast, other = hypothesis.contrast, hypothesis.interaction
    pair = [
        ({**hypothesis.where, contrast.factor: contrast.to_level}, 1),
        ({**hypothesis.where, contrast.factor: contrast.from_level}, -1),
    ]
    if other is None:
        return pair
    return [
        ({**levels, other.factor: level}, sign * turn)
        for level, turn in ((other.to_level, 1), (other.from_level, -1))
        for levels, sign in pair
    ]


def parts_of(
    name: str, hypothesis: Hypothesis, arms: Sequence[Mapping[str, Any]], design: Design
) -> list[Part]:
    """The design's arms that a hypothesis compares, side after side.

    In a fractional design each side is the average over all arms that fit it, which balances
    the other factors. Else each side is one arm, and the sides agree in every other factor;
    what `where` leaves out must follow from the design.

    Args:
        name: of the hypothesis, for complaints.
        hypothesis: what is claimed.
        arms: the plan's arms.
        design: how the arms were made.

    Raises:
        ConfigError: a side fits no arm, or what is compared is ambiguous.
    """
    sides = sides_of(hypothesis)
    inside = {str(arm["arm_id"]): arm["levels"] for arm in arms if arm["in_design"]}
    fitting = [
        [arm for arm, levels in inside.items() if levels.items() >= wanted.items()]
        for wanted, _ in sides
    ]
    for (wanted, _), found in zip(sides, fitting, strict=True):
        if not found:
            raise _no_arm(name, wanted)
    if design == "fractional":
        return [
            Part(arm, sign / len(found), side)
            for side, ((_, sign), found) in enumerate(zip(sides, fitting, strict=True))
            for arm in found
        ]
    by_levels = {frozenset(levels.items()): arm for arm, levels in inside.items()}
    tuples = []
    for arm in fitting[0]:
        others = [
            by_levels.get(frozenset({**inside[arm], **wanted}.items())) for wanted, _ in sides
        ]
        if None not in others:
            tuples.append([str(other) for other in others])
    if not tuples and all(len(found) == 1 for found in fitting):
        tuples = [[found[0] for found in fitting]]  # factors that move together
    if not tuples:
        raise _no_arm(name, sides[-1][0])
    if len(tuples) > 1:
        listing = "; ".join(" against ".join(arms) for arms in tuples[:3])
        raise ConfigError(
            f"hypotheses.{name}: the contrast fits {len(tuples)} pairs of arms ({listing}); "
            "name the levels of the other factors in 'where'"
        )
    return [
        Part(arm, float(sign), side)
        for side, (arm, (_, sign)) in enumerate(zip(tuples[0], sides, strict=True))
    ]


def _no_arm(name: str, wanted: Levels) -> ConfigError:
    text = ", ".join(f"{factor} = {level}" for factor, level in wanted.items())
    return ConfigError(
        f"hypotheses.{name}: no arm of the design has {text} and agrees with the other side in "
        "all else; 'where' must name levels that the design trains"
    )
