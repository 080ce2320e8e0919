"""`orchestrator.query.compare.effects`: the difference of two arms, and when nothing is tested."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from orchestrator.query.compare.effects import (
    compare_runs,
    metric_values,
    shared_budget,
    summarise,
    welch,
)
from orchestrator.tables.run_row import RunRow


def runs(values: list[float | None], prefix: str, seeds: list[int] | None = None) -> list[RunRow]:
    """One run per value; None is an infrastructure failure."""
    return [
        RunRow(
            f"{prefix}{at}",
            "failed" if value is None else "ok",
            seeds[at] if seeds else at,
            results={"per": value, "n_steps": 400},
        )
        for at, value in enumerate(values)
    ]


VALUES = st.lists(st.floats(0.05, 0.95), min_size=2, max_size=8, unique=True)


@given(VALUES, VALUES)
def test_welch_agrees_with_scipy(a: list[float], b: list[float]) -> None:
    if min(np.ptp(a), np.ptp(b)) < 1e-3:
        return
    interval, p = welch(a, b)
    theirs = scipy_stats.ttest_ind(b, a, equal_var=False)
    assert p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    ends = theirs.confidence_interval(0.95)
    assert interval == pytest.approx((ends.low, ends.high), rel=1e-6, abs=1e-9)


def test_shared_seeds_are_paired() -> None:
    a, b = [0.30, 0.35, 0.40, 0.45, 0.50, 0.55], [0.31, 0.37, 0.41, 0.47, 0.51, 0.57]
    effect = compare_runs(runs(a, "a"), runs(b, "b"), "per")
    steps = np.subtract(b, a)
    assert effect.value == pytest.approx(0.015)
    # The steps are symmetric, so the correction for skewness changes nothing.
    theirs = scipy_stats.ttest_1samp(steps, 0.0)
    assert effect.p == pytest.approx(theirs.pvalue)
    assert effect.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (effect.n_pairs, effect.n_same) == (6, 0)
    assert "paired t over 6 seeds" in effect.test


def test_other_seeds_are_not() -> None:
    a, b = [0.3, 0.4, 0.5], [0.35, 0.45, 0.6]
    effect = compare_runs(runs(a, "a"), runs(b, "b", seeds=[7, 8, 9]), "per")
    assert (effect.test, effect.n_pairs) == ("Welch's t", 0)
    assert effect.p == pytest.approx(scipy_stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_few_shared_seeds_do_not_pair() -> None:
    a = runs([0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "a")
    b = runs([0.31, 0.42, 0.55, 0.64, 0.7, 0.9], "b", seeds=[0, 1, 12, 13, 14, 15])
    assert compare_runs(a, b, "per").test == "Welch's t"


def test_runs_without_a_partner_are_left_out_and_counted() -> None:
    a = runs([0.3, 0.4, 0.5, 0.9], "a")
    b = runs([0.31, 0.42, 0.55], "b")
    effect = compare_runs(a, b, "per")
    assert effect.n_pairs == 3 and "1 runs" in effect.test
    assert effect.value == pytest.approx((0.01 + 0.02 + 0.05) / 3)


def test_the_same_runs_do_not_differ_and_nothing_is_tested() -> None:
    a = runs([0.3, 0.4, 0.5], "a")
    effect = compare_runs(a, list(reversed(a)), "per")
    assert (effect.value, effect.n_same) == (0.0, 3) and math.isnan(effect.p)
    assert math.isinf(effect.interval.low)


def test_arms_that_share_some_runs_are_not_tested() -> None:
    a = runs([0.3, 0.4, 0.5], "a")
    effect = compare_runs(a, [*a[:2], *runs([0.6, 0.7], "b", seeds=[8, 9])], "per")
    assert effect.n_same == 2 and math.isnan(effect.p)
    assert effect.value == pytest.approx(0.5 - 0.4)


def test_what_is_not_pooled_has_a_difference_and_no_interval() -> None:
    effect = compare_runs(runs([0.3, 0.4], "a"), runs([0.5, 0.6], "b"), "per", pool=False)
    assert effect.value == pytest.approx(0.2)
    assert math.isinf(effect.interval.high) and math.isnan(effect.p)


def test_single_runs_have_no_interval() -> None:
    effect = compare_runs(runs([0.3], "a"), runs([0.5, 0.6], "b"), "per")
    assert effect.value == pytest.approx(0.25)
    assert math.isnan(effect.p) and math.isinf(effect.interval.low)


def test_arms_without_any_spread_have_no_interval() -> None:
    effect = compare_runs(runs([0.3, 0.3], "a"), runs([0.5, 0.5], "b", seeds=[7, 8]), "per")
    assert math.isinf(effect.interval.low) and math.isnan(effect.p)


def test_a_failure_has_no_value_and_a_divergence_counts() -> None:
    made = runs([0.2, None, 0.4], "a")
    made.append(RunRow("d", "diverged", 3, results={"per": 1.0, "n_steps": 400}))
    arm = summarise(made, "per", 400)
    assert arm.mean == pytest.approx((0.2 + 0.4 + 1.0) / 3)
    assert (arm.n, arm.n_diverged, arm.n_without) == (3, 1, 1)
    assert summarise(made, "val_loss", 400).n == 0
    assert summarise(made, "diverged", 400).mean == pytest.approx(1 / 3)


def test_shares_of_runs_have_newcombes_interval() -> None:
    a = [run._replace(outcome="collapsed") for run in runs([1.0] * 6, "a")]
    effect = compare_runs(a, runs([0.3] * 6, "b"), "collapsed")
    assert effect.value == -1.0
    assert effect.interval == pytest.approx((-1.0, -0.448), abs=1e-3)
    assert effect.p == pytest.approx(0.00049, abs=1e-5)


def test_escape_is_judged_up_to_the_smaller_budget() -> None:
    run = RunRow("a", "ok", results={"escape_step": 380.0, "n_steps": 400})
    never = RunRow("b", "collapsed", results={"escape_step": None, "n_steps": 400})
    assert metric_values([run, never], "escape_step", 200.0) == [200.0, 200.0]


def test_without_a_known_budget_steps_to_escape_are_not_cut() -> None:
    run, never = (
        RunRow(n, "ok", results={"escape_step": s}) for n, s in (("a", 380.0), ("b", None))
    )
    budget = shared_budget([run, never])
    assert summarise([run, never], "escape_step", budget).values == (380.0,)
