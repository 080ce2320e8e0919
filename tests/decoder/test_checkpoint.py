"""Checkpoints: exact round trip, detection of damage, fallback to the one before."""

from pathlib import Path

import pytest
import torch

from decoder.checkpoint import Checkpoint, load_newest, save_checkpoint


def make(step: int) -> Checkpoint:
    return Checkpoint({"w": torch.full((3, 2), 0.1 * step)}, {"step": step, "x": [0.1, 1e-300]})


def test_a_saved_checkpoint_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, make(7))
    loaded, remarks = load_newest(tmp_path)
    assert loaded is not None and remarks == []
    assert torch.equal(loaded.tensors["w"], make(7).tensors["w"])
    assert loaded.values == make(7).values


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, make(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-{step:09d}.{kind}" for step in (2, 3) for kind in ("json", "safetensors")
    ]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "one byte changed", "emptied"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, make(step))
    path = tmp_path / f"step-{2:09d}{suffix}"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:middle],
            "one byte changed": content[:middle]
            + bytes([content[middle] ^ 1])
            + content[middle + 1 :],
            "emptied": b"",
        }[damage]
    )
    loaded, remarks = load_newest(tmp_path)
    assert loaded is not None and loaded.values["step"] == 1
    assert len(remarks) == 1 and str(path.with_suffix("")) in remarks[0]


def test_tensors_without_their_json_are_not_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, make(1))
    (tmp_path / f"step-{1:09d}.json").unlink()
    assert load_newest(tmp_path) == (None, [])


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_newest(tmp_path) == (None, [])
    assert load_newest(tmp_path / "nowhere") == (None, [])


def test_a_checkpoint_of_another_format_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoder.checkpoint.FORMAT", 1)
    save_checkpoint(tmp_path, 1, make(1))
    monkeypatch.undo()
    loaded, [remark] = load_newest(tmp_path)
    assert loaded is None and "format 1" in remark


def test_a_checkpoint_that_was_read_outlives_its_files(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, make(7))
    loaded, _ = load_newest(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    assert loaded is not None and torch.equal(loaded.tensors["w"], make(7).tensors["w"])
