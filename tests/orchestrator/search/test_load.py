"""Search files: what a good one loads as, and what the message for each mistake names."""

from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.search.load import load_search
from orchestrator.search.schema import Dimension
from orchestrator.search.space import configure, corners, grid, is_active
from orchestrator.spec.load import load_spec

from .conftest import WriteSearch

LR = {"log": [0.0005, 0.05]}
WORDS = {"evaluation.words.decoder": "command", "evaluation.words.command": ["decode"]}


def test_a_good_file_loads_with_its_arm_and_space(write_search: WriteSearch) -> None:
    loaded = load_search(write_search())
    [arm] = loaded.arms
    assert arm.name == "base"
    assert list(arm.space) == ["optim.lr_max", "optim.epsilon"]
    assert arm.space["optim.lr_max"].kind == "log" and arm.space["optim.lr_max"].is_log


def test_each_command_refuses_the_other_kind_of_file_and_names_its_command(
    write_search: WriteSearch,
) -> None:
    with pytest.raises(ConfigError, match="`search`"):
        load_spec(write_search())
    with pytest.raises(ConfigError, match="`run`"):
        load_search(write_search(space=..., factors={}))


# Changes of a good file, and what the message must name: the place, the value, the remedy.
MISTAKES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"samplr": "tpe"}, ("'samplr'", "'sampler'")),
    ({"space": {"optim.lr_mx": LR}}, ("space", "'optim.lr_mx'", "'optim.lr_max'")),
    ({"space": {}}, ("space:", "optim.lr_max")),
    ({"space": {"optim.lr_max": {}}}, ("optim.lr_max", "log", "uniform", "int", "choice")),
    ({"space": {"optim.lr_max": {"log": [0.1, 0.01]}}}, ("optim.lr_max", "0.1", "0.01")),
    ({"space": {"optim.lr_max": {"log": [0, 0.01]}}}, ("optim.lr_max", "above 0")),
    ({"space": {"optim.lr_max": {"uniform": [-1, 0.01]}}}, ("optim.lr_max", "-1")),
    ({"space": {"optim.lr_max": {"lg": [0.1, 1]}}}, ("optim.lr_max", "'lg'", "'log'")),
    ({"space": {"model.n_units": {"choice": ["many"]}}}, ("model.n_units", "'many'")),
    (
        {"space": {"optim.lr_max": {**LR, "when": {"optim.algorithm": "sgd"}}}},
        ("optim.lr_max.when", "'optim.algorithm'"),
    ),
    ({"set": {"optim.lr_max": 0.1}}, ("space: optim.lr_max", "'set'")),
    ({"set": {"optim.lr_min": "${optim.lr_mx}"}}, ("set.optim.lr_min", "'optim.lr_mx'")),
    ({"base": "bas.yaml"}, ("base:", "'bas.yaml'", "'base.yaml'")),
    ({"seeds": [1, 1]}, ("seeds: 1 ",)),
    ({"n_candidates": 10**6}, ("n_candidates", "100000")),
    ({"n_candidates": 90_000, "seeds": [1, 2]}, ("n_candidates: 180,000 runs", "100,000")),
    ({"seeds": list(range(10_001))}, ("seeds", "10,000", "10,001")),
    (
        {"sampler": "grid", "space": {"optim.lr_warmup_steps": {"int": [0, 999_999_999]}}},
        ("sampler", "1e+09 points", "100,000"),
    ),
    (
        {"sampler": "grid", "space": {f"optim.{name}": {"log": [1e-5, 1], "points": 9_999}
                                      for name in ("lr_max", "epsilon", "weight_decay")}},
        ("sampler", "1e+12 points"),
    ),
    ({"space": {"optim.lr_max": {"log": [1e-300, 1e300]}}}, ("optim.lr_max", "3e+38")),
    ({"space": {"model.n_units": {"int": [1, 10**30]}}}, ("model.n_units", "1e+09")),
    (
        {"confirm": {"seeds": {"start": 4, "max": 9}, "margin": 0.1}},
        ("confirm.seeds: ", "of an ablation"),
    ),
    ({"confirm": {"seeds": [2, 3], "margin": 0.1}}, ("confirm.seeds: 2 ", "[3, 4, 5, 6, 7, 8]")),
    ({"objectives": {"pr": "minimize"}}, ("objectives", "'pr'", "'per'")),
    ({"objectives": {"seconds": "minimize"}}, ("objectives:", "metric first")),
    (
        {"objectives": {"per_held_out": "minimize"}},
        ("objectives.per_held_out", "data.held_out_sessions", "'set'"),
    ),
    (
        {"objectives": {"per_held_out": "maximize"}, "set": {"data.held_out_sessions": 1}},
        ("objectives.per_held_out", "minimize"),
    ),
    ({"objectives": {"wer": "minimize"}}, ("objectives.wer", "evaluation.words.decoder", "'set'")),
    (
        {"objectives": {"wer": "minimize"}, "set": WORDS},
        ("objectives.wer", "step ", "evaluation.words.every", "method: none"),
    ),
    (
        {"objectives": {"wer": "minimize"}, "stopping": {"method": "none"},
         "set": {"evaluation.words.decoder": "beam"},
         "space": {"evaluation.words.word_score": {"uniform": [-1, 1]}}},
        ("evaluation.words.word_score", "reported", "'tune'"),
    ),
    ({"space": {"data.held_out_sessions": {"int": [1, 2]}}}, ("data.held_out_sessions", "'set'")),
    (
        {"arms": {"a": {"set": {"data.held_out_sessions": 1}}, "b": {}},
         "hypotheses": {"h": {"claim": "c", "from": "a", "to": "b", "direction": "decrease",
                              "margin": 0.1}},
         "confirm": {"seeds": [7, 8], "margin": 0.1}},
        ("arms a and b", "data.held_out_sessions"),
    ),
    ({"objectives": {"per": "minimize", "seconds": "minimize"}}, ("stopping:", "method: none")),
    ({"stopping": {"method": "asha"}}, ("stopping", "min_steps")),
    ({"stopping": {"method": "asha", "min_steps": 80}}, ("stopping.min_steps: 80", "80 steps")),
    ({"space": {"train.n_steps": {"int": [10, 90]}}}, ("train.n_steps", "stopped early")),
    ({"sampler": "grid"}, ("optim.lr_max", "'points'")),
    ({"arms": {"one": {"set": {}}}}, ("arms:", "'set'", "'space'")),
    (
        {"hypotheses": {"h": {"claim": "c", "from": "a", "to": "b", "direction": "no_difference",
                              "margin": 0.1}}},
        ("hypotheses.h.from", "'a'"),
    ),
]  # fmt: skip


