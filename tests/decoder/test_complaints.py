"""Suggestions of the name that a user meant."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from decoder.complaints import did_you_mean, explain, yaml_text


def test_the_most_similar_name_is_suggested() -> None:
    assert "'optim.lr_max'" in did_you_mean("optim.lr_mx", ["model.n_units", "optim.lr_max"])


def test_a_path_that_ends_in_the_name_comes_before_a_similar_name() -> None:
    assert "'train.n_steps'" in did_you_mean("n_steps", ["n_steps_done", "train.n_steps"])


def test_a_shared_file_ending_is_no_similarity() -> None:
    assert did_you_mean("quiet.yaml", ["t15_official.yaml"]) == ""


def test_nothing_is_suggested_where_no_name_is_near() -> None:
    assert did_you_mean("zzz", ["seeds", "factors"]) == ""
    assert did_you_mean("zzz", []) == ""


def test_names_may_be_other_than_text() -> None:
    assert "'0.005'" in did_you_mean("0.05", [0.005, 0.2])


def test_capitals_make_no_difference_to_a_suggestion() -> None:
    assert "'per'" in did_you_mean("PER", ["per", "val_loss"])
    assert "'GRU'" in did_you_mean("gru", ["GRU"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("a", "'a'"),
        ("a\nb", "'a\\nb'"),
        ((1, 0.5), "[1, 0.5]"),
        ({"a": [None, "b"]}, "{a: [null, 'b']}"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16..."),
    ],
)
def test_a_value_is_shown_as_a_file_writes_it_in_one_line(value: Any, text: str) -> None:
    assert yaml_text(value) == text and len(text) <= 60


class _Shape(BaseModel, strict=True, extra="forbid"):
    several: tuple[float, float] | bool | None = None
    whole: int = 0
    word: str = ""
    words: tuple[str, ...] | None = None


def _complaints(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        _Shape.model_validate(document)
    return explain(caught.value, document, {(): list(_Shape.model_fields)})


def test_a_key_of_several_kinds_has_one_complaint_that_names_all_of_them() -> None:
    [problem] = _complaints({"several": "x"})
    assert problem.startswith("several: must be a list in square brackets, true or false")


def test_a_mistake_inside_one_of_several_kinds_is_named_where_it_is() -> None:
    [problem] = _complaints({"several": ("x", 1.0)})
    assert problem.startswith("several.0: must be a number") and "'x'" in problem


def test_a_misspelt_key_is_not_missing_as_well() -> None:
    class Needs(BaseModel, extra="forbid"):
        seeds: int
        names: int

    document = {"sseds": 1}
    with pytest.raises(ValidationError) as caught:
        Needs.model_validate(document)
    problems = explain(caught.value, document, {(): ["seeds", "names"]})
    assert [problem.partition(":")[0] for problem in problems] == ["names", "sseds"]


@pytest.mark.parametrize(
    ("document", "mend"),
    [
        ({"whole": 3.0}, "write 3"),
        ({"whole": "1,5"}, "write 1.5"),
        ({"whole": "none"}, "null"),
        ({"whole": [3]}, "write 3 "),
        ({"word": 5}, "'5'"),
        ({"word": True}, "'true'"),
        ({"words": "a"}, "[a]"),
    ],
)
def test_a_value_of_the_wrong_kind_with_an_obvious_meaning_is_written_out(
    document: dict[str, Any], mend: str
) -> None:
    [problem] = _complaints(document)
    assert mend in problem.partition(";")[2]
