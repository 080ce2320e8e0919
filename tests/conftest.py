"""Fixtures of all tests: one thread, whole float32, fixed draws, and a small data set in memory."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from decoder.data.store import Dataset, Split
from decoder.phonemes import N_CLASSES

if not torch.cuda.is_available():  # Triton reads it once, when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def whole_float32() -> None:
    """cuDNN rounds float32 to TF32 by default, so its GRU would differ from the other kernels."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws must not depend on the tests before it in the same process."""
    torch.manual_seed(0)


def make_split(n_trials: int, n_features: int, n_days: int, seed: int) -> Split:
    """Trials in which every phoneme has a feature prototype, so that a decoder can learn them."""
    rng = np.random.default_rng(seed)
    prototypes = np.random.default_rng(0).normal(size=(N_CLASSES, n_features))
    n_bins = rng.integers(30, 44, n_trials)
    n_labels = rng.integers(2, 5, n_trials)
    offsets = np.concatenate([[0], np.cumsum(n_bins)])
    label_offsets = np.concatenate([[0], np.cumsum(n_labels)])
    labels = rng.integers(1, 6, label_offsets[-1])
    features = np.empty((offsets[-1], n_features), np.float32)
    for i in range(n_trials):
        target = labels[label_offsets[i] : label_offsets[i + 1]]
        place = np.arange(n_bins[i]) * n_labels[i] // n_bins[i]
        noise = rng.normal(size=(n_bins[i], n_features))
        features[offsets[i] : offsets[i + 1]] = prototypes[target[place]] + 0.3 * noise
    day = np.sort(np.arange(n_trials) % n_days)
    return Split(
        features, offsets, labels, label_offsets, day, np.zeros_like(day), np.arange(n_trials)
    )


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Four days, eight features, 48 training and 12 validation trials."""
    return Dataset(
        fingerprint="0" * 16,
        path=Path("nowhere"),
        sessions=("t15.2000.01.01", "t15.2000.01.02", "t15.2000.01.03", "t15.2000.01.04"),
        n_features=8,
        n_classes=N_CLASSES,
        train=make_split(48, 8, 4, seed=1),
        val=make_split(12, 8, 4, seed=2),
        counts={},
        bin_ms=20,
    )
