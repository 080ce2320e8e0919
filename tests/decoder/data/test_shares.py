"""Sessions held out and shares of the training data: nested, the same for all arms of a seed."""

from dataclasses import replace

import numpy as np
import pytest

from decoder.config import DecoderConfig, identity, override, pack_key
from decoder.data.alignment import check_trainable
from decoder.data.shares import held_out_days, nearest_trained, trials_to_train
from decoder.data.store import Dataset, Split
from decoder.data.trials import Trials
from decoder.errors import ConfigError, DataError
from decoder.sections import DataConfig

NAMES = tuple(f"t15.2023.08.{day:02}" for day in (11, 13, 18, 20, 25))
SMALL = {
    "data.batch_size": 6,
    "data.days_per_batch": 2,
    "model.patch_size": 6,
    "model.patch_stride": 4,
}


def split_of(*counts: int) -> Split:
    """A split with that many trials in each session."""
    n = sum(counts)
    zeros = np.zeros(n, np.int64)
    return Split(
        features=np.zeros((n, 1), np.float32),
        offsets=np.arange(n + 1),
        labels=np.ones(n, np.int64),
        label_offsets=np.arange(n + 1),
        day=np.repeat(np.arange(len(counts)), counts),
        block=zeros,
        trial_number=zeros,
    )


def config_of(**changes: object) -> DecoderConfig:
    data = {f"data.{name}": value for name, value in changes.items()}
    return override(DecoderConfig(), {**SMALL, **data})


def taken(split: Split, seed: int = 1, **changes: object) -> set[int]:
    data = config_of(**changes).data
    return set(np.flatnonzero(trials_to_train(split, NAMES, data, seed)).tolist())


def test_everything_is_taken_by_default() -> None:
    split = split_of(3, 4, 5, 6, 7)
    assert taken(split, seed=1) == taken(split, seed=2) == set(range(25))


@pytest.mark.parametrize("key", ["train_share", "train_sessions_share"])
def test_a_smaller_share_takes_some_of_the_trials_of_a_larger_one(key: str) -> None:
    split = split_of(9, 4, 12, 6, 7)
    shares = [0.01, 0.1, 0.2, 0.25, 0.5, 0.7, 0.9, 1.0]
    for seed in range(5):
        of_shares = [taken(split, seed, **{key: share}) for share in shares]
        for smaller, larger in zip(of_shares, of_shares[1:], strict=False):
            assert smaller <= larger
        assert len(of_shares[0]) < len(of_shares[-1]) == split.n_trials


def test_a_share_of_trials_is_rounded_up_in_each_session() -> None:
    split = split_of(10, 3, 1, 8, 20)
    chosen = taken(split, train_share=0.7)
    assert np.bincount(split.day[sorted(chosen)]).tolist() == [7, 3, 1, 6, 14]


def test_a_share_of_sessions_takes_whole_sessions() -> None:
    split = split_of(3, 4, 5, 6, 7)
    for seed in range(5):
        days = split.day[sorted(taken(split, seed, train_sessions_share=0.6))]
        assert len(set(days)) == 3
        assert len(days) == sum((3, 4, 5, 6, 7)[day] for day in set(days))


def test_seeds_take_other_trials_and_sessions() -> None:
    split = split_of(9, 9, 9, 9, 9)
    for key in ("train_share", "train_sessions_share"):
        assert len({frozenset(taken(split, seed, **{key: 0.4})) for seed in range(8)}) > 3


def test_the_trials_of_a_session_do_not_depend_on_other_sessions() -> None:
    split = split_of(9, 9, 9, 9, 9)
    alone = taken(split, train_share=0.5, held_out_sessions=list(NAMES[1:]))
    assert alone == {trial for trial in taken(split, train_share=0.5) if trial < 9}


def test_shares_are_of_the_sessions_that_are_not_held_out() -> None:
    split = split_of(3, 3, 3, 3, 3)
    for seed in range(5):
        chosen = taken(split, seed, held_out_sessions=1, train_sessions_share=0.5)
        assert len(chosen) == 6 and max(chosen) < 12


def test_the_draw_does_not_depend_on_what_the_model_can_align(dataset: Dataset) -> None:
    """Arms with other patches train on the same trials, as far as they can align them."""
    seed, chosen = 3, {}
    for size in (4, 6):
        config = override(config_of(train_share=0.5), {"model.patch_size": size})
        trials = Trials.select(dataset, config, seed)
        chosen[size] = {int(t) for of_day in trials.train_by_day for t in of_day}
    assert chosen[6] == chosen[4] and len(chosen[4]) == 24


def test_the_last_sessions_or_named_ones_are_held_out() -> None:
    assert held_out_days(NAMES, config_of(held_out_sessions=2).data) == {3, 4}
    named = config_of(held_out_sessions=[NAMES[3], NAMES[0], NAMES[3]])
    assert held_out_days(NAMES, named.data) == {0, 3}
    assert held_out_days(NAMES, DataConfig()) == frozenset()


