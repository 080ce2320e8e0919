"""`orchestrator.plan.leave_one_out`: the ablation written for a list of changes."""

from pathlib import Path

import pytest
import yaml

from decoder.errors import ConfigError
from orchestrator.plan.leave_one_out import (
    FEWEST_SEEDS,
    TwoLevelFactor,
    ablation_text,
    base_path,
    factor_names,
    leave_one_out_ablation,
    write_ablation,
    yaml_text,
)
from orchestrator.spec.load import load_spec
from orchestrator.stats.effects import FEWEST_STUDENTIZED

RATE = TwoLevelFactor(
    "optim.lr", ("before", "after"), {"optim.lr_max": 0.005}, {"optim.lr_max": 0.002}
)
NOISE = TwoLevelFactor(
    "noise",
    ("1.0", "0.25"),
    {"augment.white_noise_std": 1.0, "augment.constant_offset_std": 0.2},
    {"augment.white_noise_std": 0.25, "augment.constant_offset_std": 0.05},
)
BASE = yaml_text({"train": {"n_steps": 10_000}}, ["The base."])


def test_file_loads_and_holds_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "which.yaml"
    common = {"optim.epsilon": 0.5}
    spec = leave_one_out_ablation(
        *("which", "Which?", base_path(path).name, [RATE, NOISE]),
        common=common, direction="decrease", margin=0.01, n_seeds=9,
    )  # fmt: skip
    write_ablation(path, ablation_text(spec, ["A comment\nover two lines."]), BASE)
    loaded = load_spec(path)
    assert loaded.spec == spec
    assert (spec.set, spec.seeds) == (common, tuple(range(1, 10)))
    assert {(claim.direction, claim.margin) for claim in spec.hypotheses.values()} == {
        ("decrease", 0.01)
    }
    assert set(loaded.compared) == {"lr_matters", "noise_matters"}
    arms = {arm.arm_id: arm.config for arm in loaded.arms}
    assert list(arms) == ["all", "all-lr", "all-noise", "base"]
    assert (arms["all"].optim.lr_max, arms["all-lr"].optim.lr_max) == (0.002, 0.005)
    assert arms["all-noise"].augment.constant_offset_std == 0.2
    assert path.read_text().splitlines()[0] == "# A comment over two lines."


def test_one_change_is_compared_with_the_base_alone() -> None:
    spec = leave_one_out_ablation("a", "Why?", "b.yaml", [RATE])
    assert (spec.design, len(spec.seeds)) == ("one_factor", FEWEST_SEEDS)
    assert set(yaml.safe_load(ablation_text(spec))) == {
        *("name", "question", "base", "factors", "design", "seeds", "hypotheses")
    }


def test_seeds_are_enough_for_claims_to_be_testable() -> None:
    factors = [
        TwoLevelFactor(f"optim.f{i}", ("a", "b"), {"optim.lr_max": 1}, {"optim.lr_max": 2})
        for i in range(5)
    ]
    assert len(leave_one_out_ablation("a", "Why?", "b.yaml", factors).seeds) == FEWEST_SEEDS
    few = leave_one_out_ablation("a", "Why?", "b.yaml", factors, n_seeds=1)
    assert len(few.seeds) == FEWEST_STUDENTIZED


def test_factors_are_named_after_fields_and_sections_where_fields_are_shared() -> None:
    assert factor_names(["optim.lr", "model.n_units", "aux.n_units", "my.own trick", "x"]) == [
        *("lr", "model-n_units", "aux-n_units", "own_trick", "x")
    ]


@pytest.mark.parametrize("base", [None, BASE])
def test_ablation_that_is_not_valid_leaves_no_file(tmp_path: Path, base: str | None) -> None:
    with pytest.raises(ConfigError):
        write_ablation(tmp_path / "n.yaml", "name: n\n", base)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept_and_named_with_the_option(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    base_path(path).write_text("mine")
    with pytest.raises(ConfigError) as caught:
        write_ablation(path, "name: n\n", BASE, "--propose")
    assert str(caught.value).startswith(f"--propose: {base_path(path)}")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["mine"]
