"""Usable trials, the sampler, padding."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.data.alignment import output_lengths, usable_trials
from decoder.data.batches import (
    collate,
    evaluation_batches,
    group_by_day,
    sample_batch,
    shuffled_batch,
)
from decoder.data.store import Split
from decoder.errors import DataError
from decoder.sections import ModelConfig


def make_split(trials: Sequence[tuple[int, Sequence[int]]], days: Sequence[int] = ()) -> Split:
    """A split of (n_bins, target) trials with two features; feature values are unique."""
    n_bins = [n for n, _ in trials]
    n_labels = [len(target) for _, target in trials]
    n_rows = sum(n_bins)
    return Split(
        features=np.arange(1, 2 * n_rows + 1, dtype=np.float32).reshape(n_rows, 2),
        offsets=np.cumsum([0, *n_bins]),
        labels=np.array([label for _, target in trials for label in target], np.int64),
        label_offsets=np.cumsum([0, *n_labels]),
        day=np.array(days or [0] * len(trials)),
        block=np.full(len(trials), 7),
        trial_number=np.arange(len(trials)),
    )


def test_trial_is_kept_if_every_label_and_repeat_has_a_patch() -> None:
    fits = (14 + 4 * 2, [1, 2, 3])  # three patches
    repeat_does_not = (14 + 4 * 2, [1, 1, 2])  # needs four
    many = [(60, [1])] * 200
    kept, dropped = usable_trials(make_split([fits, repeat_does_not, *many]), ModelConfig(), 0)
    assert dropped.too_long == (1,)
    assert dropped.empty == ()
    assert kept.tolist() == [0, *range(2, 202)]


def test_largest_cut_decides_and_is_one_less_than_random_cut() -> None:
    split = make_split([(14 + 4 + 2, [1, 2]), (14 + 4 + 1, [1, 2]), *[(60, [1])] * 200])
    assert usable_trials(split, ModelConfig(), 3)[1].too_long == (1,)
    assert usable_trials(split, ModelConfig(), 4)[1].too_long == (0, 1)
    assert usable_trials(split, ModelConfig(), 1)[1].too_long == ()
    assert usable_trials(split, ModelConfig(), 0)[1].too_long == ()


def test_trial_shorter_than_a_patch_is_too_long_and_an_empty_target_is_not() -> None:
    split = make_split([(13, [1]), (13, []), (60, []), *[(60, [1])] * 100])
    _, dropped = usable_trials(split, ModelConfig(), 0)
    assert dropped.too_long == (0,)
    assert dropped.empty == (1, 2)


def test_more_than_one_percent_too_long_is_refused_naming_trials() -> None:
    short = (14, [1, 1])
    assert usable_trials(make_split([short, *[(60, [1])] * 99]), ModelConfig(), 0)[1].too_long == (
        0,
    )
    with pytest.raises(DataError, match="2 of 101 trials are too short") as caught:
        usable_trials(make_split([short, short, *[(60, [1])] * 99, (60, [])]), ModelConfig(), 0)
    assert "day 0 block 7 trial 1: 14 bins give 1 patches, the target needs 3" in str(caught.value)


def test_zero_infinity_keeps_any_number_of_trials_without_an_alignment() -> None:
    short, shorter_than_a_patch = (14, [1, 1]), (13, [1])
    split = make_split([short, short, (60, [2]), (60, []), short])
    kept, unaligned = usable_trials(split, ModelConfig(), 0, zero_infinity=True)
    assert kept.tolist() == [0, 1, 2, 4]
    assert unaligned.too_long == (0, 1, 4) and unaligned.empty == (3,)
    split = make_split([shorter_than_a_patch, short, *[(60, [1])] * 100])
    kept, unaligned = usable_trials(split, ModelConfig(), 0, zero_infinity=True)
    assert kept.tolist() == list(range(1, 102))
    assert unaligned.too_long == (0, 1)
    with pytest.raises(DataError, match="1 of 2 trials are too short"):
        usable_trials(make_split([shorter_than_a_patch, short]), ModelConfig(), 0, (), True)


def test_no_usable_trial_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 trials has a target"):
        usable_trials(make_split([(60, [])]), ModelConfig(), 0)


@settings(max_examples=60, deadline=None)
@given(
    n_days=st.integers(1, 6),
    days_per_batch=st.integers(1, 6),
    extra=st.integers(0, 12),
    seed=st.integers(0, 1000),
)
def test_batch_has_its_size_and_groups_days_of_nearly_equal_size(
    n_days: int, days_per_batch: int, extra: int, seed: int
) -> None:
    days_per_batch = min(days_per_batch, n_days)
    batch_size = days_per_batch + extra
    kept_by_day = [torch.arange(10 * d, 10 * d + 3) for d in range(n_days)]
    drawn = sample_batch(
        kept_by_day, batch_size, days_per_batch, torch.Generator().manual_seed(seed)
    )
    days = (drawn // 10).tolist()
    assert len(drawn) == batch_size
    assert len(set(days)) <= days_per_batch
    runs = [day for i, day in enumerate(days) if i == 0 or days[i - 1] != day]
    assert len(runs) == len(set(runs))
    assert max(Counter(days).values()) <= -(-batch_size // days_per_batch)
    assert set((drawn % 10).tolist()) <= {0, 1, 2}


def test_sampler_draws_days_and_trials_uniformly_and_trials_with_replacement() -> None:
    kept_by_day = [torch.arange(10 * d, 10 * d + 2) for d in range(4)]
    generator = torch.Generator().manual_seed(0)
    batches = [sample_batch(kept_by_day, 7, 2, generator) for _ in range(2000)]
    counts = Counter(int(i) for batch in batches for i in batch)
    assert set(counts) == {10 * d + i for d in range(4) for i in range(2)}
    assert all(abs(n / 14000 - 1 / 8) < 0.01 for n in counts.values())
    sizes = Counter(tuple(Counter((batch // 10).tolist()).values()) for batch in batches)
    assert set(sizes) == {(3, 4), (4, 3)}  # ceil(7 / 2) each, one removed from a random day
    assert abs(sizes[3, 4] / 2000 - 0.5) < 0.05
    assert any(len(set(batch.tolist())) < 7 for batch in batches)


def test_sampler_depends_only_on_its_generator() -> None:
    kept_by_day = [torch.arange(10 * d, 10 * d + 9) for d in range(4)]
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    first = sample_batch(kept_by_day, 16, 4, one)
    torch.manual_seed(99)
    assert torch.equal(first, sample_batch(kept_by_day, 16, 4, other))
    assert not torch.equal(first, sample_batch(kept_by_day, 16, 4, one))


def test_shuffled_batch_has_distinct_trials_of_all_days_in_day_order() -> None:
    kept_by_day = [torch.tensor([5, 0, 7]), torch.tensor([1, 2, 3, 4, 6])]
    generator = torch.Generator().manual_seed(0)
    batches = [shuffled_batch(kept_by_day, 4, generator).tolist() for _ in range(4000)]
    for batch in batches:
        assert len(set(batch)) == 4
        on_second_day = [trial not in (0, 5, 7) for trial in batch]
        assert on_second_day == sorted(on_second_day)
    counts = Counter(i for batch in batches for i in batch)
    assert set(counts) == set(range(8))
    assert all(abs(n / 4000 - 1 / 2) < 0.04 for n in counts.values())
    assert sorted(shuffled_batch(kept_by_day, 64, generator).tolist()) == list(range(8))


def test_too_few_days_name_the_fix() -> None:
    with pytest.raises(DataError, match="set data.days_per_batch to at most 2"):
        sample_batch([torch.arange(3)] * 2, 16, 4, torch.Generator())


def test_the_last_patch_can_be_left_uncounted_as_in_the_t12_trainer() -> None:
    """The length there is (bins - kernel) / stride, rounded down."""
    model = ModelConfig(patch_size=32, patch_stride=4, count_last_patch=False)
    n_bins = torch.tensor([20, 32, 35, 36, 500])
    expected = ((n_bins - 32) / 4).to(torch.int32).clip(min=0)
    assert output_lengths(n_bins, model).tolist() == expected.tolist() == [0, 0, 0, 1, 117]
    split = make_split([(32 + 4, [1]), (32 + 4, [1, 2]), *[(60, [1])] * 200])
    assert usable_trials(split, model, 0)[1].too_long == (1,)
    assert usable_trials(split, ModelConfig(patch_size=32), 0)[1].too_long == ()


def test_days_without_usable_trials_are_not_drawn_from() -> None:
    split = make_split([(60, [1])] * 5, days=[0, 0, 2, 2, 3])
    groups = group_by_day(split, np.array([0, 1, 4]))
    assert [group.tolist() for group in groups] == [[0, 1], [4]]


def test_collate_pads_with_zeros_after_the_end_and_keeps_the_order() -> None:
    split = make_split([(3, [5, 6]), (5, [7]), (2, [8, 9, 10])], days=[0, 1, 1])
    batch = collate(split, torch.tensor([2, 0, 2]))
    assert batch.features.shape == (3, 3, 2)
    assert batch.features.dtype == torch.float32
    assert batch.features[0].tolist() == [[17.0, 18.0], [19.0, 20.0], [0.0, 0.0]]
    assert batch.features[1].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert batch.n_bins.tolist() == [2, 3, 2]
    assert batch.labels.tolist() == [[8, 9, 10], [5, 6, 0], [8, 9, 10]]
    assert batch.n_labels.tolist() == [3, 2, 3]
    assert batch.day.tolist() == [1, 0, 1]
    moved = batch.to("cpu")
    assert torch.equal(moved.features, batch.features)
    assert torch.equal(moved.day, batch.day)


def test_a_batch_on_a_device_carries_what_the_host_reads() -> None:
    split = make_split([(3, [5, 6]), (5, [7])], days=[0, 1])
    moved = collate(split, [1, 0]).to("meta")
    assert moved.day.device.type == "meta" and moved.host is not None
    for batch in (moved, moved.to("meta")):
        assert batch.sizes.n_bins.tolist() == [5, 3]
        assert batch.sizes.n_labels.tolist() == [1, 2]
        assert batch.sizes.day.tolist() == [1, 0]


def test_changing_a_batch_does_not_change_the_recordings() -> None:
    split = make_split([(3, [5, 6])])
    collate(split, [0]).features.zero_()
    assert split.features[0, 0] == 1.0


def test_evaluation_uses_every_kept_trial_once_and_groups_similar_lengths() -> None:
    split = make_split([(n, [1]) for n in (20, 50, 30, 50, 40, 10)])
    batches = evaluation_batches(split, np.array([0, 1, 2, 3, 5]), 2)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2, 0], [5]]
