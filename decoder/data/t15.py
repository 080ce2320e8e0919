"""Reads and validates recordings in the T15 layout: one HDF5 file per session and split.

``<folder>/<session>/data_{train,val,test}.hdf5`` holds one group ``trial_%04d`` per trial. Files
are read in two passes, first the headers and then the features trial by trial, so that only one
trial is in memory at a time. Every problem of both passes is collected in a `Problems`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from decoder.data.hdf5 import (
    H5_ERRORS,
    Room,
    check_heaps,
    integer,
    member,
    stored_dataset,
    text,
    text_if_any,
)
from decoder.data.recordings import (
    Index,
    Problems,
    TrialFile,
    TrialHeader,
    find_flaw,
    is_file,
    make_index,
    one_line,
)
from decoder.errors import DataError
from decoder.phonemes import BLANK, N_CLASSES

FEATURE_CLIP = 10.0  # z-scored features are clipped from above

# The largest magnitude of a feature. The recordings are z-scores, which the release clips at 10;
# other recordings in this layout may hold counts (a bin of 20 ms has 600 samples) or power in µV²
# (1e6 is the square of a millivolt, ten times the largest spikes).
LARGEST_FEATURE = 1e6

_MOST_CHARACTERS = 4096  # of a transcription; the release has room for 500
_LARGEST_CODE = 0x10FFFF


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
        _check_repeats(train[-1], val[-1], problems)
    n_features = _check_feature_counts([*train, *val], problems)
    return make_index(folder, sessions, n_features, train, val, problems)


def read_test(folder: Path, sessions: Sequence[str], problems: Problems) -> tuple[TrialFile, ...]:
    """Read and check the headers of the split without labels; see `read_index`.

    Returns:
        One file per session; it has no trials if the file does not exist.
    """
    files = [
        _read_headers(split_path(folder, session, "test"), session, problems, _read_unlabelled)
        for session in sessions
    ]
    _check_feature_counts(files, problems)
    return tuple(files)


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
                    features = _features(handle, trial)[()]
                except DataError as error:
                    problems.add(f"{where}: {error}")
                    continue
                except H5_ERRORS as error:
                    problems.add(f"{where} cannot be read: {one_line(error)}; copy the file again")
                    continue
                if columns is not None:
                    features = features[:, columns]
                flaw = find_flaw(features, columns, LARGEST_FEATURE)
                if flaw is not None:
                    problems.add_alike(f"{where} has {flaw.text}", flaw.cause, file.path)
                    continue
                yield trial, features
    except OSError as error:
        problems.add(_unreadable(file.path, error))


def count_trials(path: Path, problems: Problems) -> int:
    """Number of groups of a file that is not trained on; 0 if there is no such file."""
    try:
        if not is_file(path):
            return 0
        with h5py.File(path, "r", locking=False) as handle:
            return len(handle)
    except DataError as error:
        problems.add(*error.problems)
        return 0
    except H5_ERRORS as error:
        problems.add(_unreadable(path, error))
        return 0


def _read_headers(
    path: Path,
    session: str,
    problems: Problems,
    read: Callable[[Any, str, str, Room], TrialHeader] | None = None,
) -> TrialFile:
    """The sound trials of a file. read: of one trial; None takes `_read_header`."""
    read = read or _read_header
    trials: list[TrialHeader] = []
    n_before = problems.n_found
    try:
        if not is_file(path):  # without val trials; a session without train is refused earlier
            return TrialFile(path, ())
    except DataError as error:
        problems.add(*error.problems)
        return TrialFile(path, ())
    try:
        check_heaps(path)
        room = Room(path)
        with h5py.File(path, "r", locking=False) as handle:
            names = _trial_names(handle, path, problems)
            for name in names:
                try:
                    trials.append(read(member(handle, name), name, session, room))
                except DataError as error:
                    problems.add(*(f"{path}: {name}: {text}" for text in error.problems))
                except H5_ERRORS as error:
                    problems.add(
                        f"{path}: {name}: cannot be read: {one_line(error)}; copy the file again"
                    )
    except DataError as error:
        problems.add(*(f"{path}: {text}" for text in error.problems))
    except H5_ERRORS as error:
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


def _read_header(group: Any, name: str, session: str, room: Room) -> TrialHeader:
    if not isinstance(group, h5py.Group):
        raise DataError("is not a group; each trial must be a group that holds its datasets")
    features = stored_dataset(group, "input_features", 2, room)
    class_ids = stored_dataset(group, "seq_class_ids", 1, room)
    transcription = stored_dataset(group, "transcription", 1, room)
    problems = []
    if features.dtype != np.float32:
        problems.append(f"input_features must be float32 (T, F), but got {features.dtype}")
    for name_of, dataset in (("seq_class_ids", class_ids), ("transcription", transcription)):
        if dataset.dtype.kind not in "iu":
            problems.append(f"{name_of} must be integers, but got {dataset.dtype}")
    if problems:
        raise DataError(problems)
    n_bins, n_features = features.shape
    n_time_steps, seq_len = integer(group, "n_time_steps"), integer(group, "seq_len")
    block, number = integer(group, "block_num"), integer(group, "trial_num")
    if n_time_steps != n_bins:
        problems.append(f"n_time_steps is {n_time_steps}, but input_features has {n_bins} bins")
    own_session = text(group, "session")
    if own_session != session:
        shown = ascii(own_session[:80])
        problems.append(f"belongs to session {shown}, but is in the folder '{session}'")
    labels = class_ids[()].astype(np.int64)
    problems.extend(_check_labels(labels, seq_len))
    if problems:
        raise DataError(problems)
    spelled = _spelled(transcription[:_MOST_CHARACTERS])
    silence = None if seq_len else ""
    sentence = (text_if_any(group, "sentence_label") or "").strip() or spelled or silence
    return TrialHeader(name, n_bins, n_features, labels[:seq_len], block, number, sentence, spelled)


def _spelled(codes: NDArray[np.integer]) -> str | None:
    """The text of zero-padded character codes; None if there is none."""
    zeros = np.flatnonzero(codes == 0)
    own = codes[: zeros[0]] if len(zeros) else codes
    if not len(own) or own.min() < 0 or own.max() > _LARGEST_CODE:
        return None
    return "".join(map(chr, own.tolist())).strip() or None


def _read_unlabelled(group: Any, name: str, session: str, room: Room) -> TrialHeader:
    if not isinstance(group, h5py.Group):
        raise DataError("is not a group; each trial must be a group that holds its datasets")
    features = stored_dataset(group, "input_features", 2, room)
    n_bins, n_features = features.shape
    problems = []
    if features.dtype != np.float32:
        problems.append(f"input_features must be float32 (T, F), but got {features.dtype}")
    own_session = text(group, "session")
    if own_session != session:
        shown = ascii(own_session[:80])
        problems.append(f"belongs to session {shown}, but is in the folder '{session}'")
    if problems:
        raise DataError(problems)
    block, number = integer(group, "block_num"), integer(group, "trial_num")
    return TrialHeader(name, n_bins, n_features, np.zeros(0, np.int64), block, number)


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


def _check_repeats(train: TrialFile, val: TrialFile, problems: Problems) -> None:
    """Report trials of a session that hold the same features, in one split or in both.

    Features are only read of trials that agree in their length, and in their numbers or labels.
    """
    alike: dict[tuple[object, ...], list[tuple[Path, TrialHeader]]] = defaultdict(list)
    for file in (train, val):
        for trial in file.trials:
            if trial.n_bins:
                alike["number", trial.n_bins, trial.block, trial.number].append((file.path, trial))
                alike["labels", trial.n_bins, trial.labels.tobytes()].append((file.path, trial))
    digests: dict[tuple[Path, str], bytes | None] = {}
    found: dict[tuple[Path, str], str] = {}
    for group in alike.values():
        first: dict[bytes, tuple[Path, TrialHeader]] = {}
        for path, trial in group if len(group) > 1 else ():
            if (path, trial.name) not in digests:
                digests[path, trial.name] = _feature_digest(path, trial)
            digest = digests[path, trial.name]
            if (
                digest is not None
                and (other := first.setdefault(digest, (path, trial)))[1] != trial
            ):
                found[path, trial.name] = _repeat_text(*other, path, trial)
    problems.add(*found.values())


def _repeat_text(path: Path, trial: TrialHeader, other_path: Path, other: TrialHeader) -> str:
    if path != other_path:
        numbers = f"block {other.block} trial {other.number}"
        return (
            f"{numbers} is in both splits: {path}: {trial.name} and {other_path}: {other.name}; "
            "remove one"
        )
    return (
        f"{path}: {trial.name} and {other.name} hold the same features, so that one trial is there "
        "twice; remove one"
    )


def _feature_digest(path: Path, trial: TrialHeader) -> bytes | None:
    """A digest of a trial's features; None if they cannot be read, which is reported later."""
    try:
        with h5py.File(path, "r", locking=False) as handle:
            features = np.ascontiguousarray(_features(handle, trial)[()])
            return hashlib.blake2b(features.data).digest()
    except (DataError, *H5_ERRORS):
        return None


def _features(handle: Any, trial: TrialHeader) -> Any:
    """The data set of a trial's features."""
    return member(member(handle, trial.name), "input_features")


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
