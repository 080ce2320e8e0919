"""Features of a split in the memory of a GPU, and whether they fit there.

Dimensions: B batch, T bins, F features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from decoder.data.store import Dataset, Split
from decoder.life import show_sign

# Share of the free memory that is left to the pack where nothing better is known about its size.
RESERVED_SHARE = 0.5
# Bins that are copied to the card at a time.
_CHUNK_BINS = 2**16


class CardSplit:
    """The features of a split on one device, in float32, as they are in the store.

    Args:
        split: its features are copied.
        device: where to.

    Raises:
        torch.OutOfMemoryError: they do not fit there.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        n_bins, n_features = split.features.shape
        self._features = torch.empty(n_bins + 1, n_features, device=device)
        for start in range(0, n_bins, _CHUNK_BINS):
            show_sign()
            rows = np.array(split.features[start : start + _CHUNK_BINS])  # writable, for torch
            self._features[start : start + len(rows)] = torch.from_numpy(rows)
        self._features[n_bins] = 0.0  # what padding reads

    @property
    def n_bytes(self) -> int:
        """What the features take."""
        return self._features.nbytes

    def gather(self, split: Split, trials: Sequence[int]) -> Tensor:
        """The features that `decoder.data.batches.pad_trials` reads, by one indexing operation.

        Args:
            split: the one whose features were copied.
            trials: B indices into it.

        Returns:
            (B, T, F) float32 on the device, padded with zeros to the longest trial.
        """
        n_bins = split.bin_counts[list(trials)][:, None]  # (B, 1)
        bins = np.arange(n_bins.max())  # (T,)
        rows = np.where(
            bins < n_bins, split.offsets[list(trials)][:, None] + bins, len(self._features) - 1
        )  # (B, T)
        index = torch.from_numpy(rows.ravel()).to(self._features.device)
        if self._features.is_cuda:  # which may be freed before another stream has read it
            self._features.record_stream(torch.cuda.current_stream(self._features.device))
        return self._features.index_select(0, index).view(*rows.shape, self._features.shape[1])


class CardSplits(NamedTuple):
    """The splits whose features are on the card; None for one that is not."""

    train: CardSplit | None = None
    val: CardSplit | None = None

    @property
    def n_bytes(self) -> int:
        """What they take on the card."""
        return sum(split.n_bytes for split in self if split is not None)


def keep_on_card(
    dataset: Dataset, device: torch.device, reserved_bytes: int | None = None
) -> CardSplits:
    """Copy the features of the splits that fit into the free memory of a GPU.

    The training split comes first, because every step reads it. Another process may take the
    memory in the meantime; then the split stays where it is.

    Args:
        dataset: an open store.
        device: a CUDA device.
        reserved_bytes: memory that the pack needs; None leaves it half of what is free.
    """
    free_bytes = _free_bytes(device)
    reserved = int(free_bytes * RESERVED_SHARE) if reserved_bytes is None else reserved_bytes
    kept: list[CardSplit | None] = []
    for split in (dataset.train, dataset.val):
        n_bytes = split.features.nbytes
        try:
            fits = fits_on_card(n_bytes, free_bytes, reserved)
            kept.append(CardSplit(split, device) if fits else None)
        except torch.OutOfMemoryError:
            kept.append(None)
        free_bytes -= n_bytes if kept[-1] else 0
    return CardSplits(*kept)


def fits_on_card(n_bytes: int, free_bytes: int, reserved_bytes: int) -> bool:
    """Whether features fit into free memory beside what is reserved for the pack."""
    return n_bytes <= free_bytes - reserved_bytes


def _free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, with what this process has reserved and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
