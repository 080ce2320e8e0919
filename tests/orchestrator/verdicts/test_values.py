"""The values of an outcome in an arm, and the bounds that stand for failed runs."""

import math

import numpy as np
import pandas as pd
import pytest

from orchestrator.verdicts.values import ArmRuns, Values, arm_runs, imputed, values_of

GAP = math.nan


def arm(outcomes: list[str], **columns: list[float]) -> ArmRuns:
    given = {"escape_step": [GAP] * len(outcomes), "n_steps": [100.0] * len(outcomes)} | columns
    return ArmRuns(np.array(outcomes), {n: np.array(v, float) for n, v in given.items()})


def seen(*values: float, escaped: tuple[bool, ...] = ()) -> Values:
    return Values(np.array(values), np.array(escaped or [True] * len(values)))


def test_the_runs_of_an_arm_are_ordered_by_seed_and_a_lacking_run_is_missing() -> None:
    table = pd.DataFrame(
        {
            "arm": ["a", "b", "a", "a"],
            "block": [7, 3, 3, 9],
            "outcome": ["ok", "diverged", "collapsed", "ok"],
            "escape_step": pd.array([5, None, None, 1], dtype="Int64"),
            "n_steps": pd.array([10, 10, 10, 10], dtype="Int64"),
            "per": [0.25, 1.0, 0.75, 0.5],
        }
    )
    runs = arm_runs(table, [3, 7, 8], ["per"])
    assert list(runs) == ["a", "b"]
    assert runs["a"].outcome.tolist() == ["collapsed", "ok", "missing"]
    assert runs["b"].outcome.tolist() == ["diverged", "missing", "missing"]
    np.testing.assert_equal(runs["a"].columns["per"], [0.75, 0.25, GAP])
    np.testing.assert_equal(runs["a"].columns["escape_step"], [GAP, 5.0, GAP])
    assert all(column.dtype == np.float64 for column in runs["a"].columns.values())


@pytest.mark.parametrize("outcome", ["ok", "collapsed"])
def test_an_escape_at_the_very_budget_counts_and_a_later_one_does_not(outcome: str) -> None:
    runs = arm([outcome] * 3, escape_step=[99.0, 100.0, 101.0])
    assert values_of("escape_step", runs, 100).escaped.tolist() == [True, True, False]


def test_a_run_that_diverged_or_failed_has_not_escaped() -> None:
    runs = arm(["diverged", "failed", "missing"], escape_step=[5.0, 5.0, 5.0])
    assert not values_of("escape_step", runs, 100).escaped.any()


@pytest.mark.parametrize(
    ("outcome", "low", "high"),
    [
        ("escape_step", 0.0, 80.0),
        ("collapsed", 0.0, 1.0),
        ("diverged", 0.0, 1.0),
        ("per", 0.0, 1.0),
    ],
)
def test_a_gap_is_filled_with_the_extreme_of_the_outcome(
    outcome: str, low: float, high: float
) -> None:
    arms = [seen(0.25, GAP), seen(GAP, 0.5)]
    assert [a.values.tolist() for a in imputed(outcome, arms, [1, -1], 80)] == [
        [0.25, high],
        [low, 0.5],
    ]


def test_a_per_above_one_is_the_highest_value_of_a_gap() -> None:
    arms = [seen(0.25, GAP), seen(1.75, 1.5)]
    assert imputed("per", arms, [1, 1], 80)[0].values.tolist() == [0.25, 1.75]
    assert imputed("per", [seen(GAP)], [1], 80)[0].values.tolist() == [1.0]


def test_a_metric_without_limits_takes_the_extremes_measured() -> None:
    arms = [seen(3.0, GAP), seen(-2.0, 1.0)]
    assert imputed("val_loss", arms, [1, 1], 80)[0].values.tolist() == [3.0, 3.0]
    assert imputed("val_loss", arms, [-1, 1], 80)[0].values.tolist() == [3.0, -2.0]
    nothing = imputed("val_loss", [seen(GAP)], [1], 80)[0].values
    assert nothing.dtype == np.float64 and np.isnan(nothing).all()


def test_a_failed_run_escapes_early_where_few_steps_are_assumed_and_else_never() -> None:
    arms = [seen(5.0, GAP, escaped=(True, False)), seen(GAP, 9.0, escaped=(True, False))]
    early, late = imputed("escape_step", arms, [-1, 1], 80)
    assert early.escaped.tolist() == [True, True]
    assert late.escaped.tolist() == [False, False]
