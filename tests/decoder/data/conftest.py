"""Hand-made recordings in the T15 layout, and a fixture that damages them."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.data.writers import TrialToWrite, write_session

SESSIONS = ("t15.2023.08.11", "t15.2023.08.13")


def make_trial(
    labels: tuple[int, ...] = (7, 1, 40),
    n_bins: int = 40,
    block: int = 1,
    number: int = 0,
    n_features: int = 4,
) -> TrialToWrite:
    rng = np.random.default_rng([block, number, n_bins])
    features = rng.standard_normal((n_bins, n_features)).astype(np.float32)
    return TrialToWrite(features, labels, "bah", block, number)


@pytest.fixture
def trial() -> Callable[..., TrialToWrite]:
    return make_trial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sessions of three train and two val trials, four features, and a test trial."""
    root = tmp_path / "recordings"
    for day, session in enumerate(SESSIONS):
        train = [make_trial(number=i, n_bins=30 + 10 * day + i) for i in range(3)]
        val = [make_trial(number=i + 3, labels=(2, 2), n_bins=35) for i in range(2)]
        splits = {"train": train, "val": val, "test": [make_trial(number=5)]}
        write_session(root, session, splits)
    return root


@pytest.fixture
def spoil(folder: Path) -> Callable[..., Path]:
    """Change one trial of the first session in place; returns the file."""

    def change(what: Callable[[h5py.Group], None], name: str = "trial_0001") -> Path:
        path = folder / SESSIONS[0] / "data_train.hdf5"
        with h5py.File(path, "r+") as handle:
            what(handle[name])
        return path

    return change


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated recipe ``tiny``; not to be changed."""
    folder = tmp_path_factory.mktemp("generated") / "tiny"
    make_synthetic(RECIPES["tiny"], folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t12_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated recipe ``t12_tiny``; not to be changed."""
    folder = tmp_path_factory.mktemp("generated") / "t12_tiny"
    make_synthetic(RECIPES["t12_tiny"], folder)
    return folder
