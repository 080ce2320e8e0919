"""The T15 reader: its results, and every error it must report."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from decoder.data import t15
from decoder.data.layouts import find_layout, session_names
from decoder.data.recordings import Index, Problems
from decoder.data.writers import write_session
from decoder.errors import DataError

FIRST, SECOND = "t15.2023.08.11", "t15.2023.08.13"


def read_everything(folder: Path, columns: Any = None) -> Index:
    """Both passes over all sessions, raising their problems."""
    problems = Problems()
    index = t15.read_index(folder, session_names(folder, find_layout(folder)), problems)
    for file in (*index.train, *index.val):
        for _ in t15.iterate_features(file, columns, problems):
            pass
    problems.raise_if_any()
    return index


def complaints(folder: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read_everything(folder)
    assert caught.value.exit_code == 3
    return caught.value.problems


def replace(group: h5py.Group, name: str, value: Any) -> None:
    del group[name]
    group.create_dataset(name, data=value)


def set_attribute(name: str, value: Any) -> Callable[[h5py.Group], None]:
    return lambda group: group.attrs.__setitem__(name, value)


def test_written_trials_are_read_back(folder: Path, trial: Callable[..., Any]) -> None:
    index = read_everything(folder)
    assert index.sessions == (FIRST, SECOND)
    assert index.n_features == 4
    first = index.train[0].trials[2]
    assert (first.name, first.n_bins, first.block, first.number) == ("trial_0002", 32, 1, 2)
    assert first.labels.tolist() == [7, 1, 40]
    (_, features), *_ = t15.iterate_features(index.train[1], None, Problems())
    np.testing.assert_array_equal(features, trial(n_bins=40).features)


def test_columns_are_read_in_the_requested_order(folder: Path) -> None:
    index = read_everything(folder)
    (_, everything), *_ = t15.iterate_features(index.train[0], None, Problems())
    (_, some), *_ = t15.iterate_features(index.train[0], np.array([3, 0]), Problems())
    np.testing.assert_array_equal(some, everything[:, [3, 0]])


def test_sessions_are_found_sorted_and_used_in_the_given_order(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / "notes").mkdir()
    assert session_names(folder, find_layout(folder)) == (FIRST, SECOND)
    assert session_names(folder, find_layout(folder), (SECOND, FIRST)) == (SECOND, FIRST)


def test_session_without_val_file_is_accepted(folder: Path) -> None:
    (folder / FIRST / "data_val.hdf5").unlink()
    assert [len(file.trials) for file in read_everything(folder).val] == [0, 2]


def test_recordings_without_any_val_trial_are_refused(folder: Path) -> None:
    for session in (FIRST, SECOND):
        (folder / session / "data_val.hdf5").unlink()
    assert "none of the 2 sessions has a trial to validate on" in complaints(folder)[0]


def test_unknown_session_suggests_the_nearest(folder: Path) -> None:
    with pytest.raises(DataError, match=r"holds no session 't15\.2023\.08\.12'; did you mean 't15"):
        session_names(folder, find_layout(folder), ("t15.2023.08.12",))


def test_session_listed_twice_is_named_with_its_positions(folder: Path) -> None:
    with pytest.raises(DataError, match=rf"'{FIRST}' is listed 2 times \(positions 0, 2\)"):
        session_names(folder, find_layout(folder), (FIRST, SECOND, FIRST))


def test_session_without_train_file_is_refused(folder: Path) -> None:
    (folder / SECOND / "data_train.hdf5").unlink()
    with pytest.raises(DataError, match=f"session '{SECOND}' has no train trials"):
        session_names(folder, find_layout(folder))


def test_train_file_without_trials_is_refused(folder: Path) -> None:
    write_session(folder, SECOND, {"train": []})
    (found,) = complaints(folder)
    assert str(folder / SECOND / "data_train.hdf5") in found
    assert f"session '{SECOND}'" in found and "data.sessions" in found


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda g: g.pop("seq_class_ids"), "dataset 'seq_class_ids' is missing"),
        (lambda g: g.pop("transcription"), "dataset 'transcription' is missing"),
        (lambda g: g.attrs.pop("n_time_steps"), "attribute 'n_time_steps' is missing"),
        (lambda g: g.attrs.pop("trial_num"), "attribute 'trial_num' is missing"),
        (lambda g: g.attrs.pop("session"), "attribute 'session' is missing"),
        (set_attribute("session", SECOND), f"belongs to session '{SECOND}', but is in"),
        (set_attribute("n_time_steps", 99), "n_time_steps is 99, but input_features has 31 bins"),
        (set_attribute("seq_len", 501), "seq_len is 501, but seq_class_ids holds 500 entries"),
        (set_attribute("seq_len", -1), "seq_len is -1"),
        (set_attribute("seq_len", 2), "a class after it, at position 2"),
        (set_attribute("block_num", 1.5), "attribute 'block_num' must be one integer"),
        (
            lambda g: replace(g, "input_features", np.zeros((31, 4))),
            "input_features must be float32 (T, F), but got float64",
        ),
        (
            lambda g: replace(g, "input_features", np.zeros(31, np.float32)),
            "input_features must have 2 axes, but has shape (31,)",
        ),
        (
            lambda g: replace(g, "seq_class_ids", np.zeros(500)),
            "seq_class_ids must be integers, but got float64",
        ),
    ],
)
def test_damaged_trial_is_named(
    change: Callable[[h5py.Group], None],
    complaint: str,
    folder: Path,
    spoil: Callable[..., Path],
) -> None:
    path = spoil(change)
    (found,) = complaints(folder)
    assert found.startswith(f"{path}: trial_0001: ")
    assert complaint in found


@pytest.mark.parametrize(("label", "position"), [(41, 0), (0, 1), (-3, 2)])
def test_label_outside_the_classes_is_refused(
    label: int, position: int, folder: Path, spoil: Callable[..., Path]
) -> None:
    def change(group: h5py.Group) -> None:
        group["seq_class_ids"][position] = label

    path = spoil(change)
    assert complaints(folder) == (
        f"{path}: trial_0001: seq_class_ids has 1 of 3 labels outside 1 to 40 (the first is "
        f"{label} at position {position}; 0 is the CTC blank)",
    )


def test_values_that_are_not_finite_are_counted_by_feature(
    folder: Path, spoil: Callable[..., Path]
) -> None:
    def change(group: h5py.Group) -> None:
        group["input_features"][3:5, 2] = np.nan
        group["input_features"][7, 3] = -np.inf

    path = spoil(change)
    assert complaints(folder) == (
        f"{path}: trial_0001: input_features has 3 values that are NaN or infinite, "
        "in feature 2 (2 bins), 3 (1 bins)",
    )
    with pytest.raises(DataError, match=r"has 1 values that are NaN or infinite, in feature 3"):
        read_everything(folder, columns=np.array([3, 0]))
    read_everything(folder, columns=np.array([0, 1]))  # without the damaged features


def test_feature_counts_must_agree_between_sessions(
    folder: Path, trial: Callable[..., Any]
) -> None:
    write_session(folder, SECOND, {"val": [trial(n_features=6, number=n) for n in (8, 9)]})
    (found,) = complaints(folder)
    assert f"{SECOND}/data_val.hdf5: trial_0000 (and 1 more trials) has 6 features" in found
    assert "8 of 10 trials have 4, among them" in found


def test_trial_in_both_splits_names_both_places(folder: Path, trial: Callable[..., Any]) -> None:
    write_session(folder, SECOND, {"val": [trial(number=9), trial(number=2, n_bins=42)]})
    (found,) = complaints(folder)
    assert found.startswith("block 1 trial 2 is in both splits: ")
    assert f"{SECOND}/data_train.hdf5: trial_0002 and" in found
    assert f"{SECOND}/data_val.hdf5: trial_0001" in found


def test_trials_of_one_number_with_other_features_are_no_leak(
    folder: Path, trial: Callable[..., Any]
) -> None:
    write_session(folder, SECOND, {"val": [trial(number=9), trial(number=2, n_bins=41)]})
    assert len(read_everything(folder).val[1].trials) == 2
    same_length = trial(number=2, n_bins=42)
    altered = dataclasses.replace(same_length, features=same_length.features + 1)
    write_session(folder, SECOND, {"val": [trial(number=9), altered]})
    assert len(read_everything(folder).val[1].trials) == 2


def test_one_damaged_feature_in_many_trials_and_files_is_one_complaint_with_counts(
    folder: Path,
) -> None:
    for session, n_trials in ((FIRST, 3), (SECOND, 2)):
        with h5py.File(folder / session / "data_train.hdf5", "r+") as handle:
            for number in range(n_trials):
                handle[f"trial_{number:04d}"]["input_features"][1, 2] = np.nan
    with h5py.File(folder / SECOND / "data_val.hdf5", "r+") as handle:
        handle["trial_0000"]["input_features"][0, 3] = np.inf
    first, other = complaints(folder)
    assert f"{FIRST}/data_train.hdf5: trial_0000: input_features has 1 values" in first
    assert first.endswith("in feature 2 (1 bins); the same in 4 more trials, of 2 files in all")
    assert "data_val.hdf5: trial_0000" in other and "in feature 3" in other
    assert "more trials" not in other


def test_gap_in_the_trials_is_refused(folder: Path) -> None:
    path = folder / FIRST / "data_train.hdf5"
    with h5py.File(path, "r+") as handle:
        handle.move("trial_0001", "trial_0007")
    (found,) = complaints(folder)
    assert str(path) in found and "trial_0001 is missing" in found and "'trial_0007'" in found


def test_all_problems_are_raised_together_up_to_a_limit(folder: Path) -> None:
    for session in (FIRST, SECOND):
        with h5py.File(folder / session / "data_train.hdf5", "r+") as handle:
            for group in handle.values():
                group.attrs["n_time_steps"] = 1
    assert len(complaints(folder)) == 6
    problems = Problems(limit=2)
    problems.add("one")
    problems.add("two", "three", "four")
    with pytest.raises(DataError) as caught:
        problems.raise_if_any()
    assert caught.value.problems == ("one", "two", "and 2 more")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file_is_a_data_error(share: float, folder: Path) -> None:
    path = folder / FIRST / "data_train.hdf5"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert complaints(folder)[0].startswith(f"{path}: cannot be read as HDF5: ")


def test_no_flipped_bit_causes_a_traceback(folder: Path) -> None:
    path = folder / FIRST / "data_train.hdf5"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for position in rng.integers(0, len(content), 120):
        altered = bytearray(content)
        altered[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        try:
            read_everything(folder)
        except DataError as error:
            n_refused += 1
            assert str(path) in error.problems[0]
    assert n_refused > 5


def test_test_split_is_only_counted(folder: Path) -> None:
    problems = Problems()
    assert t15.count_trials(folder / FIRST / "data_test.hdf5", problems) == 1
    assert t15.count_trials(folder / FIRST / "nothing.hdf5", problems) == 0
    assert not problems.n_found
    (folder / FIRST / "data_test.hdf5").write_bytes(b"no HDF5")
    assert t15.count_trials(folder / FIRST / "data_test.hdf5", problems) == 0
    assert problems.n_found == 1
