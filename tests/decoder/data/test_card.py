"""Features on the card: the same batches as from the store, and what fits there."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.data import card
from decoder.data.batches import Batch, collate
from decoder.data.card import CardSplit, fits_on_card, keep_on_card
from decoder.data.store import Dataset, Split

CPU = torch.device("cpu")
DEVICES = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]


def assert_equal_batches(got: Batch, expected: Batch) -> None:
    for entry in fields(Batch):
        mine, theirs = getattr(got, entry.name), getattr(expected, entry.name)
        if not isinstance(theirs, torch.Tensor):
            assert mine == theirs, entry.name
            continue
        assert mine.dtype == theirs.dtype, entry.name
        assert torch.equal(mine.cpu(), theirs.cpu()), entry.name


def split_of(n_bins: list[int]) -> Split:
    """Trials with two features whose values are all different, and none of them is zero."""
    n_rows, nothing = sum(n_bins), np.zeros(len(n_bins), np.int64)
    return Split(
        np.arange(1, 2 * n_rows + 1, dtype=np.float32).reshape(n_rows, 2),
        np.cumsum([0, *n_bins]),
        np.ones(len(n_bins), np.int64),
        np.arange(len(n_bins) + 1),
        nothing,
        nothing,
        nothing,
    )


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_batch_from_the_card_equals_one_from_the_store(data: st.DataObject) -> None:
    n_bins = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    split = split_of(n_bins)
    trial = st.integers(0, len(n_bins) - 1)
    trials = data.draw(st.lists(trial, min_size=1, max_size=8))
    for device in DEVICES:
        assert_equal_batches(
            collate(split, trials, CardSplit(split, device).gather), collate(split, trials)
        )


def test_features_are_copied_whole_in_several_chunks(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "_CHUNK_BINS", 7)
    trials = range(dataset.train.n_trials)
    for device in DEVICES:
        gather = CardSplit(dataset.train, device).gather
        assert_equal_batches(collate(dataset.train, trials, gather), collate(dataset.train, trials))


def test_changing_a_batch_does_not_change_the_features_on_the_card() -> None:
    split = split_of([3, 2])
    gather = CardSplit(split, CPU).gather
    collate(split, [0, 1], gather).features.fill_(9.0)
    assert_equal_batches(collate(split, [1, 0], gather), collate(split, [1, 0]))


def test_features_fit_beside_what_is_reserved() -> None:
    assert fits_on_card(40, 100, 60)
    assert not fits_on_card(41, 100, 60)
    assert not fits_on_card(0, 100, 101)


def have_free(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    """A GPU with so much free memory, of which this process has reserved 30 bytes."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (n_bytes - 30, 10 * n_bytes))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)


def test_the_training_split_is_kept_first(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(n_free: int, reserved: int | None = 1000) -> list[str]:
        have_free(monkeypatch, n_free)
        found = keep_on_card(dataset, CPU, reserved)
        return [name for name in ("train", "val") if getattr(found, name) is not None]

    train, val = dataset.train.features.nbytes, dataset.val.features.nbytes
    assert val < train
    assert kept(train + val + 1000) == ["train", "val"]
    assert kept(train + val + 999) == kept(train + 1000) == ["train"]
    assert kept(train + 999) == kept(val + 1000) == ["val"]
    assert kept(val + 999) == []
    assert kept(2 * (train + val), None) == ["train", "val"]  # half is left to the pack
    assert kept(2 * (train + val) - 2, None) == ["train"]


def test_a_split_stays_in_the_store_if_its_memory_was_taken_meanwhile(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(CardSplit):
        def __init__(self, *_: Any) -> None:
            raise torch.OutOfMemoryError("taken")

    have_free(monkeypatch, 10**9)
    assert None not in keep_on_card(dataset, CPU)
    monkeypatch.setattr(card, "CardSplit", Full)
    assert keep_on_card(dataset, CPU) == (None, None)
