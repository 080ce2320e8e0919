"""What a search file may say, and the sentence each mistake gets."""

from pathlib import Path
from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.search.space import configure, grid, is_active
from orchestrator.search.spec import is_search, load_search
from orchestrator.spec.load import load_spec

from .conftest import WriteSearch

LR = {"log": [0.0005, 0.05]}


def test_a_good_file_loads_with_its_arm_and_space(write_search: WriteSearch) -> None:
    loaded = load_search(write_search())
    [arm] = loaded.arms
    assert arm.name == "base"
    assert list(arm.space) == ["optim.lr_max", "optim.epsilon"]
    assert arm.space["optim.lr_max"].kind == "log" and arm.space["optim.lr_max"].is_log


def test_an_ablation_and_a_search_are_sent_to_the_other_command(
    write_search: WriteSearch,
) -> None:
    with pytest.raises(ConfigError, match="search.yaml: .*`search`"):
        load_spec(write_search())
    with pytest.raises(ConfigError, match="it is an ablation; use `run`"):
        load_search(write_search(space=..., factors={}))


def test_only_a_file_with_a_space_is_a_search(write_search: WriteSearch, tmp_path: Path) -> None:
    assert is_search(write_search())
    assert not is_search(tmp_path / "base.yaml")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"samplr": "tpe"}, "unknown key 'samplr'; did you mean 'sampler'?"),
    ({"space": {"optim.lr_mx": LR}}, "'optim.lr_mx' is no config field; did you mean"),
    ({"space": {}}, "space: must name at least one config path"),
    ({"space": {"optim.lr_max": {}}}, "exactly one of log: [low, high]"),
    ({"space": {"optim.lr_max": {"log": [0.1, 0.01]}}}, "must be below the highest"),
    ({"space": {"optim.lr_max": {"log": [0, 0.01]}}}, "must be above 0"),
    ({"space": {"optim.lr_max": {"uniform": [-1, 0.01]}}}, "optim.lr_max"),
    ({"space": {"optim.lr_max": {"lg": [0.1, 1]}}}, "unknown key 'lg'; did you mean 'log'?"),
    ({"space": {"model.n_units": {"choice": ["many"]}}}, "model.n_units"),
    (
        {"space": {"optim.lr_max": {**LR, "when": {"optim.algorithm": "sgd"}}}},
        "must be a dimension that stands before",
    ),
    ({"set": {"optim.lr_max": 0.1}}, "is set and searched"),
    ({"set": {"optim.lr_min": "${optim.lr_mx}"}}, "'optim.lr_mx' is no config field"),
    ({"base": "bas.yaml"}, "is no file"),
    ({"seeds": [1, 1]}, "seeds: 1 appears twice"),
    (
        {"confirm": {"seeds": [2, 3], "margin": 0.1}},
        "confirm.seeds: 2 chose the candidates already",
    ),
    ({"objectives": {"pr": "minimize"}}, "'pr' is no objective; did you mean 'per'?"),
    ({"objectives": {"seconds": "minimize"}}, "name a metric first"),
    (
        {"objectives": {"per": "minimize", "seconds": "minimize"}},
        "none can be stopped",
    ),
    ({"stopping": {"method": "asha"}}, "min_steps goes with asha and hyperband"),
    ({"stopping": {"method": "asha", "min_steps": 80}}, "no evaluation before the end"),
    (
        {"space": {"train.n_steps": {"int": [10, 90]}}},
        "cannot be searched where candidates are stopped early",
    ),
    ({"sampler": "grid"}, "add 'points'"),
    ({"arms": {"one": {"set": {}}}}, "one arm alone is compared with nothing"),
    (
        {"hypotheses": {"h": {"claim": "c", "from": "a", "to": "b", "direction": "none",
                              "margin": 0.1}}},
        "'a' is no arm",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES, ids=[s[:40] for _, s in MISTAKES])
def test_a_mistake_is_named_with_file_and_place(
    changes: dict[str, Any], sentence: str, write_search: WriteSearch
) -> None:
    path = write_search(**changes)
    with pytest.raises(ConfigError) as error:
        load_search(path)
    assert sentence in str(error.value)
    assert all(problem.startswith(str(path)) for problem in error.value.problems)


def test_a_dimension_is_searched_only_where_its_condition_holds(write_search: WriteSearch) -> None:
    space = {
        "optim.algorithm": {"choice": ["adamw", "sgd"]},
        "optim.momentum": {"choice": [0.5, 0.9], "when": {"optim.algorithm": "sgd"}},
        "optim.epsilon": {"choice": [0.1], "when": {"optim.algorithm": "adamw"}},
    }
    [arm] = load_search(write_search(space=space)).arms
    assert grid(arm.space) == [
        {"optim.algorithm": "adamw", "optim.epsilon": 0.1},
        {"optim.algorithm": "sgd", "optim.momentum": 0.5},
        {"optim.algorithm": "sgd", "optim.momentum": 0.9},
    ]
    assert not is_active(arm.space["optim.momentum"], {"optim.algorithm": "adamw"})


def test_a_grid_takes_both_ends(write_search: WriteSearch) -> None:
    space = {
        "optim.lr_max": {"log": [0.001, 0.1], "points": 3},
        "model.n_units": {"int": [8, 40], "log": True},
        "augment.random_cut": {"int": [0, 4], "step": 2},
    }
    spec = write_search(space=space, sampler="grid", n_candidates=27)
    [arm] = load_search(spec).arms
    points = grid(arm.space)
    assert len(points) == 27
    assert {p["optim.lr_max"] for p in points} == {0.001, 0.01, 0.1}
    assert {p["model.n_units"] for p in points} == {8, 16, 32}
    assert {p["augment.random_cut"] for p in points} == {0, 2, 4}


def test_references_follow_the_candidate(write_search: WriteSearch) -> None:
    loaded = load_search(write_search(set={"optim.lr_max_day": "${optim.lr_max}"}))
    config = configure(loaded.base, loaded.spec.set, {"optim.lr_max": 0.003}, where="x")
    assert config.optim.lr_max_day == 0.003
