"""Reads and validates recordings in the T15 layout: one HDF5 file per session and split.

``<folder>/<session>/data_{train,val,test}.hdf5`` holds one group ``trial_%04d`` per trial. Files
are read in two passes, first the headers and then the features trial by trial, so that only one
trial is in memory at a time. Every problem of both passes is collected in a `Problems`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from decoder.data.recordings import (
    Index,
    Problems,
    TrialFile,
    TrialHeader,
    describe_not_finite,
    make_index,
    name_features,
    one_line,
)
from decoder.errors import DataError
from decoder.phonemes import BLANK, N_CLASSES

FEATURE_CLIP = 10.0  # z-scored features are clipped from above

# The errors that h5py raises on truncated or altered files, depending on the wrong byte.
_H5_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
)


def split_path(folder: Path, session: str, split: str) -> Path:
    """The file of a split of a session."""
    return folder / session / f"data_{split}.hdf5"


def find_sessions(folder: Path) -> list[str]:
    """The sessions of a folder, sorted; none if it is not in this layout."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and any(entry.glob("data_*.hdf5"))
    )


def label_digest(folder: Path) -> None:
    """None, because the recordings of this layout hold their labels."""


def read_index(folder: Path, sessions: Sequence[str], problems: Problems) -> Index:
    """Read and check all headers: structure, types, shapes, labels, overlap of the splits.

    Args:
        folder: a folder in the T15 layout.
        sessions: names in day order.
        problems: receives all problems; trials with a problem are left out of the result.
    """
    train, val = [], []
    for session in sessions:
        train.append(_read_headers(split_path(folder, session, "train"), session, problems))
        val.append(_read_headers(split_path(folder, session, "val"), session, problems))
        _check_overlap(train[-1], val[-1], problems)
    n_features = _check_feature_counts([*train, *val], problems)
    return make_index(folder, sessions, n_features, train, val, problems)


def iterate_features(
    file: TrialFile, columns: NDArray[np.int64] | None, problems: Problems
) -> Iterator[tuple[TrialHeader, NDArray[np.float32]]]:
    """Read the features of a file's trials, one trial at a time.

    Args:
        file: from `read_index`.
        columns: (F,) features to keep, in order; None keeps all.
        problems: receives unreadable trials and values that are not finite.

    Yields:
        The header and (T, F) float32 of each sound trial.
    """
    if not file.trials:
        return
    try:
        with h5py.File(file.path, "r", locking=False) as handle:
            for trial in file.trials:
                where = f"{file.path}: {trial.name}: input_features"
                try:
                    features = handle[trial.name]["input_features"][()]
                except _H5_ERRORS as error:
                    problems.add(f"{where} cannot be read: {one_line(error)}; copy the file again")
                    continue
                if columns is not None:
                    features = features[:, columns]
                finite = np.isfinite(features)
                if not finite.all():
                    text = f"{where} has {describe_not_finite(finite, columns)}"
                    problems.add_alike(text, name_features(finite, columns), file.path)
                    continue
                yield trial, features
    except OSError as error:
        problems.add(_unreadable(file.path, error))


def count_trials(path: Path, problems: Problems) -> int:
    """Number of groups of a file that is not trained on; 0 if there is no such file."""
    if not path.is_file():
        return 0
    try:
        with h5py.File(path, "r", locking=False) as handle:
            return len(handle)
    except _H5_ERRORS as error:
        problems.add(_unreadable(path, error))
        return 0


def _read_headers(path: Path, session: str, problems: Problems) -> TrialFile:
    trials: list[TrialHeader] = []
    n_before = problems.n_found
    if not path.is_file():  # a session without val trials; one without train is refused earlier
        return TrialFile(path, ())
    try:
        with h5py.File(path, "r", locking=False) as handle:
            names = _trial_names(handle, path, problems)
            for name in names:
                try:
                    trials.append(_read_header(handle[name], name, session))
                except DataError as error:
                    problems.add(*(f"{path}: {name}: {text}" for text in error.problems))
                except _H5_ERRORS as error:
                    problems.add(
                        f"{path}: {name}: cannot be read: {one_line(error)}; copy the file again"
                    )
    except _H5_ERRORS as error:
        problems.add(_unreadable(path, error))
    if not trials and problems.n_found == n_before and path.name == "data_train.hdf5":
        problems.add(
            f"{path}: holds no train trials; remove session '{session}' from data.sessions"
        )
    return TrialFile(path, tuple(trials))


def _trial_names(handle: Any, path: Path, problems: Problems) -> list[str]:
    """The trial groups of a file in numeric order; gaps and anything else are problems."""
    found = set(handle)
    expected = [f"trial_{i:04d}" for i in range(len(found))]
    missing = [name for name in expected if name not in found]
    if missing:
        strange = sorted(found - set(expected))
        problems.add(
            f"{path}: its {len(found)} groups must be named {expected[0]} to {expected[-1]}, but "
            f"{missing[0]} is missing, and there is {strange[0]!r}"
        )
    return [name for name in expected if name in found]


