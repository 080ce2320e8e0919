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
from decoder.data.shares import held_out_days, trials_to_train, validates_apart
from decoder.data.store import Dataset
from decoder.errors import DataError
from decoder.seeding import generator

EVALUATION_BATCH_SIZE = 64


class Batches(Protocol):
    """The batches of a pack, from `Trials` or `decoder.data.prefetch.Prefetcher`."""

    @property
    def card_bytes(self) -> int:
        """Memory of a GPU that features of the data set take."""
        ...

    def draw(self, seed: int, step: int) -> Batch:
        """The training batch with number `step`, ordered by day."""
        ...

    def validation_batches(self) -> Iterator[Batch]:
        """Every usable validation trial once, without those of sessions held out, each batch
        ordered by day."""
        ...

    def held_out_batches(self) -> Iterator[Batch]:
        """The same for the sessions held out; nothing without any."""
        ...


@dataclass(frozen=True)
class Trials:
    """The trials of a data set that a configuration can use.

    Attributes:
        dataset: an open store.
        config: of any run of the pack; the fields read here are the same in all of them.
        train_by_day: for each day, the indices of its usable training trials.
        validation: indices of the usable validation trials, in batches of similar length, without
            those of sessions held out.
        held_out: the same for the sessions held out.
        n_dropped: trials without a CTC alignment, of the validation split and of the training
            trials that the configuration takes. They are left out or kept, see
            ``loss.zero_infinity``.
        card_bytes: see `Batches`.
    """

    dataset: Dataset
    config: DecoderConfig
    train_by_day: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    n_dropped: int
    held_out: tuple[Tensor, ...] = ()
    card_bytes: int = 0

    @classmethod
    def select(cls, dataset: Dataset, config: DecoderConfig, seed: int = 0) -> "Trials":
        """Find the usable trials.

        Args:
            seed: decides which trials and sessions a share takes, see `decoder.data.shares`.

        Raises:
            DataError: more than 1 % of a split's trials would be left out; or the configuration
                holds out sessions that it cannot, see `decoder.data.shares`.
        """
        cut, zero_infinity = config.augment.random_cut, config.loss.zero_infinity
        apart = held_out_days(dataset.sessions, config.data)
        train, unaligned = usable_trials(
            dataset.train, config.model, cut, dataset.sessions, zero_infinity, apart
        )
        val, val_unaligned = usable_trials(
            dataset.val, config.model, 0, dataset.sessions, zero_infinity
        )
        taken = trials_to_train(dataset.train, dataset.sessions, config.data, seed)
        if not taken[train].any():
            raise DataError(
                f"data.train_share {config.data.train_share} takes no training trial with a "
                "target that CTC can align; take a larger share"
            )
        held_out = validates_apart(dataset.val.day[val], dataset.sessions, config.data)
        return cls(
            dataset,
            config,
            train_by_day=group_by_day(dataset.train, train[taken[train]]),
            validation=evaluation_batches(dataset.val, val[~held_out], EVALUATION_BATCH_SIZE),
            n_dropped=int(taken[list(unaligned.too_long)].sum()) + len(val_unaligned.too_long),
            held_out=(
                evaluation_batches(dataset.val, val[held_out], EVALUATION_BATCH_SIZE)
                if held_out.any()
                else ()
            ),
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
        """Every usable validation trial once, without those of sessions held out, each batch
        ordered by day."""
        return self._evaluated(self.validation, gather)

    def held_out_batches(self, gather: Gather = pad_trials) -> Iterator[Batch]:
        """The same for the sessions held out; nothing without any."""
        return self._evaluated(self.held_out, gather)

    def _evaluated(self, batches: tuple[Tensor, ...], gather: Gather) -> Iterator[Batch]:
        day = torch.from_numpy(self.dataset.val.day)
        for indices in batches:
            by_day = indices[torch.argsort(day[indices], stable=True)]
            yield collate(self.dataset.val, by_day, gather)
