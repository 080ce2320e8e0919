"""`orchestrator.spec.cells`, `.compared` and parents: every design against theory."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.config import DecoderConfig
from decoder.errors import ConfigError
from orchestrator.plan.contrasts import prove_contrasts
from orchestrator.plan.document import parents
from orchestrator.spec.arms import make_arms
from orchestrator.spec.cells import TWO_LEVEL_DESIGNS, design_cells, n_design_arms
from orchestrator.spec.compared import compared
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec, Design, levels_of

PATHS = (
    *("optim.epsilon", "optim.beta1", "optim.beta2", "optim.weight_decay", "optim.grad_clip"),
    *("model.rnn_dropout", "model.input_dropout", "augment.white_noise_std"),
)
DESIGNS = [design for design in get_args(Design) if design != "arms"]  # whose arms are listed


def spec_of(design: str, sizes: list[int], **more: Any) -> AblationSpec:
    """An ablation with factors f0, f1, ... of so many levels each: l0, l1, ..."""
    factors = {
        f"f{i}": {f"l{j}": {PATHS[i]: (j + 1) / 16} for j in range(size)}
        for i, size in enumerate(sizes)
    }
    document = {"name": "q", "question": "?", "base": "b", "seeds": [1], "factors": factors}
    return AblationSpec.model_validate({**document, "design": design, **more})


def hypothesis(factor: str, **more: Any) -> dict[str, Any]:
    return {
        "claim": "x",
        "contrast": {"factor": factor, "from": "l0", "to": "l1"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.01,
        **more,
    }


def loaded_of(spec: AblationSpec) -> Loaded:
    return Loaded(spec, DecoderConfig(), Path("q.yaml"), make_arms(spec, DecoderConfig()))


@st.composite
def specs(draw: st.DrawFn) -> AblationSpec:
    """Any design with a hypothesis on the first factor in the slice of first (or other) levels."""
    design = draw(st.sampled_from(DESIGNS))
    n_factors = draw(st.integers(4, 8) if design == "fractional" else st.integers(1, 4))
    if design in TWO_LEVEL_DESIGNS:
        sizes = [2] * n_factors
    elif design == "paired":
        sizes = [draw(st.integers(2, 4))] * n_factors
    else:
        sizes = draw(st.lists(st.integers(2, 4), min_size=n_factors, max_size=n_factors))
    where = {f"f{i}": "l0" for i in range(1, n_factors)} if design == "factorial" else {}
    return spec_of(design, sizes, hypotheses={"h": hypothesis("f0", where=where)})


@given(specs())
def test_arms_are_distinct_and_as_many_as_theory_says(spec: AblationSpec) -> None:
    arms = make_arms(spec, DecoderConfig())
    sizes = [len(levels) for levels in spec.factors.values()]
    k = len(sizes)
    theory = {
        "factorial": math.prod(sizes),
        "one_factor": sum(sizes) - k + 1,
        "paired": sizes[0],
        "leave_one_out": k + 2 if k > 1 else 2,
        "path": k + 1,
        "fractional": 2 ** math.ceil(math.log2(2 * k)),
    }[spec.design]
    assert len(arms) == theory == n_design_arms(spec)
    assert len({arm.arm_id for arm in arms}) == len(arms)
    assert len({arm.config for arm in arms}) == len(arms)
    assert all(set(arm.levels) == set(spec.factors) for arm in arms)


@given(specs())
def test_every_contrast_is_clean_and_its_sides_hold_the_levels_claimed(spec: AblationSpec) -> None:
    loaded = loaded_of(spec)
    levels = {arm.arm_id: arm.levels for arm in loaded.arms}
    sides = compared(spec, spec.hypotheses["h"], levels)
    assert sum(side.weight for side in sides) == pytest.approx(0)
    assert sum(abs(side.weight) for side in sides) == pytest.approx(2)
    for side in sides:
        assert levels[side.arm_id]["f0"] == ("l1" if side.weight > 0 else "l0")
    (proof,) = prove_contrasts(loaded)
    moved = len(spec.factors) if spec.design == "paired" else 1
    assert set(proof.changed) == set(PATHS[:moved])


@given(specs())
def test_every_arm_but_the_root_descends_from_it(spec: AblationSpec) -> None:
    arms = make_arms(spec, DecoderConfig())
    parent_of = parents(arms, {factor: names[0] for factor, names in levels_of(spec).items()})
    roots = [arm_id for arm_id, parent in parent_of.items() if parent is None]
    assert len(roots) == 1
    for arm_id in parent_of:
        seen = []
        at: str | None = arm_id
        while at is not None:
            assert at not in seen
            seen.append(at)
            at = parent_of[at]
        assert seen[-1] == roots[0]


def test_leave_one_out_takes_each_change_out_of_all() -> None:
    spec = spec_of("leave_one_out", [2, 2, 2])
    assert {cell.arm_id: "".join(cell.levels.values()) for cell in design_cells(spec)} == {
        "all": "l1l1l1", "all-f0": "l0l1l1", "all-f1": "l1l0l1", "all-f2": "l1l1l0",
        "base": "l0l0l0",
    }  # fmt: skip
    parent_of = parents(make_arms(spec, DecoderConfig()), dict.fromkeys(spec.factors, "l0"))
    assert parent_of == {
        "all": "base", "all-f0": "all", "all-f1": "all", "all-f2": "all", "base": None,
    }  # fmt: skip


@pytest.mark.parametrize("k", [2, 3])
def test_leaving_one_out_compares_with_all_changes_on(k: int) -> None:
    spec = spec_of("leave_one_out", [2] * k, hypotheses={"h": hypothesis("f1")})
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    assert [side.arm_id for side in compared(spec, spec.hypotheses["h"], cells)] == [
        *("all", "all-f1")
    ]


def test_a_path_adds_one_change_after_the_other() -> None:
    spec = spec_of("path", [2, 2], hypotheses={"h": hypothesis("f1")})
    cells = {cell.arm_id: dict(cell.levels) for cell in design_cells(spec)}
    assert cells == {
        "base": {"f0": "l0", "f1": "l0"},
        "+f0": {"f0": "l1", "f1": "l0"},
        "+f1": {"f0": "l1", "f1": "l1"},
    }
    assert [side.arm_id for side in compared(spec, spec.hypotheses["h"], cells)] == ["+f1", "+f0"]


def test_listed_arms_keep_their_names_and_order() -> None:
    arms = {"b": {"f1": "l2", "f0": "l0"}, "a": {"f0": "l1", "f1": "l2"}}
    spec = spec_of("arms", [2, 3], arms=arms, hypotheses={"h": hypothesis("f0")})
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    assert list(cells) == ["b", "a"]
    assert [tuple(side) for side in compared(spec, spec.hypotheses["h"], cells)] == [
        *(("a", 1, 0), ("b", -1, 1))
    ]


def test_interaction_needs_four_arms_and_is_their_difference_of_differences() -> None:
    crossed = hypothesis("f0", interaction={"factor": "f1", "from": "l0", "to": "l1"})
    spec = spec_of("factorial", [2, 2], hypotheses={"h": crossed})
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    found = {side.arm_id: side.weight for side in compared(spec, spec.hypotheses["h"], cells)}
    assert found == {"l1+l1": 1, "l0+l1": -1, "l1+l0": -1, "l0+l0": 1}
    lacking = spec_of("one_factor", [2, 2], hypotheses={"h": crossed})
    cells = {cell.arm_id: cell.levels for cell in design_cells(lacking)}
    with pytest.raises(ConfigError, match="f0=l1, f1=l1.*'one_factor'.*'include'"):
        compared(lacking, lacking.hypotheses["h"], cells)


def test_incomplete_slice_is_refused_if_two_fit_and_completed_if_one_does() -> None:
    open_slice = hypothesis("f0")
    spec = spec_of("factorial", [2, 2], hypotheses={"h": open_slice})
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    with pytest.raises(ConfigError, match=r"^where: .*'f1' .*\(2 pairs .*f1: l0"):
        compared(spec, spec.hypotheses["h"], cells)
    cut = spec_of(
        "factorial", [2, 2], hypotheses={"h": open_slice}, exclude=[{"f0": "l0", "f1": "l0"}]
    )
    cells = {cell.arm_id: cell.levels for cell in design_cells(cut)}
    assert [side.arm_id for side in compared(cut, cut.hypotheses["h"], cells)] == ["l1+l1", "l0+l1"]


def test_a_hypothesis_on_an_aliased_effect_is_refused_with_the_aliases_named() -> None:
    crossed = hypothesis("f1", interaction={"factor": "f0", "from": "l0", "to": "l1"})
    spec = spec_of("fractional", [2] * 6, hypotheses={"h": crossed})
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    with pytest.raises(ConfigError, match="f0 × f1, .* IV .*f.* × f.*n_arms"):
        compared(spec, spec.hypotheses["h"], cells)


def test_effects_of_a_fraction_are_those_of_the_matrix() -> None:
    """The effects of a known sum of a main effect and an interaction are recovered."""
    crossed = hypothesis("f1", interaction={"factor": "f0", "from": "l0", "to": "l1"})
    claims = {f"main{i}": hypothesis(f"f{i}") for i in range(5)} | {"crossed": crossed}
    spec = spec_of("fractional", [2] * 5, hypotheses=claims)
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}

    def outcome(arm_id: str) -> float:
        high = [int(level == "l1") for level in cells[arm_id].values()]
        return 0.5 + 0.2 * high[2] + 0.1 * high[0] * high[1]

    effects = {
        name: sum(s.weight * outcome(s.arm_id) for s in compared(spec, claim, cells))
        for name, claim in spec.hypotheses.items()
    }
    expected = {"main0": 0.05, "main1": 0.05, "main2": 0.2, "main3": 0, "main4": 0, "crossed": 0.1}
    assert effects == pytest.approx(expected)


def test_slice_of_a_fraction_is_refused() -> None:
    spec = spec_of("fractional", [2] * 4, hypotheses={"h": hypothesis("f0", where={"f1": "l0"})})
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    with pytest.raises(ConfigError, match="^where: .*fraction.*design: factorial"):
        compared(spec, spec.hypotheses["h"], cells)


@given(st.integers(5, 8), st.data())
def test_over_a_fraction_sides_are_averages_and_other_main_effects_cancel(
    k: int, data: st.DataObject
) -> None:
    crossed = hypothesis("f0", interaction={"factor": "f1", "from": "l0", "to": "l1"})
    claims = {"main": hypothesis("f0"), "crossed": crossed}
    spec = spec_of("fractional", [2] * k, fraction={"n_arms": 2 ** (k - 1)}, hypotheses=claims)
    cells = {cell.arm_id: cell.levels for cell in design_cells(spec)}
    other = f"f{data.draw(st.integers(1, k - 1))}"
    for name, signs in (("main", (1, -1)), ("crossed", (1, -1, -1, 1))):
        found = compared(spec, spec.hypotheses[name], cells)
        sums = [sum(s.weight for s in found if s.side == side) for side in range(len(signs))]
        assert sums == pytest.approx(signs)
        leak = sum(s.weight * (cells[s.arm_id][other] == "l1") for s in found)
        assert leak == pytest.approx(0)
