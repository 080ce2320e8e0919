from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.figures import draw_figures
from orchestrator.report.figures.changes import changes_data
from orchestrator.report.figures.grouping import curve_facets, facets
from orchestrator.report.figures.style import shown_interval
from orchestrator.stats import effects as stats
from orchestrator.tables.tables import make_tables
from orchestrator.verdicts.change_effects import along_path, by_size, left_out, main_effects

Build = Callable[..., Any]

FACTORS: dict[str, Any] = {
    "noise": {"old": {}, "new": {"augment.white_noise_std": 0.25}},
    "rate": {"old": {}, "new": {"optim.lr_max": 0.002}},
    "warmup": {"old": {}, "new": {"optim.lr_warmup_steps": 40}},
    "batch": {"old": {}, "new": {"data.batch_size": 12}},
}
COST = {"noise": -0.04, "rate": 0.3, "warmup": 0.1, "batch": 0.02}


@pytest.fixture
def made(build: Build, truth: Any) -> Callable[..., Any]:
    """An ablation whose arms end at exactly 0.2 plus the cost of every new level."""

    def make(design: str, **more: Any) -> Any:
        def how(levels: Mapping[str, str], _: str) -> Any:
            cost = sum(COST[factor] for factor, level in levels.items() if level == "new")
            return truth(per=0.2 + cost, spread=0.0)

        spec = {"name": "c", "question": "?", "factors": FACTORS, "seeds": [1, 2, 3, 4, 5]}
        return build({**spec, "design": design, **more}, how)

    return make


def effects(of: Any, made: Any, outcome: str = "per") -> dict[str, float]:
    runs = make_tables(*made).runs
    found = of(made.plan.spec, made.plan.arms, runs, outcome)
    return {change.factor: change.effect for change in found}


def test_leaving_one_change_out_removes_its_cost(made: Any) -> None:
    found = effects(left_out, made("leave_one_out"))
    assert found == pytest.approx({name: -cost for name, cost in COST.items()}, abs=0.002)


def test_a_path_adds_up_to_the_difference_of_its_ends(made: Any) -> None:
    ablation = made("path")
    found = effects(along_path, ablation)
    assert list(found) == list(COST)
    assert found == pytest.approx(COST, abs=0.002)
    per = make_tables(*ablation).arms.set_index("arm")["per_mean"]
    ends = [arm.arm_id for arm in ablation.plan.arms]
    assert sum(found.values()) == pytest.approx(per[ends[-1]] - per[ends[0]])


def test_main_effects_are_means_over_a_fraction(made: Any) -> None:
    ablation = made("fractional")
    assert len(ablation.plan.arms) == 8
    assert effects(main_effects, ablation) == pytest.approx(COST, abs=0.002)


def test_the_interval_is_the_paired_one_over_blocks(build: Build, truth: Any) -> None:
    spec = {"name": "c", "question": "?", "factors": FACTORS, "seeds": [1, 2, 3, 4, 5]}
    ablation = build({**spec, "design": "leave_one_out"}, lambda *_: truth(spread=0.05))
    runs = make_tables(*ablation).runs
    change = left_out(ablation.plan.spec, ablation.plan.arms, runs, "per")[1]
    per = runs.pivot(index="block", columns="arm", values="per")
    expected = stats.paired_interval(per[change.arm] - per["all"])
    assert change.interval == pytest.approx(expected)
    assert change.n_blocks == 5


def test_an_effect_on_collapse_is_a_difference_of_shares(build: Build, truth: Any) -> None:
    spec = {"name": "c", "question": "?", "factors": FACTORS, "seeds": [1, 2, 3, 4]}
    ablation = build(
        {**spec, "design": "fractional"},
        lambda levels, _: truth(collapses=float(levels["rate"] == "new")),
    )
    runs = make_tables(*ablation).runs
    found = main_effects(ablation.plan.spec, ablation.plan.arms, runs, "collapsed")
    rate = next(change for change in found if change.factor == "rate")
    assert rate.effect == 1.0
    assert 0 < rate.interval.low < 1.0 and rate.interval.high == pytest.approx(1.0)
    others = [change for change in found if change.factor != "rate"]
    assert all(change.interval.low < 0 < change.interval.high for change in others)


