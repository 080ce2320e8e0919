"""Recordings, and an ablation that is trained on them once."""

from pathlib import Path

import pytest
from fault_table import Ablation, write_ablation

from decoder.data.synthetic import RECIPES, make_synthetic


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings without a fault; not to be changed."""
    folder = tmp_path_factory.mktemp("sound") / "recordings"
    make_synthetic(RECIPES["tiny"], folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Ablation:
    """Eight runs that nothing disturbed; not to be changed."""
    ablation = write_ablation(tmp_path_factory.mktemp("trained"), sound)
    done = ablation.run()
    assert done.exit_code == 0, done.output
    return ablation
