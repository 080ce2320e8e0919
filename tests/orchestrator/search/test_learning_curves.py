"""Learning curves and the scores of candidates, worked by hand."""

import math

import pytest

from decoder.collapse import CollapseThresholds
from decoder.pack import HISTORY_COLUMNS, HistoryRow
from orchestrator.search.learning_curves import LearningCurve, ending_of, mean_score


def row(step: int, **values: float) -> HistoryRow:
    return dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"step": float(step)} | values


FINE = LearningCurve((row(10, per=0.4), row(20, per=0.2)), seconds=3.0)
GONE = LearningCurve((row(10, per=0.6),), diverged_step=13, seconds=9.0)


def test_a_score_is_the_mean_over_seeds_at_one_step() -> None:
    assert mean_score("per", "minimize", [FINE, GONE], 10) == pytest.approx(0.5)
    assert mean_score("seconds", "minimize", [FINE, GONE], 20) == 6.0


def test_a_diverged_run_scores_the_worst_value_of_its_metric() -> None:
    assert mean_score("per", "minimize", [FINE, GONE], 20) == pytest.approx(0.6)
    assert mean_score("per", "minimize", [GONE], 20, others=[1.3]) == 1.3
    assert mean_score("entropy_nats", "maximize", [GONE], 20) == 0.0
    assert mean_score("val_loss", "minimize", [GONE], 20, others=[7.0, 3.0]) == 7.0
    assert math.isfinite(mean_score("val_loss", "minimize", [GONE], 20))


def test_a_value_that_is_not_finite_scores_the_worst_value_too() -> None:
    broken = LearningCurve((row(20, train_loss=math.inf),))
    assert mean_score("train_loss", "minimize", [broken], 20, others=[4.0]) == 4.0


def test_a_curve_lacks_the_metrics_that_were_added_after_its_run() -> None:
    old = LearningCurve((HistoryRow({"step": 20.0, "per": 0.2}),))
    assert old.lacks(["per", "val_loss", "seconds"]) == ["val_loss"]
    assert FINE.lacks(["per", "val_loss", "seconds"]) == []


def test_a_run_ends_ok_collapsed_or_diverged() -> None:
    silent = LearningCurve(
        tuple(row(step, emitted_ratio=0.0, n_distinct=0) for step in (10, 20, 30))
    )
    thresholds = CollapseThresholds()
    assert ending_of(silent, thresholds) == "collapsed"
    assert ending_of(GONE, thresholds) == "diverged"
    assert ending_of(LearningCurve(silent.history[:2]), thresholds) == "ok"


def test_a_curve_reaches_the_steps_it_was_evaluated_at_and_every_step_once_diverged() -> None:
    assert FINE.reaches(20) and not FINE.reaches(30)
    assert GONE.reaches(10) and GONE.reaches(30)
