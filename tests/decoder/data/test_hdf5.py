"""What HDF5 files may not hold: values elsewhere, or far more than they store."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from decoder.data.check import check
from decoder.errors import DataError

FIRST = "t15.2023.08.11"


def features_of(**arguments: Any) -> Callable[[h5py.Group], None]:
    """Replace the features of a trial by another data set."""

    def change(group: h5py.Group) -> None:
        del group["input_features"]
        group.create_dataset("input_features", **arguments)

    return change


def linked(link: Any) -> Callable[[h5py.Group], None]:
    def change(group: h5py.Group) -> None:
        del group["input_features"]
        group["input_features"] = link

    return change


def virtual(group: h5py.Group) -> None:
    del group["input_features"]
    layout = h5py.VirtualLayout((31, 4), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(31, 4))
    group.create_virtual_dataset("input_features", layout)


def filtered(group: h5py.Group) -> None:
    """Features in one chunk of a filter that no one has."""
    del group["input_features"]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((31, 4))
    layout.set_filter(32_111, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((31, 4))
    made = h5py.h5d.create(group.id, b"input_features", h5py.h5t.IEEE_F32LE, space, layout)
    made.write_direct_chunk((0, 0), bytes(31 * 4 * 4))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (linked(h5py.SoftLink("/trial_0000/input_features")), "is a soft link"),
        (linked(h5py.SoftLink("/nowhere")), "is a soft link"),
        (linked(h5py.ExternalLink("other.h5", "/x")), "is a link to another file"),
        (
            features_of(shape=(31, 4), dtype="f4", external=[("/etc/passwd", 0, 496)]),
            "keeps its values in another file",
        ),
        (virtual, "is a virtual data set"),
        (filtered, "is compressed with the filter 32111"),
        (features_of(shape=(10**12, 4), dtype="f4", chunks=(1000, 4)), "16,000,000,000,000 bytes"),
        (features_of(shape=(31, 4), dtype="f4"), "declares 496 bytes, but 0 are stored"),
        (features_of(shape=(31, 4), dtype="f4", chunks=(8, 4)), "declares 4 chunks, but 0"),
        (
            features_of(data=np.zeros((10**7, 4), "f4"), chunks=(10**6, 4), compression="gzip"),
            "declare 160,00",
        ),
        (features_of(data=np.zeros((31, 4), [("a", "f4"), ("b", "i4")])), "must be float32"),
        (features_of(data=np.full((31, 4), b"abc")), "must be float32 (T, F), but got |S3"),
        (features_of(data=h5py.Empty("f4")), "must have 2 axes, but has shape None"),
    ],
)
def test_features_that_are_not_stored_in_the_file_are_refused(
    change: Callable[[h5py.Group], None], complaint: str, folder: Path, spoil: Callable[..., Path]
) -> None:
    path = spoil(change)
    start = time.process_time()
    with pytest.raises(DataError) as caught:
        check(folder)
    assert time.process_time() - start < 2
    (found,) = caught.value.problems
    assert found.startswith(f"{path}: trial_0001: ") and complaint in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq_len", np.nan),
        ("seq_len", np.inf),
        ("seq_len", "3"),
        ("block_num", 2**62),
        ("block_num", np.arange(3)),
        ("trial_num", h5py.Empty("i4")),
        ("session", 3),
        ("session", np.bytes_(b"t15.2000.01.01")),
    ],
)
def test_attribute_of_another_kind_is_named(
    name: str, value: Any, folder: Path, spoil: Callable[..., Path]
) -> None:
    path = spoil(lambda group: group.attrs.__setitem__(name, value))
    with pytest.raises(DataError) as caught:
        check(folder)
    (found,) = caught.value.problems
    assert found.startswith(f"{path}: trial_0001: ") and "cannot be read" not in found


def test_trial_that_is_a_link_to_another_file_is_refused(
    folder: Path, spoil: Callable[..., Path]
) -> None:
    def change(group: h5py.Group) -> None:
        parent = group.parent
        del parent["trial_0001"]
        parent["trial_0001"] = h5py.ExternalLink("other.h5", "/")

    path = spoil(change)
    with pytest.raises(DataError, match="'trial_0001' is a link to another file") as caught:
        check(folder)
    assert str(path) in caught.value.problems[0]


def test_one_trial_under_two_names_is_refused(folder: Path, spoil: Callable[..., Path]) -> None:
    path = spoil(lambda group: group.parent.__setitem__("trial_0003", group))
    with pytest.raises(DataError) as caught:
        check(folder)
    assert caught.value.problems[0].startswith(
        f"{path}: trial_0001 and trial_0003 hold the same features"
    )


def test_copy_of_a_trial_under_another_number_is_refused(
    folder: Path, spoil: Callable[..., Path]
) -> None:
    def change(group: h5py.Group) -> None:
        group.copy(group, group.parent, "trial_0003")
        group.parent["trial_0003"].attrs["trial_num"] = 77

    spoil(change)
    with pytest.raises(DataError, match="trial_0001 and trial_0003 hold the same features"):
        check(folder)


@pytest.mark.parametrize(
    ("value", "is_refused"), [(999.0, False), (-1e6, False), (-1.1e6, True), (1e30, True)]
)
def test_values_that_no_recording_reaches_are_refused(
    value: float, is_refused: bool, folder: Path, spoil: Callable[..., Path]
) -> None:
    path = spoil(lambda group: group["input_features"].__setitem__((5, 2), value))
    if not is_refused:
        assert check(folder).sessions[0].feature_most == abs(np.float32(value))
        return
    with pytest.raises(DataError) as caught:
        check(folder)
    (found,) = caught.value.problems
    assert found.startswith(
        f"{path}: trial_0001: input_features has 1 values beyond ±1e+06, in feature 2 (1 bins)"
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("kind", ["dangling", "loop", "folder", "fifo"])
def test_anything_but_a_file_is_not_taken_for_no_file(kind: str, split: str, folder: Path) -> None:
    path = folder / FIRST / f"data_{split}.hdf5"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("moved.hdf5" if kind == "dangling" else path.name)
    with pytest.raises(DataError) as caught:
        check(folder)
    assert caught.value.problems[0].startswith(f"{path}: ")


@pytest.mark.parametrize(("at", "value"), [(8, 255), (15, 255), (16 + 8, 0xF0), (16 + 15, 255)])
def test_damaged_text_is_refused_before_hdf5_hangs_on_it(at: int, value: int, folder: Path) -> None:
    """HDF5 2.0 never returns from the first of these."""
    path = folder / FIRST / "data_train.hdf5"
    content = bytearray(path.read_bytes())
    content[content.index(b"GCOL") + at] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match="the text stored at byte") as caught:
        check(folder)
    assert caught.value.problems[0].startswith(f"{path}: cannot be read as HDF5: ")


def test_attribute_of_an_unknown_type_is_refused_before_hdf5_crashes_on_it(folder: Path) -> None:
    path = folder / FIRST / "data_train.hdf5"
    content = bytearray(path.read_bytes())
    at = content.index(bytes.fromhex("19 01 01 00 10 00 00 00"))  # text of any length
    content[at + 1] = 0x0F
    path.write_bytes(content)
    with pytest.raises(DataError, match="must be a number or text, but is of another type"):
        check(folder)


def test_random_damage_is_read_or_refused(folder: Path) -> None:
    path = folder / FIRST / "data_train.hdf5"
    sound, draw, endings = path.read_bytes(), random.Random(8), {"read": 0, "refused": 0}
    for _ in range(60):
        content = bytearray(sound)
        for _ in range(draw.choice((1, 2, 8))):
            at = draw.randrange(len(content) - 8)
            n = draw.choice((1, 2, 4, 8))
            content[at : at + n] = draw.choice((bytes(n), b"\xff" * n, draw.randbytes(n)))
        path.write_bytes(content)
        try:
            check(folder)
            endings["read"] += 1
        except DataError as error:
            assert error.exit_code == 3
            endings["refused"] += 1
    assert min(endings.values()) > 5
