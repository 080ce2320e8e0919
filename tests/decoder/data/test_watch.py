"""Bad recordings end a pack with an error; a genuine divergence is a result."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.data import files
from decoder.data.checksums import identity_of
from decoder.data.prepare import prepare
from decoder.data.store import Dataset, open_dataset
from decoder.errors import DataError, StoreDamagedError
from decoder.pack import Pack, Progress, Run
from decoder.train import train

SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 2,
    "model.n_units": 8,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "train.n_steps": 6,
    "train.eval_every_steps": 3,
}


def make_pack(*arms: Mapping[str, Any]) -> Pack:
    configs = [resolve(override(DecoderConfig(), {**SMALL, **arm}, "test")) for arm in arms]
    return Pack("pack", 5, tuple(Run(run_id(c, 5, "data"), c) for c in configs))


PAIR = ({}, {"optim.lr_max": 0.002})


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(files, "RACY_SECONDS", -1.0)
    return prepare("synthetic:tiny", None, None, tmp_path / "datasets")


def results(events: list[Progress]) -> list[tuple[str, int]]:
    return [(r.status, r.n_steps_done) for event in events for r in event.finished]


def damage(dataset: Dataset, split: str, value: float) -> None:
    """Overwrite every feature of a split in its file."""
    path = dataset.path / f"{split}_features.f32"
    content = np.full(path.stat().st_size // 4, value, "<f4").tobytes()
    with path.open("r+b") as file:
        file.write(content)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("value", [float("nan"), 0.0, 1e38])
def test_features_that_change_while_a_pack_trains_give_no_result(
    split: str, value: float, dataset: Dataset
) -> None:
    training = train(make_pack(*PAIR), dataset, device="cpu")
    seen = [next(training)]
    damage(dataset, split, value)
    with pytest.raises(StoreDamagedError, match=f"{split}_features.f32 differs"):
        seen += list(training)
    assert results(seen) == []


def test_damage_between_opening_and_training_gives_no_event_at_all(dataset: Dataset) -> None:
    damage(dataset, "train", 0.0)
    with pytest.raises(StoreDamagedError):
        next(train(make_pack(*PAIR), dataset, device="cpu"))


@pytest.mark.parametrize("policy", ["end", "skip"])
def test_damage_that_leaves_no_trace_in_the_file_system_is_found_by_its_nan(
    policy: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when memory or a disk fails: nothing changes but the bytes."""
    assert dataset.files is not None
    path = dataset.path / "train_features.f32"
    damage(dataset, "train", float("nan"))
    hide(dataset)
    arms = [{**arm, "optim.on_non_finite": policy} for arm in PAIR]
    folder = tmp_path / "checkpoints"
    what = r"train trial \d+, .* of session t15.*NaN"
    with pytest.raises(StoreDamagedError, match=what) as caught:
        list(train(make_pack(*arms), dataset, device="cpu", checkpoint_dir=folder))
    assert path.name in str(caught.value)
    assert dataset.files.looked_unchanged and not folder.exists()


def hide(dataset: Dataset) -> None:
    """Make changed files look as if they were as they are when the store was opened."""
    assert dataset.files is not None
    for file in dataset.files._files:
        file.identity = identity_of(file.path)


def test_finite_damage_at_the_first_step_of_every_run_is_found_by_reading_every_byte(
    dataset: Dataset,
) -> None:
    assert dataset.files is not None
    damage(dataset, "train", 0.5)
    hide(dataset)
    arms = [{**arm, "augment.white_noise_std": 3e38} for arm in PAIR]
    with pytest.raises(StoreDamagedError, match="no run is finite at the first step"):
        list(train(make_pack(*arms), dataset, device="cpu"))


def test_sound_recordings_with_nan_are_a_data_error_that_names_the_trial(dataset: Dataset) -> None:
    spoilt = np.array(dataset.train.features)
    spoilt[:, 3] = np.inf
    split = type(dataset.train)(**{**vars_of(dataset.train), "features": spoilt})
    other = type(dataset)(**{**vars_of(dataset), "train": split, "files": None})
    with pytest.raises(DataError, match=r"session t15.*, in feature 3 \(") as caught:
        list(train(make_pack(*PAIR), other, device="cpu"))
    assert caught.value.exit_code == 3


def vars_of(value: object) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arm", "n_steps_done"), [({"augment.white_noise_std": 3e38}, 0), ({"optim.lr_max": 1e30}, 1)]
)
def test_every_run_may_diverge_at_the_start_on_sound_recordings(
    arm: Mapping[str, Any], n_steps_done: int, dataset: Dataset
) -> None:
    fast = {"optim.lr_warmup_steps": 0, "optim.lr_max_day": 1e30, **arm}
    pack = make_pack(fast, {**fast, "optim.epsilon": 0.01})
    found = results(list(train(pack, dataset, device="cpu")))
    assert found == [("diverged", n_steps_done)] * 2


def test_a_store_that_is_touched_while_a_pack_trains_changes_no_result(dataset: Dataset) -> None:
    expected = list(train(make_pack(*PAIR), dataset, device="cpu"))
    training = train(make_pack(*PAIR), open_dataset(dataset.path), device="cpu")
    seen = [next(training)]
    os.utime(dataset.path / "train_features.f32")
    seen += list(training)
    assert results(seen) == results(expected) == [("ok", 6)] * 2
    assert [e.latest for e in seen] == [e.latest for e in expected]


def test_no_checkpoint_is_written_once_features_have_changed(
    dataset: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    pack = make_pack(*PAIR)
    training = train(
        pack, dataset, device="cpu", checkpoint_dir=folder, checkpoint_every_seconds=0.0
    )
    next(training)  # evaluated at step 3, saved up to step 2
    before = {path.name for path in folder.iterdir()}
    damage(dataset, "train", 0.5)
    with pytest.raises(StoreDamagedError):
        list(training)
    assert {path.name for path in folder.iterdir()} == before != set()
