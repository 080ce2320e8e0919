"""What is remarked on recordings that can be trained on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from decoder.config import DecoderConfig, override
from decoder.data.alignment import check_trainable
from decoder.data.prepare import prepare
from decoder.data.writers import TrialToWrite, write_session

FIRST, SECOND = "t15.2023.08.11", "t15.2023.08.13"


@pytest.fixture
def config() -> DecoderConfig:
    return override(DecoderConfig(), {"data.days_per_batch": 1})


def test_sound_recordings_have_no_remark(
    folder: Path, tmp_path: Path, config: DecoderConfig
) -> None:
    assert check_trainable(prepare(str(folder), None, None, tmp_path / "s"), config) == ()


def test_what_is_left_out_not_evaluated_or_clipped_is_remarked_on_with_its_numbers(
    folder: Path, tmp_path: Path, trial: Callable[..., TrialToWrite], config: DecoderConfig
) -> None:
    (folder / FIRST / "data_val.hdf5").unlink()
    many = [trial(number=100 + i, n_bins=40) for i in range(150)]
    clipped = trial(number=300, n_bins=40)
    clipped.features[:] = np.float32(10.0)
    short = trial(number=301, n_bins=17)  # one patch for three labels
    empty = [trial(number=302 + i, labels=()) for i in range(2)]
    write_session(folder, SECOND, {"train": [*many, clipped, short, *empty]})
    dataset = prepare(str(folder), None, None, tmp_path / "s")
    without_val, left_out, too_long, limits = check_trainable(dataset, config)
    assert without_val.startswith("1 of 2 sessions have no validation trials")
    assert left_out.startswith("2 training and 0 validation trials have an empty target")
    assert too_long.startswith("1 training and 0 validation targets are longer")
    assert too_long.endswith("are left out") and "14 bins every 4" in too_long
    n_values = dataset.train.features.size + dataset.val.features.size
    assert limits.startswith(f"{40 * 4 / n_values:.2%} of the feature values are clipped")
    kept = override(config, {"loss.zero_infinity": True})
    assert check_trainable(dataset, kept)[2].endswith("have no loss")
