"""Suggestions of the name that a user meant."""

from decoder.complaints import did_you_mean


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
