"""Packs with checkpoints are known to the next call, however it would cut them."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.store.paths import Results
from orchestrator.store.sources import training_sha256
from orchestrator.store.under_way import keep_cut, packs_under_way, steps_under_way


def pack(pack_id: str, *run_ids: str) -> Any:
    return SimpleNamespace(
        pack_id=pack_id, runs=[SimpleNamespace(run_id=run_id) for run_id in run_ids]
    )


@pytest.fixture
def store(results: Results) -> Results:
    """Two packs that have trained, of which one has a checkpoint."""
    keep_cut(results, "x", [pack("one", "a", "b"), pack("two", "c")])
    folder = results.checkpoints("x")
    (folder / "sources").write_text(training_sha256())
    (folder / "one").mkdir()
    (folder / "one" / "step-000000001.json").touch()
    return results


def test_only_packs_with_a_checkpoint_are_under_way(store: Results) -> None:
    assert packs_under_way(store, "x") == {"one": ("a", "b")}


def test_a_checkpoint_of_a_part_counts(store: Results) -> None:
    part = store.checkpoints("x") / "two" / "part-1"
    part.mkdir(parents=True)
    assert "two" not in packs_under_way(store, "x")
    (part / "step-000000009.json").touch()
    assert packs_under_way(store, "x")["two"] == ("c",)


def test_checkpoints_of_other_source_code_do_not_count(store: Results) -> None:
    (store.checkpoints("x") / "sources").write_text("another")
    assert packs_under_way(store, "x") == {}


def test_later_packs_join_those_of_earlier_calls(store: Results) -> None:
    keep_cut(store, "x", [pack("three", "d")])
    assert packs_under_way(store, "x") == {"one": ("a", "b")}
    (store.checkpoints("x") / "three").mkdir()
    (store.checkpoints("x") / "three" / "step-000000001.json").touch()
    assert packs_under_way(store, "x") == {"one": ("a", "b"), "three": ("d",)}


@pytest.mark.parametrize("content", ["", "[]", '{"one": 3}', "no json"])
def test_a_damaged_file_means_that_packs_are_cut_anew(store: Results, content: str) -> None:
    store.pack_cut("x").write_text(content)
    assert packs_under_way(store, "x") == {}


def test_without_checkpoints_nothing_is_under_way(results: Results) -> None:
    assert packs_under_way(results, "x") == {}


def test_the_newest_checkpoint_says_how_far_a_pack_is(store: Results) -> None:
    (store.checkpoints("x") / "one" / "step-000000120.json").touch()
    part = store.checkpoints("x") / "two" / "part-1"
    part.mkdir(parents=True)
    (part / "step-000000009.json").touch()
    assert steps_under_way(store, "x") == {"one": 120, "two": 0}
