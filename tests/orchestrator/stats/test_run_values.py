"""`orchestrator.stats.run_values`: what a run counts as, and that every place goes by it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from orchestrator.stats.run_values import (
    CHANCE_PER,
    ENDINGS,
    counted_values,
    learned_nothing,
    least_budget,
    restricted,
)
from orchestrator.tables.tables import make_tables, outcome_values
from orchestrator.verdicts.change_effects import by_block
from orchestrator.verdicts.controls import ControlArm, compare_controls
from orchestrator.verdicts.values import arm_runs, values_of

Build = Callable[..., Any]


def test_each_ending_counts_as_the_rule_says() -> None:
    column = [0.3, 0.97, 1.0, math.nan, math.nan]
    found = {
        outcome: counted_values(outcome, ENDINGS, column, 400.0).tolist()
        for outcome in ("per", "per_beam", "collapsed", "diverged", "emitted_ratio")
    }
    gap = pytest.approx(math.nan, nan_ok=True)
    assert found["per"] == [0.3, 0.97, 1.0, gap, gap]
    assert found["per_beam"] == [0.3, 0.97, 1.0, gap, gap]
    assert found["collapsed"] == [0.0, 1.0, 1.0, gap, gap]
    assert found["diverged"] == [0.0, 0.0, 1.0, gap, gap]
    assert found["emitted_ratio"] == [0.3, 0.97, gap, gap, gap]


def test_steps_to_escape_are_cut_at_the_budget_and_a_diverged_run_never_escaped() -> None:
    steps = [120.0, math.nan, 80.0, 60.0, math.nan]
    found = counted_values("escape_step", ENDINGS, steps, 100.0)
    assert found[:3].tolist() == [100.0, 100.0, 100.0]
    assert np.isnan(found[3:]).all()


def test_the_least_budget_is_that_of_the_run_watched_shortest() -> None:
    assert least_budget([400.0, math.nan, 1200.0]) == 400.0
    assert math.isnan(least_budget([]))


def test_none_stands_for_a_number_that_was_not_recorded() -> None:
    per: Any = [0.25, None, 1.0]
    found = counted_values("per", ["ok", "ok", "diverged"], per, 400.0)
    assert found.dtype == np.float64 and found[[0, 2]].tolist() == [0.25, 1.0]
    assert np.isnan(found[1])
    assert learned_nothing(["ok", "ok", "diverged"], per).tolist() == [False, False, True]
    assert restricted(per, 400.0).tolist() == [0.25, 400.0, 1.0]
    assert least_budget(per) == 0.25


@pytest.fixture
def diverged(build: Build, truth: Any, two_arm_spec: dict[str, Any]) -> Any:
    """Two arms, one repeated; the run of seed 1 diverged in arm ``mean``; beam search is on."""
    spec = {
        **two_arm_spec,
        "extra_arms": {"again": {"levels": {"loss": "mean"}, "replicate": 1}},
    }
    made = build(
        spec,
        lambda levels, arm: truth(
            status={1: "diverged"} if arm == "mean" else {}, per=0.3 if levels else 0.4
        ),
        {"evaluation.use_beam_search": True},
    )
    for run_id, record in made.records.items():
        if record["status"] == "ok":
            record["beam"] = {"per": 0.2, "width": 8.0}
        assert record["config"]["evaluation"]["use_beam_search"], run_id
    return made


def test_a_diverged_run_counts_with_beam_search_as_it_does_without(diverged: Any) -> None:
    """Else beam search looks better the more runs diverge."""
    tables = make_tables(*diverged)
    runs = tables.runs.set_index(["arm", "seed"])
    assert runs.loc[("mean", 1), "per"] == runs.loc[("mean", 1), "per_beam"] == 1.0
    arms = tables.arms.set_index("arm")
    assert arms.loc["mean", "per_beam_mean"] == pytest.approx((0.2 + 1.0 + 0.2) / 3)


def test_no_beam_search_means_no_per_with_it(build: Build, truth: Any, two_arm_spec: Any) -> None:
    made = build(two_arm_spec, lambda *_: truth(status={1: "diverged"}))
    assert make_tables(*made).runs["per_beam"].isna().all()


@pytest.mark.parametrize("outcome", ["per", "collapsed", "emitted_ratio", "escape_step"])
def test_verdicts_controls_changes_and_tables_count_a_diverged_run_alike(
    diverged: Any, outcome: str
) -> None:
    tables = make_tables(*diverged)
    runs = tables.runs
    seeds = diverged.plan.spec.seeds
    budget = least_budget(runs["n_steps"])
    verdict = values_of(outcome, arm_runs(runs, seeds, [outcome])["mean"], budget).values
    table = outcome_values(runs[runs["arm"] == "mean"], outcome, budget)
    changes = by_block(runs, outcome)["mean"].to_numpy()
    np.testing.assert_array_equal(verdict, table)
    np.testing.assert_array_equal(verdict, changes)
    pair = ControlArm("again", "mean", "same_seed")
    (control,) = compare_controls([pair], runs, outcome)
    other = by_block(runs, outcome)["again"].to_numpy()
    both = np.isfinite(verdict) & np.isfinite(other)
    assert list(control.differences.values()) == pytest.approx((other - verdict)[both].tolist())
    if outcome == "emitted_ratio":  # its last value before it diverged is no final value
        assert np.isnan(verdict[1]) and 1 not in control.differences


def test_arms_of_unlike_budgets_are_cut_at_the_least(build: Build, truth: Any) -> None:
    spec = {
        "name": "t",
        "question": "?",
        "factors": {"steps": {"few": {"train.n_steps": 100}, "many": {}}},
        "seeds": [0, 1, 2],
    }
    made = build(spec, lambda levels, arm: truth(escape=240))
    tables = make_tables(*made)
    arms = tables.arms.set_index("arm")
    assert sorted(tables.runs["n_steps"].unique()) == [100, 400]
    assert arms.loc["many", "escape_step_mean"] == 100.0
    assert arms.loc["many", "n_escaped"] == 3
    assert by_block(tables.runs, "escape_step")["many"].tolist() == [100.0] * 3


def test_restricted_mean_is_the_area_under_the_kaplan_meier_curve() -> None:
    steps, budget = np.array([40.0, 120.0, math.nan, 60.0, 380.0, math.nan]), 400.0
    escaped = ~np.isnan(steps)
    curve = SurvfuncRight(np.where(escaped, steps, budget), escaped)
    edges = np.concatenate([[0.0], curve.surv_times[curve.surv_times < budget], [budget]])
    heights = np.concatenate([[1.0], curve.surv_prob[curve.surv_times < budget]])
    area = float(np.sum(np.diff(edges) * heights))
    assert restricted(steps, budget).mean() == pytest.approx(area)


def test_the_lowest_per_of_a_run_that_diverged_is_a_fact_of_its_evaluations() -> None:
    assert counted_values("best_per", ["diverged", "failed"], [0.4, 0.4], 100.0)[0] == 0.4
    assert np.isnan(counted_values("best_per", ["failed"], [0.4], 100.0)).all()


def test_runs_that_end_at_chance_learned_nothing_even_if_they_are_ok() -> None:
    just_below = np.nextafter(CHANCE_PER, 0)
    endings = ["ok", "ok", "ok", "collapsed", "diverged", "failed", "missing"]
    per = [just_below, CHANCE_PER, 1.2, 0.5, 0.5, 1.0, math.nan]
    found = learned_nothing(endings, per)
    assert found.tolist() == [False, True, True, True, True, False, False]


def test_numbers_may_come_as_the_objects_of_a_table_with_gaps() -> None:
    column = np.array([0.5, None], dtype=object)
    assert counted_values("per", ["ok", "missing"], column, 1.0).dtype == np.float64
    assert counted_values("escape_step", ["ok", "ok"], column, 1.0).tolist() == [0.5, 1.0]
    assert restricted(column, 2.0).tolist() == [0.5, 2.0]
    assert least_budget(column) == 0.5
    assert learned_nothing(["ok", "ok"], np.array([0.95, None], dtype=object)).tolist() == [
        True,
        False,
    ]
