from itertools import product
from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.schema import Hypothesis
from orchestrator.sides import parts_of


def claim(factor: str = "A", **changes: Any) -> Hypothesis:
    return Hypothesis.model_validate(
        {
            "claim": "It matters.",
            "contrast": {"factor": factor, "from": "off", "to": "on"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.05,
            **changes,
        }
    )


def arms_of(cells: dict[str, str]) -> list[dict[str, Any]]:
    """Arms of the factors A, B, ...; ``"+-"`` is A on, B off."""
    level = {"+": "on", "-": "off"}
    return [
        {
            "arm_id": arm,
            "levels": {factor: level[sign] for factor, sign in zip("ABCD", signs, strict=False)},
            "in_design": True,
        }
        for arm, signs in cells.items()
    ]


FACTORIAL = arms_of({"".join(signs): "".join(signs) for signs in product("-+", repeat=2)})
# Resolution IV: D = ABC.
FRACTION = arms_of(
    {
        "".join(s): "".join(s)
        for s in product("-+", repeat=4)
        if s[:3].count("-") % 2 == (s[3] == "-")
    }
)
OTHER = {"factor": "B", "from": "off", "to": "on"}


def pairs(hypothesis: Hypothesis, arms: list[dict[str, Any]], design: Any = "factorial") -> Any:
    return [(p.arm, p.weight, p.side) for p in parts_of("h", hypothesis, arms, design)]


def test_a_simple_effect_compares_the_two_arms_of_its_slice() -> None:
    found = pairs(claim(where={"B": "on"}), FACTORIAL)
    assert found == [("++", 1.0, 0), ("-+", -1.0, 1)]


def test_an_interaction_compares_four_arms() -> None:
    found = pairs(claim(interaction=OTHER), FACTORIAL)
    assert found == [("++", 1.0, 0), ("-+", -1.0, 1), ("+-", -1.0, 2), ("--", 1.0, 3)]


def test_what_where_leaves_out_follows_from_the_design_if_one_pair_fits() -> None:
    one_factor = arms_of({"base": "---", "A+on": "+--", "B+on": "-+-", "C+on": "--+"})
    assert pairs(claim("B"), one_factor) == [("B+on", 1.0, 0), ("base", -1.0, 1)]
    leave_one_out = arms_of({"all": "+++", "all-A": "-++", "all-B": "+-+", "base": "---"})
    assert pairs(claim("A"), leave_one_out) == [("all", 1.0, 0), ("all-A", -1.0, 1)]
    path = arms_of({"base": "---", "+A": "+--", "+B": "++-", "+C": "+++"})
    assert pairs(claim("C"), path) == [("+C", 1.0, 0), ("+B", -1.0, 1)]
    paired = arms_of({"before": "---", "after": "+++"})
    assert pairs(claim("B"), paired) == [("after", 1.0, 0), ("before", -1.0, 1)]


def test_an_ambiguous_contrast_is_refused_with_the_pairs_it_fits() -> None:
    with pytest.raises(ConfigError, match=r"fits 2 pairs of arms \(\+- against --; "):
        pairs(claim(), FACTORIAL)


def test_arms_outside_the_design_are_never_compared() -> None:
    outside = [{**arm, "in_design": arm["arm_id"] != "++"} for arm in FACTORIAL]
    assert pairs(claim(), outside) == [("+-", 1.0, 0), ("--", -1.0, 1)]
    with pytest.raises(ConfigError, match="no arm of the design has B = on, A = on"):
        pairs(claim(where={"B": "on"}), outside)


def test_a_main_effect_over_a_fraction_averages_half_of_the_arms_on_each_side() -> None:
    assert len(FRACTION) == 8
    found = pairs(claim("D"), FRACTION, "fractional")
    assert {weight for _, weight, side in found if side == 0} == {0.25}
    assert {weight for _, weight, side in found if side == 1} == {-0.25}
    assert len({arm for arm, _, _ in found}) == 8


def test_over_a_fraction_no_other_main_effect_leaks_into_a_main_effect() -> None:
    for factor in "ABCD":
        found = pairs(claim(factor), FRACTION, "fractional")
        for other in set("ABCD") - {factor}:
            signs = {"+": 1, "-": -1}
            leak = sum(weight * signs[arm["ABCD".index(other)]] for arm, weight, _ in found)
            assert leak == pytest.approx(0)


def test_an_interaction_over_a_fraction_averages_each_of_its_four_sides() -> None:
    found = pairs(claim(interaction=OTHER), FRACTION, "fractional")
    sums = [sum(weight for _, weight, side in found if side == s) for s in range(4)]
    assert sums == pytest.approx([1, -1, -1, 1])