def _read_header(group: Any, name: str, session: str) -> TrialHeader:
    if not isinstance(group, h5py.Group):
        raise DataError("is not a group; each trial must be a group that holds its datasets")
    features = _dataset(group, "input_features", 2)
    class_ids = _dataset(group, "seq_class_ids", 1)
    transcription = _dataset(group, "transcription", 1)
    problems = []
    if features.dtype != np.float32:
        problems.append(f"input_features must be float32 (T, F), but got {features.dtype}")
    for name_of, dataset in (("seq_class_ids", class_ids), ("transcription", transcription)):
        if dataset.dtype.kind not in "iu":
            problems.append(f"{name_of} must be integers, but got {dataset.dtype}")
    if problems:
        raise DataError(problems)
    n_bins, n_features = features.shape
    n_time_steps, seq_len = _integer(group, "n_time_steps"), _integer(group, "seq_len")
    block, number = _integer(group, "block_num"), _integer(group, "trial_num")
    if n_time_steps != n_bins:
        problems.append(f"n_time_steps is {n_time_steps}, but input_features has {n_bins} bins")
    own_session = group.attrs.get("session")
    if own_session is None:
        problems.append("attribute 'session' is missing")
    elif isinstance(own_session, str) and own_session != session:
        problems.append(f"belongs to session '{own_session}', but is in the folder '{session}'")
    labels = class_ids[()].astype(np.int64)
    problems.extend(_check_labels(labels, seq_len))
    if problems:
        raise DataError(problems)
    return TrialHeader(name, n_bins, n_features, labels[:seq_len], block, number)


def _check_labels(class_ids: NDArray[np.int64], seq_len: int) -> list[str]:
    """The problems of the zero-padded (500,) classes of a trial with `seq_len` phonemes."""
    if not 0 <= seq_len <= len(class_ids):
        return [f"seq_len is {seq_len}, but seq_class_ids holds {len(class_ids)} entries"]
    problems = []
    labels, padding = class_ids[:seq_len], class_ids[seq_len:]
    bad = np.flatnonzero((labels <= BLANK) | (labels >= N_CLASSES))
    if len(bad):
        problems.append(
            f"seq_class_ids has {len(bad)} of {seq_len} labels outside 1 to {N_CLASSES - 1} "
            f"(the first is {labels[bad[0]]} at position {bad[0]}; {BLANK} is the CTC blank)"
        )
    if padding.any():
        problems.append(
            f"seq_len is {seq_len}, but seq_class_ids has a class after it, at position "
            f"{seq_len + int(np.flatnonzero(padding)[-1])}"
        )
    return problems


def _dataset(group: Any, name: str, n_axes: int) -> Any:
    if name not in group:
        raise DataError(f"dataset '{name}' is missing (found: {', '.join(group) or 'nothing'})")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"'{name}' must be a dataset, but is a {type(dataset).__name__.lower()}")
    if dataset.ndim != n_axes:
        raise DataError(f"{name} must have {n_axes} axes, but has shape {dataset.shape}")
    return dataset


def _integer(group: Any, name: str) -> int:
    if name not in group.attrs:
        raise DataError(f"attribute '{name}' is missing")
    value = np.asarray(group.attrs[name])
    if value.size != 1 or value.dtype.kind not in "iuf" or value.item() != int(value.item()):
        raise DataError(f"attribute '{name}' must be one integer, but got {value!r}")
    return int(value.item())


def _check_overlap(train: TrialFile, val: TrialFile, problems: Problems) -> None:
    """Report trials that are in both splits of a session, by their numbers and features."""
    trained = {(trial.block, trial.number): trial for trial in train.trials}
    for trial in val.trials:
        other = trained.get((trial.block, trial.number))
        if other is not None and _same_features(train.path, other, val.path, trial):
            problems.add(
                f"block {trial.block} trial {trial.number} is in both splits: {train.path}: "
                f"{other.name} and {val.path}: {trial.name}; remove one"
            )


def _same_features(path: Path, trial: TrialHeader, other_path: Path, other: TrialHeader) -> bool:
    """Whether two trials hold the same values; an unreadable one counts as the same."""
    if (trial.n_bins, trial.n_features) != (other.n_bins, other.n_features):
        return False
    try:
        with h5py.File(path, "r", locking=False) as one:
            values = one[trial.name]["input_features"][()]
        with h5py.File(other_path, "r", locking=False) as two:
            return np.array_equal(values, two[other.name]["input_features"][()], equal_nan=True)
    except _H5_ERRORS:
        return True


def _check_feature_counts(files: Sequence[TrialFile], problems: Problems) -> int:
    """The number of features of most trials; files with other trials are problems."""
    counts: Counter[int] = Counter(t.n_features for file in files for t in file.trials)
    if not counts:
        return 0
    usual = counts.most_common(1)[0][0]
    like = next(f"{f.path}: {t.name}" for f in files for t in f.trials if t.n_features == usual)
    for file in files:
        odd = [trial for trial in file.trials if trial.n_features != usual]
        if odd:
            more = f" (and {len(odd) - 1} more trials)" if len(odd) > 1 else ""
            problems.add(
                f"{file.path}: {odd[0].name}{more} has {odd[0].n_features} features, but "
                f"{counts[usual]} of {counts.total()} trials have {usual}, among them {like}"
            )
    return usual


def _unreadable(path: Path, error: BaseException) -> str:
    return (
        f"{path}: cannot be read as HDF5: {one_line(error)}; the file is truncated, altered or "
        "of another kind: copy it again"
    )
