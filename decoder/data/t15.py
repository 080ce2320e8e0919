"""Reads and validates recordings in the T15 layout: one HDF5 file per session and split.

``<folder>/<session>/data_{train,val,test}.hdf5`` holds one group ``trial_%04d`` per trial. Files
are read in two passes, headers first and then features trial by trial, so that no more than one
trial is ever held in memory. Every problem found in either pass is collected in a `Problems`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from decoder.config import did_you_mean
from decoder.errors import DataError
from decoder.phonemes import BLANK, N_CLASSES

BIN_MS = 20
FEATURE_CLIP = 10.0  # z-scored features are clipped from above

# What h5py raises on truncated or altered files, by the byte that is wrong.
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


class Problems:
    """Collects what is wrong with a data set, to be raised once.

    Attributes:
        n_found: problems added so far, those beyond the limit included.
    """

    def __init__(self, limit: int = 20) -> None:
        self.n_found = 0
        self._limit = limit
        self._kept: list[str] = []

    def add(self, *texts: str) -> None:
        """Add problems, each a full sentence that names its file."""
        self.n_found += len(texts)
        self._kept.extend(texts[: max(0, self._limit - len(self._kept))])

    def raise_if_any(self) -> None:
        """Raise `DataError` with the first problems and the number of those left out."""
        if not self.n_found:
            return
        n_more = self.n_found - len(self._kept)
        raise DataError([*self._kept, *([f"and {n_more} more"] if n_more else [])])


@dataclass(frozen=True, eq=False)
class TrialHeader:
    """Everything of a trial but its features.

    Attributes:
        name: its group in the file.
        n_bins: bins of 20 ms.
        n_features: features a bin.
        labels: (L,) int64, phoneme classes 1 to 40.
        block: block within the session.
        number: trial within the block.
    """

    name: str
    n_bins: int
    n_features: int
    labels: NDArray[np.int64]
    block: int
    number: int


@dataclass(frozen=True, eq=False)
class TrialFile:
    """The sound trials of one session and split, in the order of the file."""

    path: Path
    trials: tuple[TrialHeader, ...]


@dataclass(frozen=True, eq=False)
class T15Index:
    """Headers of a whole data set.

    Attributes:
        sessions: names; the position of a name is the day.
        n_features: features a bin, equal in all trials listed here.
        train: one file per session.
        val: one per session, without trials where the session has no such file.
    """

    sessions: tuple[str, ...]
    n_features: int
    train: tuple[TrialFile, ...]
    val: tuple[TrialFile, ...]


def split_path(folder: Path, session: str, split: str) -> Path:
    """Where a split of a session lies."""
    return folder / session / f"data_{split}.hdf5"


def session_names(folder: Path, sessions: Sequence[str] | None) -> tuple[str, ...]:
    """The sessions to read, in day order.

    Args:
        folder: a folder in the T15 layout.
        sessions: names in day order; None takes every session found, sorted.

    Raises:
        DataError: the folder or a session is missing, has no train file, or is named twice.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; data.path must name a folder in the T15 layout "
            "(t15.YYYY.MM.DD/data_train.hdf5) or synthetic:NAME"
        )
    found = sorted(
        entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and any(entry.glob("data_*.hdf5"))
    )
    names = tuple(found if sessions is None else sessions)
    if not names:
        raise DataError(
            f"{folder}: holds no session; expected folders such as t15.2023.08.11 "
            "with data_train.hdf5 and data_val.hdf5 inside"
        )
    problems = Problems()
    for name, count in Counter(names).items():
        if count > 1:
            positions = ", ".join(str(i) for i, other in enumerate(names) if other == name)
            problems.add(
                f"data.sessions: session '{name}' is listed {count} times (positions {positions}); "
                "keep one, or one day would be trained as two"
            )
        if name not in found:
            problems.add(f"{folder / name}: no such session{did_you_mean(name, found)}")
        elif not split_path(folder, name, "train").is_file():
            problems.add(
                f"{split_path(folder, name, 'train')}: no such file, so session '{name}' has no "
                "train trials; leave it out of data.sessions"
            )
    problems.raise_if_any()
    return names


def source_files(folder: Path, sessions: Sequence[str]) -> list[Path]:
    """The train and val files that exist, in day order."""
    paths = [split_path(folder, name, split) for name in sessions for split in ("train", "val")]
    return [path for path in paths if path.is_file()]