@pytest.mark.parametrize("wanted", [["t15.2023.01.01"], 5, 9, list(NAMES)])
def test_sessions_that_cannot_be_held_out_are_refused(wanted: object) -> None:
    with pytest.raises(DataError, match=r"data\.held_out_sessions"):
        held_out_days(NAMES, config_of(held_out_sessions=wanted).data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("held_out_sessions", 0),
        ("held_out_sessions", []),
        ("held_out_sessions", True),
        ("train_share", 0.0),
        ("train_share", 1.1),
        ("train_sessions_share", 0.0),
        ("untrained_day_layer", "mean"),  # every session trains
    ],
)
def test_values_without_a_meaning_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{key}"):
        config_of(**{key: value})


def test_nearest_is_by_date_and_the_earlier_of_two() -> None:
    # 11, 13, 18, 20, 25 August; 13 and 25 are trained
    found = nearest_trained(NAMES, (1, 4), (0, 2, 3))
    assert found == {0: (1, -2), 2: (1, 5), 3: (4, -5)}
    assert nearest_trained(NAMES, (0, 2), (1,)) == {1: (0, 2)}
    tie = ("t15.2023.08.10", "t15.2023.08.12", "t15.2023.08.14")
    assert nearest_trained(tie, (0, 2), (1,)) == {1: (0, 2)}


def test_names_without_dates_go_by_their_order() -> None:
    names = ("a", "b", "t15.2023.08.11", "t15.2023.99.99")
    assert nearest_trained(names, (0, 2), (1, 3)) == {1: (0, None), 3: (2, None)}


def test_the_new_keys_are_part_of_a_run_and_of_a_pack_only_where_they_are_set() -> None:
    plain = config_of()
    assert not [path for path in identity(plain) if "share" in path or "untrained" in path]
    assert "data.held_out_sessions" not in identity(plain)
    for changes in ({"train_share": 0.5}, {"train_sessions_share": 0.5}, {"held_out_sessions": 1}):
        changed = config_of(**changes)
        assert identity(changed) != identity(plain)
        assert pack_key(changed) != pack_key(plain)
    by_mean = config_of(held_out_sessions=1, untrained_day_layer="mean")
    assert pack_key(by_mean) == pack_key(config_of(held_out_sessions=1))
    shuffled = [config_of(held_out_sessions=order) for order in (["a", "b"], ["b", "a"])]
    assert identity(shuffled[0]) == identity(shuffled[1])


def test_validation_trials_of_sessions_held_out_are_apart(dataset: Dataset) -> None:
    every = Trials.select(dataset, config_of())
    trials = Trials.select(dataset, config_of(held_out_sessions=1))
    val = [int(i) for batch in trials.validation for i in batch]
    apart = [int(i) for batch in trials.held_out for i in batch]
    assert sorted(val + apart) == sorted(int(i) for batch in every.validation for i in batch)
    assert set(dataset.val.day[val]) == {0, 1, 2} and set(dataset.val.day[apart]) == {3}
    assert [b.index.tolist() for b in every.held_out_batches()] == []
    [batch] = trials.held_out_batches()
    assert sorted(batch.index.tolist()) == sorted(apart)


def test_sessions_not_taken_are_still_validated_on(dataset: Dataset) -> None:
    trials = Trials.select(dataset, config_of(train_sessions_share=0.5), seed=1)
    assert len(trials.train_by_day) == 2
    assert trials.held_out == ()
    assert {int(d) for b in trials.validation for d in dataset.val.day[b.numpy()]} == {0, 1, 2, 3}


def test_a_plan_refuses_what_cannot_be_trained_or_evaluated(dataset: Dataset) -> None:
    dataset = replace(dataset, counts={"sessions_without_val": 0})
    check_trainable(dataset, config_of(held_out_sessions=2))
    with pytest.raises(DataError, match=r"days_per_batch is 2, but only 1"):
        check_trainable(dataset, config_of(held_out_sessions=3))
    with pytest.raises(DataError, match=r"days_per_batch is 2, but only 1"):
        check_trainable(dataset, config_of(train_sessions_share=0.25))
    one_day = replace(dataset, val=replace(dataset.val, day=np.zeros_like(dataset.val.day)))
    for wanted in (1, [dataset.sessions[0]]):  # without trials; with all of them
        with pytest.raises(DataError, match="validation trials"):
            check_trainable(one_day, config_of(held_out_sessions=wanted))


def test_training_targets_of_sessions_held_out_decide_nothing_about_alignment(
    dataset: Dataset,
) -> None:
    """As many as may not be left out, were they trained on."""
    split = dataset.train
    offsets, label_offsets = split.offsets.copy(), split.label_offsets.copy()
    of_last = int((split.day < 3).sum())
    grown = np.arange(split.n_trials + 1 - of_last) * 40  # labels more in each trial of day 3
    label_offsets[of_last:] += grown
    too_long = replace(
        split,
        offsets=offsets,
        labels=np.tile(split.labels, 40)[: label_offsets[-1]],
        label_offsets=label_offsets,
    )
    dataset = replace(dataset, train=too_long, counts={"sessions_without_val": 0})
    with pytest.raises(DataError, match="too short for their targets"):
        Trials.select(dataset, config_of())
    apart = config_of(held_out_sessions=1)
    trials = Trials.select(dataset, apart)
    assert trials.n_dropped == 0
    assert sum(map(len, trials.train_by_day)) == of_last
    assert check_trainable(dataset, apart) == ()
