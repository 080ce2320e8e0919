"""Random trials of the shape of T15: a batch, a store, and the same trials as recordings."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from decoder.config import DecoderConfig
from decoder.data.batches import Batch
from decoder.data.store import Dataset, Split
from decoder.phonemes import N_CLASSES

BINS_PER_LABEL = 18  # about the speaking rate of T15


class Shape(NamedTuple):
    """Sizes of a data set.

    Attributes:
        n_features: in a bin.
        n_days: sessions.
        n_bins: the shortest and the longest trial of a batch, between which lengths are uniform.
        n_train, n_val: trials of each session in the store.
    """

    n_features: int
    n_days: int
    n_bins: tuple[int, int]
    n_train: int
    n_val: int


T15 = Shape(512, 45, (300, 1000), 24, 6)
SMALL = Shape(32, 4, (80, 160), 24, 6)
T12 = Shape(256, 24, (150, 650), 24, 6)


def random_batch(config: DecoderConfig, shape: Shape) -> Batch:
    """Trials of random length on `days_per_batch` days, on the CPU."""
    source = torch.Generator().manual_seed(0)
    B = config.data.batch_size
    lengths = torch.randint(*shape.n_bins, (B,), generator=source)
    n_labels = (lengths // BINS_PER_LABEL).clamp(min=1)
    labels = torch.randint(1, N_CLASSES, (B, int(n_labels.max())), generator=source)
    features = torch.randn(B, int(lengths.max()), shape.n_features, generator=source)
    day = torch.arange(B) * config.data.days_per_batch // B
    return Batch(features, lengths, labels, n_labels, day, torch.arange(B))


def no_recordings(shape: Shape) -> Dataset:
    """An empty data set with the sizes that a model needs."""
    empty = np.zeros(0, np.int64)
    features = np.zeros((0, shape.n_features), np.float32)
    split = Split(features, empty, empty, empty, empty, empty, empty)
    return _dataset(shape, Path(), split, split)


def random_store(shape: Shape, folder: Path) -> Dataset:
    """A store of random trials in files, memory-mapped like a packed one.

    Their lengths are normal around the middle of `Shape.n_bins` and clipped to it, less spread than
    uniform ones, as T15's are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits = [
        _random_split(shape, n, seed, folder / f"{seed}.f32")
        for seed, n in enumerate((shape.n_train, shape.n_val))
    ]
    return _dataset(shape, folder, *splits)


def write_recordings(dataset: Dataset, folder: Path) -> None:
    """Write the trials of a store in the T15 layout. Needs h5py."""
    from decoder.data.writers import TrialToWrite, write_session

    for day, session in enumerate(dataset.sessions):
        splits = {
            name: [
                TrialToWrite(split.trial_features(i), split.target(i).tolist(), "a", 1, i)
                for i in np.flatnonzero(split.day == day).tolist()
            ]
            for name, split in (("train", dataset.train), ("val", dataset.val))
        }
        write_session(folder, session, splits)


def _dataset(shape: Shape, path: Path, train: Split, val: Split) -> Dataset:
    sessions = tuple(f"t15.2000.01.{day:02d}" for day in range(1, shape.n_days + 1))
    return Dataset("0" * 16, path, sessions, shape.n_features, N_CLASSES, train, val, {})


def _random_split(shape: Shape, n_trials_of_day: int, seed: int, path: Path) -> Split:
    rng = np.random.default_rng(seed)
    n_trials = shape.n_days * n_trials_of_day
    low, high = shape.n_bins
    lengths = rng.normal((low + high) / 2, (high - low) / 5, n_trials).clip(low, high)
    n_bins = lengths.astype(np.int64)
    n_labels = n_bins // BINS_PER_LABEL
    offsets, label_offsets = _offsets(n_bins), _offsets(n_labels)
    features = np.memmap(path, "<f4", "w+", shape=(int(offsets[-1]), shape.n_features))
    for start, stop in zip(offsets[:-1], offsets[1:], strict=True):
        features[start:stop] = rng.standard_normal((stop - start, shape.n_features), np.float32)
    features.flush()
    day = np.repeat(np.arange(shape.n_days), n_trials_of_day)
    labels = rng.integers(1, N_CLASSES, label_offsets[-1])
    stored = np.memmap(path, "<f4", "r", shape=features.shape)
    return Split(
        stored, offsets, labels, label_offsets, day, np.zeros_like(day), np.arange(n_trials)
    )


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)])
