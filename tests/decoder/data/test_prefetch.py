"""Batches that are gathered ahead are those that are drawn when they are needed."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from decoder.config import DecoderConfig, override
from decoder.data.batches import Batch, Gather, pad_trials
from decoder.data.card import CardSplit, CardSplits
from decoder.data.prefetch import N_AHEAD, Prefetcher, batches_of
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.errors import DataError

from .test_card import DEVICES, assert_equal_batches

CPU = torch.device("cpu")
SMALL = {"data.batch_size": 6, "data.days_per_batch": 3}


@pytest.fixture
def trials(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.setattr("decoder.data.trials.EVALUATION_BATCH_SIZE", 5)  # three batches
    model = {"model.patch_size": 6, "model.patch_stride": 4}
    return Trials.select(dataset, override(DecoderConfig(), SMALL | model, "test"))


def n_threads() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


class Spy:
    """Trials that note what is drawn and on which thread; drawing some batches fails."""

    def __init__(self, trials: Trials, broken: frozenset[int] = frozenset()) -> None:
        self._trials, self._broken = trials, broken
        self.dataset, self.drawn, self.threads = trials.dataset, list[int](), set[str]()

    def draw(self, seed: int, step: int, gather: Gather = pad_trials) -> Batch:
        self.threads.add(threading.current_thread().name)
        self.drawn.append(step)
        if step in self._broken:
            raise DataError(f"batch {step} cannot be read")
        return self._trials.draw(seed, step, gather)

    def validation_batches(self, gather: Gather = pad_trials) -> Iterator[Batch]:
        yield next(self._trials.validation_batches(gather))
        raise DataError("the second batch cannot be read")


def spy_on(trials: Trials, broken: frozenset[int] = frozenset()) -> Any:
    return Spy(trials, broken)


def wait_until_drawn(spy: Spy, n: int) -> None:
    deadline = time.monotonic() + 20
    while len(spy.drawn) < n and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("on_card", [False, True])
@pytest.mark.parametrize("sampling", ["days", "shuffle"])
def test_batches_equal_those_of_the_trials(
    sampling: str, on_card: bool, device: torch.device, trials: Trials
) -> None:
    config = override(trials.config, {"data.sampling": sampling}, "test")
    trials = Trials.select(trials.dataset, config)
    train, val = (CardSplit(s, device) for s in (trials.dataset.train, trials.dataset.val))
    kept = CardSplits(train, val) if on_card else CardSplits()
    with Prefetcher(trials, device, kept) as prefetcher:
        for step in (0, 1, 2, 3, 40, 41, 7, 7):  # a resumed run starts at any step
            batch = prefetcher.draw(5, step)
            assert batch.features.device.type == device.type
            assert_equal_batches(batch, trials.draw(5, step))
        assert_equal_batches(prefetcher.draw(6, 8), trials.draw(6, 8))
        for _ in range(2):
            got = list(prefetcher.validation_batches())
            expected = list(trials.validation_batches())
            assert len(got) == len(expected) == 3
            for mine, theirs in zip(got, expected, strict=True):
                assert_equal_batches(mine, theirs)


def test_the_next_batches_are_gathered_on_another_thread_and_no_further(trials: Trials) -> None:
    spy = spy_on(trials)
    with Prefetcher(spy, CPU) as prefetcher:
        prefetcher.draw(5, 3)
        wait_until_drawn(spy, 1 + N_AHEAD)
        time.sleep(0.05)
        assert spy.drawn == [3, 4, 5]
        prefetcher.draw(5, 4)
        wait_until_drawn(spy, 2 + N_AHEAD)
        assert spy.drawn == [3, 4, 5, 6]
    assert threading.current_thread().name not in spy.threads and len(spy.threads) == 1


def test_validation_batches_do_not_disturb_the_training_batches_ahead(trials: Trials) -> None:
    spy = spy_on(trials)
    with Prefetcher(spy, CPU) as prefetcher:
        prefetcher.draw(5, 0)
        with pytest.raises(DataError, match="the second batch cannot be read"):
            list(prefetcher.validation_batches())
        for step in (1, 2):
            assert_equal_batches(prefetcher.draw(5, step), trials.draw(5, step))
        wait_until_drawn(spy, 5)
    assert spy.drawn == [0, 1, 2, 3, 4]


def test_an_error_is_raised_at_the_batch_that_has_it(trials: Trials) -> None:
    spy = spy_on(trials, frozenset({2}))
    with Prefetcher(spy, CPU) as prefetcher:
        for step in (0, 1):
            assert_equal_batches(prefetcher.draw(5, step), trials.draw(5, step))
        wait_until_drawn(spy, 3)
        with pytest.raises(DataError, match="batch 2 cannot be read"):
            prefetcher.draw(5, 2)
        assert_equal_batches(prefetcher.draw(5, 3), trials.draw(5, 3))
    assert n_threads() == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_no_thread_is_left_after_an_interruption(
    error: type[BaseException], trials: Trials
) -> None:
    with pytest.raises(error), Prefetcher(trials, CPU) as prefetcher:
        prefetcher.draw(5, 0)
        assert n_threads() == 1
        raise error
    assert n_threads() == 0


def test_a_validation_that_is_left_early_leaves_no_thread(trials: Trials) -> None:
    with Prefetcher(trials, CPU) as prefetcher:
        next(prefetcher.validation_batches())
    assert n_threads() == 0


def test_batches_are_drawn_in_line_where_nothing_is_gathered_ahead(trials: Trials) -> None:
    with batches_of(trials, CPU, ahead=False) as batches:
        assert batches is trials
    with batches_of(trials, CPU, ahead=True) as batches:
        assert_equal_batches(batches.draw(5, 1), trials.draw(5, 1))
        assert n_threads() == 1
    assert n_threads() == 0