def test_sessions_held_out_may_be_an_objective_where_every_candidate_has_some(
    write_search: WriteSearch,
) -> None:
    keys = {"objectives": {"per_held_out": "minimize"}, "set": {"data.held_out_sessions": 1}}
    assert load_search(write_search(**keys)).spec.first == "per_held_out"


@pytest.mark.parametrize(
    "keys", [{"set": {**WORDS, "evaluation.words.every": 1}},
             {"set": WORDS, "stopping": {"method": "none"}}]
)  # fmt: skip
def test_wer_may_be_an_objective_where_it_is_known_when_candidates_are_stopped(
    keys: dict[str, Any], write_search: WriteSearch
) -> None:
    loaded = load_search(write_search(objectives={"wer": "minimize"}, **keys))
    assert loaded.spec.first == "wer"


@pytest.mark.parametrize(("changes", "named"), MISTAKES, ids=[str(i) for i in range(len(MISTAKES))])
def test_a_mistake_is_named_with_file_place_and_remedy(
    changes: dict[str, Any], named: tuple[str, ...], write_search: WriteSearch
) -> None:
    path = write_search(**changes)
    with pytest.raises(ConfigError) as error:
        load_search(path)
    assert any(all(word in problem for word in named) for problem in error.value.problems)
    assert all(problem.startswith(str(path)) for problem in error.value.problems)


def test_a_dimension_is_searched_only_where_its_condition_holds(write_search: WriteSearch) -> None:
    space = {
        "optim.algorithm": {"choice": ["adamw", "sgd"]},
        "optim.momentum": {"choice": [0.5, 0.9], "when": {"optim.algorithm": "sgd"}},
        "optim.epsilon": {"choice": [0.1], "when": {"optim.algorithm": "adamw"}},
    }
    [arm] = load_search(write_search(space=space)).arms
    assert list(grid(arm.space)) == [
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
    points = list(grid(arm.space))
    assert len(points) == 27
    assert {p["optim.lr_max"] for p in points} == {0.001, 0.01, 0.1}
    assert {p["model.n_units"] for p in points} == {8, 16, 32}
    assert {p["augment.random_cut"] for p in points} == {0, 2, 4}


def test_a_large_space_is_checked_at_a_few_of_its_corners() -> None:
    space = {f"path_{index}": Dimension(choice=(0, 1)) for index in range(40)}
    assert len(corners(space)) == 256


def test_references_follow_the_candidate(write_search: WriteSearch) -> None:
    loaded = load_search(write_search(set={"optim.lr_max_day": "${optim.lr_max}"}))
    config = configure(loaded.base, loaded.spec.set, {"optim.lr_max": 0.003}, where="x")
    assert config.optim.lr_max_day == 0.003