def test_a_gap_removes_its_block_and_an_excluded_arm_its_change(build: Build, truth: Any) -> None:
    spec = {"name": "c", "question": "?", "factors": FACTORS, "seeds": [1, 2, 3]}
    gap = build(
        {**spec, "design": "leave_one_out"},
        lambda levels, arm: truth(status={2: "failed"} if arm == "all-rate" else {}),
    )
    runs = make_tables(*gap).runs
    found = left_out(gap.plan.spec, gap.plan.arms, runs, "per")
    assert [change.n_blocks for change in found] == [3, 2, 3, 3]
    arms = [arm for arm in gap.plan.arms if arm.arm_id != "all-rate"]
    found = left_out(gap.plan.spec, arms, runs, "per")
    assert [change.factor for change in found] == ["noise", "warmup", "batch"]


def test_the_largest_change_comes_first_whatever_its_sign(made: Any) -> None:
    ablation = made("path")
    found = along_path(ablation.plan.spec, ablation.plan.arms, make_tables(*ablation).runs, "per")
    assert [change.factor for change in by_size(found)] == ["rate", "warmup", "noise", "batch"]


def test_the_staircase_has_the_arms_of_the_path_in_order(made: Any) -> None:
    ablation = made("path")
    data = changes_data(ablation.plan, make_tables(*ablation), {})
    assert list(data.stairs) == ["base", *(f"+ {name}" for name in FACTORS)]
    means = [per.mean for per in data.stairs.values()]
    assert np.diff(means) == pytest.approx(list(COST.values()), abs=0.002)
    assert [len(per.seeds) for per in data.stairs.values()] == [5] * 5


def test_an_interval_above_a_per_of_one_is_drawn_up_to_its_seeds() -> None:
    assert shown_interval(1.1, 1.7, (1.2, 1.5)) == (1.1, 1.5)
    assert shown_interval(-0.1, 1.2, (0.4, 0.7)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("design", "figures"),
    [
        (
            "leave_one_out",
            ["changes", "collapse_map", "interaction", "per_curves", "emitted_curves"],
        ),
        ("path", ["changes", "collapse_map", "per_curves", "emitted_curves"]),
        ("fractional", ["changes"]),
        ("paired", ["collapse_map", "interaction", "per_curves", "emitted_curves"]),
    ],
)
def test_each_design_has_its_figures(
    made: Any, tmp_path: Path, design: str, figures: list[str]
) -> None:
    saved = draw_figures(tmp_path, evaluate_records(*made(design)))
    assert [figure.name for figure in saved] == figures


def test_every_arm_is_placed_once_and_curves_are_compared_with_both_ends(made: Any) -> None:
    ablation = made("leave_one_out", extra_arms={"mine": {"set": {"optim.epsilon": 1e-8}}})
    spec, arms = ablation.plan.spec, ablation.plan.arms
    placed = [arm for facet in facets(spec, arms) for arm in facet.arms.values()]
    assert sorted(placed) == sorted(arm.arm_id for arm in arms)
    curves = curve_facets(spec, arms)
    assert [facet.x_levels for facet in curves] == [
        *(("all", f"all-{name}", "base") for name in FACTORS),
        ("mine",),
    ]


def test_a_factorial_with_excluded_and_added_arms_places_every_arm(
    build: Build, truth: Any
) -> None:
    two = {name: FACTORS[name] for name in ("noise", "rate")}
    spec = {"name": "c", "question": "?", "factors": two, "seeds": [1, 2]}
    holes = build({**spec, "exclude": [{"noise": "new", "rate": "new"}]}, lambda *_: truth())
    star = {**spec, "design": "one_factor", "include": [{"noise": "new", "rate": "new"}]}
    for ablation in (holes, build(star, lambda *_: truth())):
        arms = ablation.plan.arms
        placed = {a for f in facets(ablation.plan.spec, arms) for a in f.arms.values()}
        assert placed == {arm.arm_id for arm in arms}
