"""The trials that a configuration can use, and the batches drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from decoder.config import DecoderConfig
from decoder.data.alignment import usable_trials
from decoder.data.batches import (
    Batch,
    Gather,
    collate,
    evaluation_batches,
    group_by_day,
    pad_trials,
    sample_batch,
    shuffled_batch,
)
from decoder.data.store import Dataset
from decoder.seeding import generator

EVALUATION_BATCH_SIZE = 64


class Batches(Protocol):
    """The batches of a pack, from `Trials` or `decoder.data.prefetch.Prefetcher`."""

    def draw(self, seed: int, step: int) -> Batch:
        """The training batch with number `step`, ordered by day."""
        ...

    def validation_batches(self) -> Iterator[Batch]:
        """Every usable validation trial once, each batch ordered by day."""
        ...


@dataclass(frozen=True)
class Trials:
    """The trials of a data set that a configuration can use.

    Attributes:
        dataset: an open store.
        config: of any run of the pack; the fields read here are the same in all of them.
        train_by_day: for each day, the indices of its usable training trials.
        validation: indices of the usable validation trials, in batches of similar length.
        n_dropped: trials of both splits without a CTC alignment. They are left out or kept, see
            ``loss.zero_infinity``.
    """

    dataset: Dataset
    config: DecoderConfig
    train_by_day: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    n_dropped: int

    @classmethod
    def select(cls, dataset: Dataset, config: DecoderConfig) -> "Trials":
        """Find the usable trials.

        Raises:
            DataError: more than 1 % of a split's trials would be left out.
        """
        cut, zero_infinity = config.augment.random_cut, config.loss.zero_infinity
        train, unaligned = usable_trials(
            dataset.train, config.model, cut, dataset.sessions, zero_infinity
        )
        val, val_unaligned = usable_trials(
            dataset.val, config.model, 0, dataset.sessions, zero_infinity
        )
        return cls(
            dataset,
            config,
            train_by_day=group_by_day(dataset.train, train),
            validation=evaluation_batches(dataset.val, val, EVALUATION_BATCH_SIZE),
            n_dropped=len(unaligned.too_long) + len(val_unaligned.too_long),
        )

    def draw(self, seed: int, step: int, gather: Gather = pad_trials) -> Batch:
        """The training batch with number `step`, ordered by day; see `collate` for `gather`."""
        data = self.config.data
        source = generator(seed, "trials", step)
        if data.sampling == "shuffle":
            indices = shuffled_batch(self.train_by_day, data.batch_size, source)
        else:
            indices = sample_batch(self.train_by_day, data.batch_size, data.days_per_batch, source)
        return collate(self.dataset.train, indices, gather)

    def validation_batches(self, gather: Gather = pad_trials) -> Iterator[Batch]:
        """Every usable validation trial once, each batch ordered by day."""
        day = torch.from_numpy(self.dataset.val.day)
        for indices in self.validation:
            by_day = indices[torch.argsort(day[indices], stable=True)]
            yield collate(self.dataset.val, by_day, gather)
