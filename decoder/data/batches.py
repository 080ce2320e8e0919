"""Batches: draws the trials of a batch, and pads them.

Dimensions: B batch, T bins, F features, L labels.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoder.data.store import Split
from decoder.errors import DataError


class Sizes(NamedTuple):
    """Numbers of a batch on the CPU, where they can be read without waiting for a GPU.

    Attributes:
        n_bins, n_labels, day: (B,) int64, see `Batch`.
    """

    n_bins: torch.Tensor
    n_labels: torch.Tensor
    day: torch.Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded trials.

    Attributes:
        features: (B, T, F) float32, zero after each trial's end.
        n_bins: (B,) int64.
        labels: (B, L) int64, 0 after each target's end.
        n_labels: (B,) int64.
        day: (B,) int64.
        index: (B,) int64 position of each trial in its split, on the CPU.
        host: numbers of the batch on the CPU, for a batch on a GPU; see `sizes`.
    """

    features: torch.Tensor
    n_bins: torch.Tensor
    labels: torch.Tensor
    n_labels: torch.Tensor
    day: torch.Tensor
    index: torch.Tensor
    host: Sizes | None = None

    @property
    def sizes(self) -> Sizes:
        """Numbers of the batch on the CPU. They are copied unless the batch carries them."""
        return self.host or Sizes(self.n_bins.cpu(), self.n_labels.cpu(), self.day.cpu())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on another device; `non_blocking` as in `torch.Tensor.to`."""
        return Batch(
            self.features.to(device, non_blocking=non_blocking),
            self.n_bins.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            self.n_labels.to(device, non_blocking=non_blocking),
            self.day.to(device, non_blocking=non_blocking),
            self.index,
            None if torch.device(device).type == "cpu" else self.sizes,
        )


# Gives the (B, T, F) features of some trials of a split, padded with zeros to the longest.
Gather = Callable[[Split, Sequence[int]], Tensor]


def group_by_day(split: Split, kept: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
    """For each day with kept trials, their (n_trials_of_day,) int64 indices into the split."""
    day = split.day[kept]
    return tuple(torch.from_numpy(kept[day == d]) for d in np.unique(day))


def sample_batch(
    kept_by_day: Sequence[torch.Tensor],
    batch_size: int,
    days_per_batch: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw the trials of one batch like the official T15 sampler.

    Days are drawn without replacement. From each of them the same number of trials is drawn with
    replacement. Surplus trials beyond `batch_size` are removed from the end of random days.

    Args:
        kept_by_day: from `group_by_day`.
        batch_size: number of trials.
        days_per_batch: number of days; at most `batch_size`.
        generator: the source of randomness.

    Returns:
        (batch_size,) int64 indices into the split, grouped by day.

    Raises:
        DataError: there are fewer days than `days_per_batch`.

    Follows BrainToTextDataset.create_batch_index_train of nejm-brain-to-text.
    """
    if days_per_batch > len(kept_by_day):
        raise DataError(
            f"data.days_per_batch is {days_per_batch}, but only {len(kept_by_day)} sessions have "
            f"usable train trials; set data.days_per_batch to at most {len(kept_by_day)}"
        )
    days = torch.randperm(len(kept_by_day), generator=generator)[:days_per_batch].tolist()
    n_each = -(-batch_size // days_per_batch)
    drawn = []
    for day in days:
        trials = kept_by_day[day]
        drawn.append(trials[torch.randint(len(trials), (n_each,), generator=generator)])
    for _ in range(n_each * days_per_batch - batch_size):
        left = [i for i, trials in enumerate(drawn) if len(trials)]
        i = left[int(torch.randint(len(left), (), generator=generator))]
        drawn[i] = drawn[i][:-1]
    return torch.cat(drawn)


def shuffled_batch(
    kept_by_day: Sequence[torch.Tensor], batch_size: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw the trials of one batch without replacement from all days, like the T12 trainer.

    Args:
        kept_by_day: from `group_by_day`.
        batch_size: number of trials; all trials if there are fewer.
        generator: the source of randomness.

    Returns:
        (batch_size,) int64 indices into the split, grouped by day.

    Follows neural_decoder_trainer.trainModel of neural_seq_decoder, which takes the first batch
    of a data loader that is shuffled at every step.
    """
    trials = torch.cat(list(kept_by_day))
    first = torch.randperm(len(trials), generator=generator)[:batch_size]
    return trials[first.sort().values]  # `trials` is ordered by day


def pad_trials(split: Split, trials: Sequence[int], *, pinned: bool = False) -> Tensor:
    """Read features into memory.

    Args:
        split: trials of one split.
        trials: B indices into it.
        pinned: whether the memory is page-locked, so that a GPU can copy from it by itself.

    Returns:
        (B, T, F) float32, padded with zeros to the longest trial.
    """
    longest = max(split.n_bins(trial) for trial in trials)
    shape = (len(trials), longest, split.features.shape[1])
    features = torch.empty(shape, pin_memory=pinned)
    rows = features.numpy()  # same memory
    for row, trial in zip(rows, trials, strict=True):
        row[: split.n_bins(trial)] = split.trial_features(trial)
        row[split.n_bins(trial) :] = 0.0
    return features


def collate(
    split: Split, indices: Iterable[int] | torch.Tensor, gather: Gather = pad_trials
) -> Batch:
    """Read trials and pad them to the longest one.

    Args:
        split: trials of one split.
        indices: (B,) trials, in the order of the batch.
        gather: where the features come from; all ways give the same numbers.
    """
    trials = [int(i) for i in indices]
    targets = [split.target(i) for i in trials]
    n_bins = torch.tensor([split.n_bins(i) for i in trials])
    n_labels = torch.tensor([len(target) for target in targets])
    labels = torch.zeros(len(trials), int(n_labels.max()), dtype=torch.int64)  # (B, L)
    label_rows = labels.numpy()  # same memory
    for row, target in enumerate(targets):
        label_rows[row, : len(target)] = target
    day = torch.from_numpy(split.day[trials])
    return Batch(gather(split, trials), n_bins, labels, n_labels, day, torch.tensor(trials))


def evaluation_batches(
    split: Split, kept: NDArray[np.int64], batch_size: int
) -> tuple[torch.Tensor, ...]:
    """Batches with every kept trial once, in which trials of similar length need little padding.

    Args:
        split: trials of one split.
        kept: (n_kept,) indices into the split.
        batch_size: trials in a batch; the last batch may be smaller.

    Returns:
        For each batch (B,) int64 indices into the split, the longest trials first.
    """
    order = np.argsort(-split.bin_counts[kept], kind="stable")
    return torch.split(torch.from_numpy(kept[order]), batch_size)
