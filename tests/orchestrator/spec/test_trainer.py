"""`orchestrator.spec.trainer`: the shape of the section, and the words of a command."""

from typing import Any

import pytest
from pydantic import ValidationError
from user_trainer import LEAST

from orchestrator.spec.trainer import TrainerSection, fill


def section(**changes: Any) -> TrainerSection:
    return TrainerSection.model_validate({**LEAST, **changes})


def complaint(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        section(**changes)
    return str(caught.value)


def test_a_metric_may_be_given_by_the_trainers_name_alone() -> None:
    source = section(metrics={"per": "PER (avg)"}).metrics["per"]
    assert (source.name, source.unit) == ("PER (avg)", "as_is")


def test_unknown_names_in_braces_are_refused_with_the_nearest_name() -> None:
    assert "did you mean 'config'" in complaint(command=["python", "{confg}"])


def test_doubled_braces_are_text_and_others_stay() -> None:
    assert fill('{{out}} {out} {"a": 1} {other}', {"out": "/r"}) == '{out} /r {"a": 1} {other}'


def test_a_trainer_that_cannot_see_the_settings_is_refused() -> None:
    assert "{config}" in complaint(command=["python", "train.py"])
    assert section(command=["python", "train.py"], copy=True).copy_
    assert section(command=["python", "train.py"], **{"pass": "flags"}).pass_ == "flags"


def test_a_trainer_that_never_gets_the_seed_is_refused() -> None:
    assert "seed" in complaint(seed=[])
    assert section(seed=[], command=["python", "t.py", "{config}", "{seed}"]).seed == ()
    assert section(seed=[], environment={"SEED": "{seed}"}).seed == ()


def test_settings_must_be_a_word_of_their_own() -> None:
    assert "own" in complaint(command=["python", "x{settings}"], **{"pass": "flags"})
    assert "pass" in complaint(command=["python", "{config}", "{settings}"])


def test_metrics_that_follow_from_the_course_cannot_be_mapped() -> None:
    assert "cannot be mapped" in complaint(metrics={"per": "a", "collapsed": "b"})
    assert "beside step" in complaint(metrics={"step": "a"})


def test_collapse_is_an_outcome_where_its_metrics_are_mapped() -> None:
    assert section().outcomes == ("per", "diverged")
    mapped = {"per": "a", "emitted_ratio": "b", "n_distinct": "c", "step": "d"}
    assert section(metrics=mapped).outcomes == (
        *("per", "emitted_ratio", "n_distinct"),
        *("diverged", "collapsed", "escape_step"),
    )


def test_identity_leaves_out_what_reads_and_bounds_a_run_and_paths_of_the_machine() -> None:
    plain = section().identity()
    assert section(course="stdout", hours=2, gpus=1, metrics={"wer": "W"}).identity() == plain
    assert section(environment={"DATA": "/mnt/data"}).identity() == plain
    assert section(environment={"USE_AMP": "1"}).identity() != plain
    assert section(command=["python", "b.py", "{config}"]).identity() != plain
