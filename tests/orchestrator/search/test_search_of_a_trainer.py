"""Searches in the settings of a user's trainer: what is checked, planned and kept."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from user_trainer import SPEC, write_trainer

from decoder.errors import ConfigError
from orchestrator.execute.machine import choose_options
from orchestrator.plan.recordings import prepare_data
from orchestrator.search.candidates import pack_candidates
from orchestrator.search.confirmation import Winner, confirmation_ablation
from orchestrator.search.kept import keep_search, named_search
from orchestrator.search.load import LoadedSearch, load_search
from orchestrator.search.rungs import NO_BRACKET
from orchestrator.search.space import configure
from orchestrator.spec.configuration import flatten, identity
from orchestrator.store.paths import Results

SEARCH: dict[str, Any] = {
    "name": "tuned",
    "question": "Which rate is best?",
    "trainer": SPEC["trainer"],
    "space": {
        "lr": {"log": [0.001, 0.1]},
        "kind": {"choice": ["gru", "cnn"]},
        "model.depth": {"int": [1, 3], "when": {"kind": "cnn"}},
    },
    "n_candidates": 4,
    "seeds": [1, 2],
    "confirm": {"best": 1, "seeds": [3, 4], "margin": 0.01},
}


def load(folder: Path, changes: dict[str, Any] | None = None) -> LoadedSearch:
    write_trainer(folder)
    file = folder / "tuned.yaml"
    document = copy.deepcopy({**SEARCH, **(changes or {})})
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_search(file)


def test_a_candidate_changes_keys_of_the_trainer(tmp_path: Path) -> None:
    (arm,) = load(tmp_path).arms
    flat = flatten(configure(arm.config, {"lr": 0.02, "model.depth": 3}, where=""))
    assert (flat["lr"], flat["lr_min"], flat["model.depth"]) == (0.02, 0.02, 3)


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"space": {"lrr": {"log": [0.1, 1.0]}}}, "space", "did you mean 'lr'"),
        ({"space": {"seed": {"int": [1, 5]}}}, "space", "gets the seed"),
        ({"space": {"kind": {"choice": [1]}}}, "space", "must be text"),
        ({"objectives": {"wer": "minimize"}}, "objectives.wer", "trainer.metrics"),
        ({"objectives": {"per": "maximize"}}, "objectives.per", "minimize"),
        (
            {"stopping": {"method": "asha", "min_steps": 5}},
            "stopping",
            "not stopped at a step",
        ),
        ({"base": "x.yaml"}, "trainer", "beside 'base'"),
        ({"trainer": {**SPEC["trainer"], "cwd": "nowhere"}}, "trainer.cwd", "not a folder"),
    ],
)
def test_each_mistake_is_named_with_its_place(
    tmp_path: Path, changes: dict[str, Any], where: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes)
    (problem,) = caught.value.problems
    found = problem.partition(": ")[2]
    assert found.startswith(f"{where}: ") and says in found


def test_each_run_of_a_batch_is_a_pack(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    configs = {
        number: configure(loaded.arms[0].config, {"lr": rate}, where="")
        for number, rate in enumerate((0.02, 0.03))
    }
    batch = pack_candidates(
        loaded.spec,
        0,
        NO_BRACKET,
        configs,
        choose_options(backend="local"),
        lambda arms: prepare_data(arms, tmp_path, lambda text: None),
    )
    assert [len(pack.runs) for pack in batch.packs] == [1, 1, 1, 1]
    assert not (tmp_path / "theirs" / "executed").exists()


def test_the_confirmation_trains_the_same_trainer(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    winner = Winner("best_1", "base", 1, 0, {"lr": 0.02}, 0.2)
    confirmation = confirmation_ablation(loaded, [winner])
    assert confirmation.spec.trainer == loaded.spec.trainer
    assert [flatten(arm.config)["lr"] for arm in confirmation.arms] == [0.01, 0.02]
    assert list(confirmation.spec.hypotheses) == ["best_1"]


def test_a_search_is_kept_and_read_back_without_its_files(tmp_path: Path) -> None:
    results = Results(tmp_path / "results").of_searches
    loaded = load(tmp_path)
    keep_search(loaded, results)
    (tmp_path / "theirs" / "args.yaml").unlink()
    kept = named_search("tuned", results)
    assert kept is not None
    assert identity(kept.base) == identity(loaded.base)
