import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from orchestrator.report.grids import controls_grid
from orchestrator.stats import effects as stats
from orchestrator.stats.shares import Share
from orchestrator.tables.tables import make_tables
from orchestrator.verdicts.controls import (
    ControlArm,
    arm_configs,
    compare_controls,
    control_arms,
    noise_floor,
    seed_noise,
)

Build = Callable[..., Any]


def runs_of(**arms: list[float]) -> pd.DataFrame:
    """A runs table of arms with these PERs in blocks 1, 2, …; a run with PER 1 collapsed."""
    rows = [
        {
            "arm": arm,
            "block": block,
            "outcome": "collapsed" if per == 1.0 else "ok",
            "per": per,
            "collapsed": int(per == 1.0),
        }
        for arm, values in arms.items()
        for block, per in enumerate(values, 1)
    ]
    return pd.DataFrame(rows)


FRESH, AGAIN = ControlArm("aa", "a", "fresh_seeds"), ControlArm("again", "a", "same_seed")


def test_a_control_belongs_to_the_arm_whose_configuration_it_repeats(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    extra = {"aa": {"seed_offset": 100}, "again": {"replicate": 1}}
    made = build({**two_arm_spec, "extra_arms": extra}, lambda *_: truth())
    found = control_arms(made.plan, arm_configs(made.plan, made.records))
    assert found == (
        ControlArm("aa", "sum", "fresh_seeds"),
        ControlArm("again", "sum", "same_seed"),
    )
    assert control_arms(made.plan, {}) == ()


def test_the_twin_of_a_control_is_sought_among_the_arms_recorded(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    extra = {"aa": {"levels": {"loss": "mean"}, "seed_offset": 100}}
    made = build({**two_arm_spec, "extra_arms": extra}, lambda *_: truth())
    configs = arm_configs(made.plan, made.records)
    assert configs["mean"] == configs["aa"] != configs["sum"]
    assert control_arms(made.plan, configs) == (ControlArm("aa", "mean", "fresh_seeds"),)
    of_mean = {run.run_id for run in made.plan.runs if run.arm_id == "mean"}
    records = {run_id: made.records[run_id] for run_id in made.records if run_id not in of_mean}
    configs = arm_configs(made.plan, records)
    assert list(configs) == ["sum", "aa"]
    assert control_arms(made.plan, configs) == ()


def test_a_control_is_compared_block_by_block() -> None:
    runs = runs_of(a=[0.2, 0.3, 0.4], aa=[0.25, 0.28, 0.43])
    (control,) = compare_controls([FRESH], runs, "per")
    assert control.differences == pytest.approx({1: 0.05, 2: -0.02, 3: 0.03})
    differences = [0.05, -0.02, 0.03]
    assert control.interval == pytest.approx(stats.paired_interval(differences))
    assert control.p == pytest.approx(stats.studentized(differences))
    assert control.effect == pytest.approx(0.02) and control.p > 0.05


def test_a_run_without_a_result_removes_its_block() -> None:
    runs = runs_of(a=[0.2, 0.3, 0.4], aa=[0.25, 0.28, 0.43])
    runs.loc[1, "outcome"] = "failed"
    (control,) = compare_controls([FRESH], runs, "per")
    assert set(control.differences) == {1, 3} and control.outcome == "per"
    runs.loc[[0, 2], "outcome"] = "failed"
    (nothing,) = compare_controls([FRESH], runs, "per")
    assert nothing.differences == {} and not nothing.identical
    assert math.isnan(nothing.effect) and nothing.p == 1.0
    assert nothing.interval == (-math.inf, math.inf)


def test_the_same_seed_with_the_same_numbers_is_identical() -> None:
    (control,) = compare_controls([AGAIN], runs_of(a=[0.2, 0.3], again=[0.2, 0.3]), "per")
    assert control.identical and control.p == 1.0 and control.effect == 0.0


def test_a_constant_shift_between_equal_arms_is_significant() -> None:
    runs = runs_of(a=[0.2 + 0.01 * i for i in range(8)], aa=[0.5 + 0.011 * i for i in range(8)])
    controls = compare_controls([FRESH], runs, "per")
    assert controls[0].p < 1e-6
    (alarm,) = [row[-1] for row in controls_grid({"per": controls}).rows]
    same = compare_controls([AGAIN], runs_of(a=[0.2, 0.3], again=[0.2, 0.3]), "per")
    (calm,) = [row[-1] for row in controls_grid({"per": same}).rows]
    assert alarm != calm


def test_the_p_values_of_controls_are_corrected_together() -> None:
    shift = np.array([0.05, 0.01, 0.06, 0.0, 0.05, 0.02])
    start = 0.2 + 0.01 * np.arange(6)
    shifted = runs_of(a=list(start), aa=list(start + shift))
    controls = compare_controls([FRESH], shifted, "per")
    assert 0.025 < controls[0].p < 0.05  # alone, it would be an alarm
    noise = runs_of(a=[0.2, 0.3, 0.4], aa=[0.25, 0.28, 0.43])  # no difference
    same = compare_controls([AGAIN], runs_of(a=[0.2, 0.3], again=[0.2, 0.3]), "per")
    grid = controls_grid(
        {"per": controls, "collapsed": compare_controls([FRESH], shifted, "collapsed")}
    )
    assert [row[-1] for row in grid.rows] == [
        *(row[-1] for row in controls_grid({"per": compare_controls([FRESH], noise, "per")}).rows),
        *(row[-1] for row in controls_grid({"per": same}).rows),
    ]


def test_shares_are_compared_as_counts() -> None:
    runs = runs_of(a=[1.0, 0.3, 0.4], aa=[1.0, 1.0, 0.5])
    (control,) = compare_controls([FRESH], runs, "collapsed")
    assert control.events == (Share(2, 3), Share(1, 3))
    assert control.interval.low < 0 < control.interval.high


def test_the_floor_is_the_range_of_differences_between_two_single_runs() -> None:
    runs = runs_of(a=[0.2, 0.3, 0.4], aa=[0.25, 0.28, 0.43], again=[0.2, 0.3, 0.401])
    floor = noise_floor(runs, compare_controls([FRESH, AGAIN], runs, "per"), "per")
    rms = math.sqrt((0.05**2 + 0.02**2 + 0.03**2) / 3)
    assert floor.half_width == pytest.approx(scipy_stats.t.ppf(0.975, 3) * rms)
    assert (floor.source, floor.n, floor.n_same_seed) == ("controls", 3, 3)
    assert floor.same_seed == pytest.approx(0.001)
    assert floor.of_mean(4) == pytest.approx(floor.half_width / 2)
    assert floor.outcome == "per" and math.isnan(floor.of_mean(0))


def test_without_fresh_seeds_the_floor_uses_the_spread_over_seeds() -> None:
    runs = runs_of(a=[0.2, 0.3, 0.4], b=[0.5, 0.5], c=[0.7], again=[0.2, 0.2998, 0.401])
    floor = noise_floor(runs[runs["arm"] != "again"], (), "per")
    assert (floor.outcome, floor.source, floor.n) == ("per", "seeds", 3)
    assert (floor.same_seed, floor.n_same_seed) == (None, 0)
    spread = math.sqrt((0.02 + 0.0) / 3)  # pooled variance
    assert floor.half_width == pytest.approx(scipy_stats.t.ppf(0.975, 3) * math.sqrt(2) * spread)
    again = noise_floor(runs, compare_controls([AGAIN], runs, "per"), "per")
    assert (again.source, again.n_same_seed) == ("seeds", 3)
    assert again.same_seed == pytest.approx(0.001)


def test_an_arm_with_a_collapsed_run_or_without_the_number_leaves_the_spread_alone() -> None:
    runs = runs_of(a=[0.2, 0.4], b=[0.3, 0.9, 1.0], c=[0.1, math.nan])
    floor = noise_floor(runs, (), "per")
    assert floor.n == 1 and seed_noise(runs) == pytest.approx(math.sqrt(0.02))


def test_without_two_runs_of_an_arm_the_floor_is_unknown() -> None:
    floor = noise_floor(runs_of(a=[0.2], b=[0.3]), (), "per")
    assert (floor.outcome, floor.source, floor.n) == ("per", "none", 0)
    assert math.isnan(floor.half_width) and math.isnan(floor.of_mean(4))
    assert seed_noise(runs_of(a=[0.2], b=[0.3])) is None


def test_a_share_of_runs_has_no_floor_but_says_what_one_seed_gave_twice() -> None:
    runs = runs_of(a=[0.2, 1.0, 0.4], aa=[1.0, 1.0, 0.4], again=[0.2, 0.3, 0.4])
    controls = compare_controls([FRESH, AGAIN], runs, "collapsed")
    floor = noise_floor(runs, controls, "collapsed")
    assert (floor.outcome, floor.source, floor.n) == ("collapsed", "none", 0)
    assert math.isnan(floor.half_width)
    assert (floor.same_seed, floor.n_same_seed) == (1.0, 3)


def test_the_floor_has_its_nominal_coverage_on_normal_seeds() -> None:
    rng = np.random.default_rng(4)
    inside = []
    for _ in range(400):
        values = rng.normal(0.3, 0.02, (2, 7))
        runs = runs_of(a=list(values[0, :6]), aa=list(values[1, :6]))
        floor = noise_floor(runs, compare_controls([FRESH], runs, "per"), "per")
        inside.append(abs(values[0, 6] - values[1, 6]) < floor.half_width)
    assert 0.92 < np.mean(inside) < 0.98


def test_seed_noise_is_pooled_over_arms_that_are_ok(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    runs = make_tables(*build(two_arm_spec, lambda *_: truth())).runs
    variances = runs.groupby("arm")["per"].var()
    assert seed_noise(runs) == pytest.approx(np.sqrt(variances.mean()))
    stuck = make_tables(*build(two_arm_spec, lambda *_: truth(collapses=1.0))).runs
    assert seed_noise(stuck) is None
