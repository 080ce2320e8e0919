"""`orchestrator.execute.command.course`: values by step become one row per evaluation."""

import math

from decoder.pack import HISTORY_COLUMNS
from orchestrator.execute.command.course import Course


def column(course: Course, name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in course.history()]


def test_metrics_of_one_step_share_a_row_and_those_of_training_join_the_next() -> None:
    course = Course(["per", "val_loss", "train_loss", "grad_norm_max", "lr", "wer"])
    for step, loss in ((1, 4.0), (2, 2.0), (3, 1.0), (4, 0.5)):
        course.add({"train_loss": loss, "grad_norm_max": loss, "lr": loss}, step)
        if step % 2 == 0:
            course.add({"per": loss / 10, "val_loss": loss}, step)
    course.add({"wer": 0.25})  # of the step mentioned last
    course.add({"train_loss": 9.0}, 5)  # after the last evaluation
    first, last = course.history()
    assert (first["step"], first["per"], first["val_loss"]) == (2, 0.2, 2.0)
    assert (first["train_loss"], first["grad_norm_max"], first["lr"]) == (3.0, 4.0, 2.0)
    assert (last["train_loss"], last["grad_norm_max"], last["lr"]) == (0.75, 1.0, 0.5)
    assert math.isnan(first["wer"]) and last["wer"] == 0.25
    assert list(first) == [*HISTORY_COLUMNS, "wer"]


def test_metrics_of_training_alone_are_the_evaluations() -> None:
    course = Course(["train_loss"])
    course.add({"train_loss": 1.0}, 10)
    course.add({"train_loss": 0.5}, 20)
    assert column(course, "train_loss") == [(10, 1.0), (20, 0.5)]


def test_a_trainer_that_goes_back_replaces_what_came_after() -> None:
    course = Course(["per"])
    for step in (100, 200, 300, 200, 300):
        course.add({"per": step / 1000 + course.n_values}, step)
    assert column(course, "per") == [(100, 0.1), (200, 3.2), (300, 4.3)]


def test_metrics_with_steps_of_their_own_do_not_replace_each_other() -> None:
    course = Course(["per", "train_loss"])
    for step in (100, 200):
        course.add({"train_loss": 1.0}, step)
    for epoch in (1, 2):
        course.add({"per": 0.5}, epoch)
    assert [row["step"] for row in course.history()] == [1, 2]


def test_evaluations_without_a_step_are_numbered() -> None:
    course = Course(["per", "wer"])
    for value in (0.3, 0.2, 0.1):
        course.add({"per": value})
        course.add({"wer": 2 * value})
    assert column(course, "wer") == [(1, 0.6), (2, 0.4), (3, 0.2)]


def test_only_what_stays_not_finite_to_the_end_is_a_divergence() -> None:
    course = Course(["per", "train_loss"])
    course.add({"train_loss": math.nan}, 1)
    course.add({"train_loss": 1.0, "per": 0.5}, 2)
    assert course.not_finite() is None
    for step in (3, 4):
        course.add({"train_loss": math.inf}, step)
    assert course.not_finite() == (3, "train_loss", math.inf)
    course.add({"train_loss": 1.0, "per": 0.5}, 5)
    course.add({"per": math.nan}, 6)
    found = course.not_finite()
    assert found is not None and found[:2] == (6, "per")


def test_a_metric_that_the_last_evaluation_lacks_cannot_diverge_there() -> None:
    course = Course(["per", "wer"])
    course.add({"per": 0.5, "wer": math.nan}, 1)
    assert course.not_finite() is not None
    course.add({"per": 0.4}, 2)
    assert course.not_finite() is None


def test_a_rate_above_ten_is_doubtful_and_any_other_number_is_not() -> None:
    course = Course(["per", "wer_5gram", "bleu"])
    course.add({"per": 1.2, "bleu": 30.0}, 1)
    assert course.unlikely() == ""
    course.add({"wer_5gram": 23.0}, 1)
    assert "trainer.metrics.wer_5gram" in course.unlikely()
