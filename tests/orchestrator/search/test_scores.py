"""What a candidate is worth, worked by hand: collapsed as measured, diverged as the worst."""

import math

import pytest

from decoder.collapse import CollapseThresholds
from decoder.pack import HISTORY_COLUMNS, HistoryRow
from orchestrator.search.scores import Course, ending_of, mean_figure


def row(step: int, **values: float) -> HistoryRow:
    return dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"step": float(step)} | values


FINE = Course((row(10, per=0.4), row(20, per=0.2)), seconds=3.0)
GONE = Course((row(10, per=0.6),), diverged_step=13, seconds=9.0)


def test_a_figure_is_the_mean_over_seeds_at_one_step() -> None:
    assert mean_figure("per", "minimize", [FINE, GONE], 10) == pytest.approx(0.5)
    assert mean_figure("seconds", "minimize", [FINE, GONE], 20) == 6.0


def test_a_diverged_run_counts_as_the_worst_of_its_metric() -> None:
    assert mean_figure("per", "minimize", [FINE, GONE], 20) == pytest.approx(0.6)
    assert mean_figure("per", "minimize", [GONE], 20, seen=[1.3]) == 1.3
    assert mean_figure("entropy_nats", "maximize", [GONE], 20) == 0.0
    assert mean_figure("val_loss", "minimize", [GONE], 20, seen=[7.0, 3.0]) == 7.0
    assert math.isfinite(mean_figure("val_loss", "minimize", [GONE], 20))


def test_a_value_that_is_not_finite_counts_as_the_worst_too() -> None:
    broken = Course((row(20, train_loss=math.inf),))
    assert mean_figure("train_loss", "minimize", [broken], 20, seen=[4.0]) == 4.0


def test_endings_are_told_apart() -> None:
    silent = Course(tuple(row(step, emitted_ratio=0.0, n_distinct=0) for step in (10, 20, 30)))
    thresholds = CollapseThresholds()
    assert ending_of(silent, thresholds) == "collapsed"
    assert ending_of(GONE, thresholds) == "diverged"
    assert ending_of(Course(silent.history[:2]), thresholds) == "ok"


def test_a_course_reaches_the_steps_it_was_evaluated_at_and_all_after_it_diverged() -> None:
    assert FINE.reaches(20) and not FINE.reaches(30)
    assert GONE.reaches(10) and GONE.reaches(30)
