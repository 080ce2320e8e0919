"""`orchestrator.spec.arms`: factors → arms."""

from collections.abc import Callable

import pytest

from orchestrator.spec.arms import factor_paths
from orchestrator.spec.cells import n_design_arms
from orchestrator.spec.load import Loaded

Load = Callable[..., Loaded]


def test_a_factorial_crosses_all_levels(load: Load) -> None:
    loaded = load()
    assert [dict(arm.levels) for arm in loaded.arms] == [
        {"noise": noise, "rate": rate} for noise in ("official", "weak") for rate in ("high", "low")
    ]
    assert loaded.arms[3].name == "noise=weak · rate=low"
    assert loaded.arms[3].changes == {"augment.white_noise_std": 0.25, "optim.lr_max": 0.002}
    assert loaded.arms[3].config.optim.lr_max == 0.002
    assert n_design_arms(loaded.spec) == 4


def test_one_factor_is_the_base_and_each_other_level_alone(load: Load) -> None:
    loaded = load({"design": "one_factor", "hypotheses/only_when_slow": ...})
    assert [(arm.arm_id, arm.name) for arm in loaded.arms] == [
        *(("base", "base"), ("noise+weak", "noise=weak"), ("rate+low", "rate=low"))
    ]
    assert dict(loaded.arms[2].levels) == {"noise": "official", "rate": "low"}
    assert n_design_arms(loaded.spec) == 3


def test_an_extra_arm_starts_from_its_levels_and_the_base(load: Load) -> None:
    extra = {"levels": {"rate": "low"}, "set": {"optim.epsilon": 1e-8}, "note": "mine"}
    loaded = load({"extra_arms": {"mine": extra}, "set": {"augment.white_noise_std": 0.8}})
    arm = loaded.arms[-1]
    assert (arm.arm_id, arm.in_design, arm.note) == ("mine", False, "mine")
    assert dict(arm.levels) == {"rate": "low"}
    assert arm.changes == {"optim.lr_max": 0.002, "optim.epsilon": 1e-8}
    assert arm.config.augment.white_noise_std == 0.8  # the common value, not a level of noise


def test_set_changes_every_arm_and_a_level_wins_over_it(load: Load) -> None:
    loaded = load({"set": {"optim.lr_max": 0.1, "optim.epsilon": 0.5}})
    assert {arm.config.optim.epsilon for arm in loaded.arms} == {0.5}
    assert {arm.config.optim.lr_max for arm in loaded.arms} == {0.005, 0.002}


def test_long_arm_ids_are_cut_and_stay_distinct(load: Load) -> None:
    long = {f"{'x' * 60}{i}": {"augment.white_noise_std": i / 10} for i in range(3)}
    loaded = load({"factors/noise": long, "hypotheses": {}})
    ids = [arm.arm_id for arm in loaded.arms]
    assert len(set(ids)) == 6
    assert max(map(len, ids)) <= 64


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_an_arm_does_not_depend_on_the_seeds(load: Load, n_seeds: int) -> None:
    assert load({"seeds": list(range(n_seeds))}).arms == load().arms


def test_the_paths_of_a_factor_are_those_of_all_its_levels(load: Load) -> None:
    loaded = load({"factors/noise/weak": {"augment.constant_offset_std": 0.05}})
    assert factor_paths(loaded.spec, "noise") == {
        *("augment.white_noise_std", "augment.constant_offset_std")
    }


def test_a_derived_value_follows_what_the_arm_sets(load: Load) -> None:
    loaded = load(
        {"set": {"optim.lr_max_day": "${optim.lr_max}", "optim.lr_min_day": "${optim.lr_min}"}}
    )
    by_id = {arm.arm_id: arm for arm in loaded.arms}
    assert by_id["official+low"].config.optim.lr_max_day == 0.002
    assert by_id["official+high"].config.optim.lr_max_day == 0.005
    assert by_id["official+low"].changes["optim.lr_max_day"] == 0.002
    assert "optim.lr_min_day" not in by_id["official+low"].changes  # the same in every arm
    assert by_id["official+low"].comes_from("optim.lr_max_day") == [
        *("optim.lr_max_day", "optim.lr_max")
    ]


def test_a_level_and_an_extra_arm_may_derive_values_and_win_over_set(load: Load) -> None:
    loaded = load(
        {
            "set": {"optim.lr_max_day": "${optim.lr_max}"},
            "factors/rate/low": {"optim.lr_max": 0.002, "optim.lr_min": "${optim.weight_decay}"},
            "extra_arms": {
                "mine": {"levels": {"rate": "low"}, "set": {"optim.lr_max_day": 0.1}},
                "chained": {"set": {"optim.weight_decay": "${optim.lr_max_day}"}},
            },
        }
    )
    by_id = {arm.arm_id: arm.config.optim for arm in loaded.arms}
    assert by_id["weak+low"].lr_min == 0.001
    assert by_id["mine"].lr_max_day == 0.1
    assert by_id["chained"].weight_decay == 0.005


def test_included_and_excluded_cells(load: Load) -> None:
    loaded = load(
        {
            "design": "one_factor",
            "include": [{"noise": "weak", "rate": "low"}],
            "exclude": [{"noise": "official", "rate": "low"}],
            "hypotheses/only_when_slow": ...,
        }
    )
    assert [(arm.arm_id, dict(arm.levels)) for arm in loaded.arms] == [
        ("base", {"noise": "official", "rate": "high"}),
        ("noise+weak", {"noise": "weak", "rate": "high"}),
        ("weak+low", {"noise": "weak", "rate": "low"}),
    ]