def read_index(folder: Path, sessions: Sequence[str], problems: Problems) -> T15Index:
    """Read and check all headers: structure, types, shapes, labels, overlap of the splits.

    Args:
        folder: a folder in the T15 layout.
        sessions: from `session_names`.
        problems: receives everything wrong; trials with a problem are left out of the result.
    """
    train, val = [], []
    for session in sessions:
        train.append(_read_headers(split_path(folder, session, "train"), session, problems))
        val.append(_read_headers(split_path(folder, session, "val"), session, problems))
        _check_overlap(train[-1], val[-1], problems)
    n_features = _check_feature_counts([*train, *val], problems)
    if not problems.n_found and not any(file.trials for file in val):
        problems.add(
            f"{folder}: none of the {len(sessions)} sessions has a val trial, so nothing can be "
            "evaluated; at least one data_val.hdf5 is needed"
        )
    return T15Index(tuple(sessions), n_features, tuple(train), tuple(val))


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
                    problems.add(f"{where} cannot be read: {_one_line(error)}; copy the file again")
                    continue
                if columns is not None:
                    features = features[:, columns]
                finite = np.isfinite(features)
                if not finite.all():
                    problems.add(f"{where} has {_describe_not_finite(finite, columns)}")
                    continue
                yield trial, features
    except OSError as error:
        problems.add(_unreadable(file.path, error))


def count_trials(path: Path, problems: Problems) -> int:
    """Number of groups of a file that is not trained on; 0 where there is no such file."""
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
    if not path.is_file():  # a session without val trials; `session_names` wants the others
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
                        f"{path}: {name}: cannot be read: {_one_line(error)}; copy the file again"
                    )
    except _H5_ERRORS as error:
        problems.add(_unreadable(path, error))
    if not trials and problems.n_found == n_before and path.name == "data_train.hdf5":
        problems.add(f"{path}: holds no train trials; leave session '{session}' out")
    return TrialFile(path, tuple(trials))


def _trial_names(handle: Any, path: Path, problems: Problems) -> list[str]:
    """The groups of a file in numeric order; anything else in it, and gaps, are problems."""
    found = set(handle)
    expected = [f"trial_{i:04d}" for i in range(len(found))]
    missing = [name for name in expected if name not in found]
    if missing:
        strange = sorted(found - set(expected))
        problems.add(
            f"{path}: {len(found)} groups should be named {expected[0]} to {expected[-1]}, but "
            f"{missing[0]} is missing and {strange[0]!r} is there"
        )
    return [name for name in expected if name in found]


def _read_header(group: Any, name: str, session: str) -> TrialHeader:
    if not isinstance(group, h5py.Group):
        raise DataError("is no group; each trial must be a group with its datasets inside")
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
        problems.append(f"belongs to session '{own_session}', but lies in the folder '{session}'")
    labels = class_ids[()].astype(np.int64)
    problems.extend(_check_labels(labels, seq_len))
    if problems:
        raise DataError(problems)
    return TrialHeader(name, n_bins, n_features, labels[:seq_len], block, number)


def _check_labels(class_ids: NDArray[np.int64], seq_len: int) -> list[str]:
    """What is wrong with the zero-padded (500,) classes of a trial of `seq_len` phonemes."""
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
            f"seq_len is {seq_len}, but seq_class_ids is not zero from there on: it has a class "
            f"at position {seq_len + int(np.flatnonzero(padding)[-1])}"
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
        raise DataError(f"attribute '{name}' must be one whole number, but got {value!r}")
    return int(value.item())


def _check_overlap(train: TrialFile, val: TrialFile, problems: Problems) -> None:
    """Refuse a trial, known by block and number, that is in both splits of its session."""
    trained = {(trial.block, trial.number): trial.name for trial in train.trials}
    for trial in val.trials:
        name = trained.get((trial.block, trial.number))
        if name is not None:
            problems.add(
                f"block {trial.block} trial {trial.number} is in both splits: {train.path}: {name} "
                f"and {val.path}: {trial.name}; remove one"
            )


def _check_feature_counts(files: Sequence[TrialFile], problems: Problems) -> int:
    """The number of features most trials have; files with other trials are problems."""
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


def _describe_not_finite(finite: NDArray[np.bool_], columns: NDArray[np.int64] | None) -> str:
    """Which features of a (T, F) mask are not finite, by their number in the file."""
    counts = (~finite).sum(axis=0)
    where = np.flatnonzero(counts)
    shown = ", ".join(
        f"{i if columns is None else columns[i]} ({counts[i]} bins)" for i in where[:5]
    )
    more = f" and {len(where) - 5} more features" if len(where) > 5 else ""
    return f"{counts.sum()} values that are NaN or infinite, in feature {shown}{more}"


def _unreadable(path: Path, error: BaseException) -> str:
    return (
        f"{path}: cannot be read as HDF5: {_one_line(error)}; the file is truncated, altered or "
        "of another kind: copy it again"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
