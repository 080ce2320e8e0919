"""Reads and validates recordings in the T12 layout: one MATLAB file per session and split.

``<folder>/{train,test,competitionHoldOut}/<session>.mat`` holds, for each sentence, its text
(``sentenceText``), its threshold crossings and spike-band power (``tx1``, ``spikePow``: (T, 256)
at 20 ms) and its block (``blockIdx``); see competitionData_readme.txt of the release.

The reader follows the public pipeline (formatCompetitionData.ipynb of neural_seq_decoder). It
trains on ``train`` and validates on ``test``. The 256 features are the first 128 columns of both
arrays, area 6v, z-scored with the mean and standard deviation of all bins of their block in the
file: (x - mean) / (std + 1e-8). The labels come from the text (`decoder.data.pronunciation`). There
are two differences: scores are computed in float64 here and in the precision of the file there;
and the trials of a block need not be adjacent here, while there a block extends from its first
trial to its last.

A file is read as a whole, twice: for its headers and for its features. Only one file is in memory
at a time. Every problem of both passes is collected in a `Problems`.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decoder.data.matfile import Text, Value, kind_of, load_shape, load_variables
from decoder.data.pronunciation import (
    FILE_NAME,
    Dictionary,
    dictionary_digest,
    labels_of,
    load_dictionary,
)
from decoder.data.recordings import (
    Index,
    Problems,
    TrialFile,
    TrialHeader,
    find_flaw,
    is_file,
    make_index,
)
from decoder.errors import DataError

N_COLUMNS = 256  # of tx1 and of spikePow
N_AREA_6V = 128  # the first columns of each; the others, area 44, are left out
N_FEATURES = 2 * N_AREA_6V
FOLDERS = {"train": "train", "val": "test", "test": "competitionHoldOut"}

# The largest magnitude before z-scoring. A bin of 20 ms has 600 samples of at most 2^15 units of
# the amplifier, so that its power, even as a sum, is at most 6.4e11.
LARGEST_RAW = 1e12

_ARRAYS = ("tx1", "spikePow")
_MOST_WORDS = 20  # without a pronunciation, in an error message
_STD_FLOOR = 1e-8


@dataclass(frozen=True, eq=False)
class _Contents:
    """The content of a file; its fields have the same length.

    Attributes:
        texts: one for each sentence.
        blocks: (n_trials,) int64.
        arrays: ``tx1`` and ``spikePow`` → one value for each sentence, of any kind and shape.
    """

    texts: list[str]
    blocks: NDArray[np.int64]
    arrays: dict[str, list[Value]]


def find_sessions(folder: Path) -> list[str]:
    """The sessions of a folder, sorted; none if it is not in this layout."""
    names = {path.stem for split in ("train", "test") for path in folder.glob(f"{split}/*.mat")}
    return sorted(name for name in names if not name.startswith("."))


def split_path(folder: Path, session: str, split: str) -> Path:
    """The file of a split of a session; ``test`` is the hold-out of the competition."""
    return folder / FOLDERS[split] / f"{session}.mat"


def label_digest(folder: Path) -> str:
    """Digest of the pronunciations, which decide the labels of a text.

    Raises:
        DataError: the pronunciations beside the recordings cannot be read, or a dictionary is
            needed and not installed.
    """
    try:
        return dictionary_digest(folder)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}") from None


def read_index(folder: Path, sessions: Sequence[str], problems: Problems) -> Index:
    """Read and check all trials except values: types, shapes, text, overlap of the splits.

    Args:
        folder: a folder in the T12 layout.
        sessions: names in day order.
        problems: receives all problems; trials with a problem are left out of the result.
    """
    dictionary = load_dictionary(folder, problems)
    unknown: dict[str, list[str]] = {}  # word → the trials that contain it
    train: list[TrialFile] = []
    val: list[TrialFile] = []
    seen: dict[bytes, str] = {}
    for split, files in (("train", train), ("val", val)):
        for session in sessions:
            path = split_path(folder, session, split)
            file, digests = _read_headers(path, dictionary, unknown, problems)
            files.append(file)
            for trial in file.trials:
                here = f"{path}: {trial.name}"
                other = seen.setdefault(digests[trial.number], here)
                if other != here and trial.n_bins:
                    problems.add(
                        f"{here} has the same features as {other}; a trial must not be in train "
                        "and test, nor in one of them twice: remove one"
                    )
    if unknown:
        problems.add(_no_pronunciation(folder, unknown))
    return make_index(folder, sessions, N_FEATURES, train, val, problems)


def read_test(folder: Path, sessions: Sequence[str], problems: Problems) -> tuple[TrialFile, ...]:
    """Read and check the trials of the competition's hold-out, without labels; see `read_index`.

    Returns:
        One file per session; it has no trials if the file does not exist.
    """
    files = []
    for session in sessions:
        path, trials = split_path(folder, session, "test"), list[TrialHeader]()
        try:
            contents = _load(path) if is_file(path) else None
        except DataError as error:
            problems.add(*(f"{path}: {text}" for text in error.problems))
            contents = None
        for number in range(len(contents.texts) if contents else 0):
            assert contents is not None
            name, block = f"trial {number}", int(contents.blocks[number])
            try:
                n_bins = len(_raw_features(contents, number))
            except DataError as error:
                problems.add(*(f"{path}: {name}: {complaint}" for complaint in error.problems))
                continue
            none = np.zeros(0, np.int64)
            trials.append(TrialHeader(name, n_bins, N_FEATURES, none, block, number))
        files.append(TrialFile(path, tuple(trials)))
    return tuple(files)


def iterate_features(
    file: TrialFile, columns: NDArray[np.int64] | None, problems: Problems
) -> Iterator[tuple[TrialHeader, NDArray[np.float32]]]:
    """Read a file's features and z-score them block by block.

    Args:
        file: from `read_index`.
        columns: (F,) features to keep, in order; None keeps all 256, ``tx1`` first.
        problems: receives a file that can no longer be read, and values that are not finite.

    Yields:
        The header and (T, F) float32 of each sound trial.
    """
    if not file.trials:
        return
    try:
        contents = _load(file.path)
    except DataError as error:
        problems.add(*(f"{file.path}: {text}" for text in error.problems))
        return
    raw: dict[int, NDArray[np.float64]] = {}
    blocks = defaultdict(list)
    for trial in file.trials:
        features = _raw_features(contents, trial.number)
        if columns is not None:
            features = features[:, columns]
        flaw = find_flaw(features, columns, LARGEST_RAW)
        if flaw is None:
            raw[trial.number] = features
            blocks[trial.block].append(features)
        else:
            text = (
                f"{file.path}: {trial.name}: has {flaw.text} "
                f"(from {N_AREA_6V} on they are spikePow, before tx1)"
            )
            problems.add_alike(text, flaw.cause, file.path)
    del contents
    statistics = {block: _mean_and_std(parts) for block, parts in blocks.items()}
    del blocks
    for trial in file.trials:
        if trial.number in raw:
            mean, std = statistics[trial.block]
            scored = (raw.pop(trial.number) - mean) / (std + _STD_FLOOR)
            yield trial, scored.astype(np.float32)


def count_trials(path: Path, problems: Problems) -> int:
    """Number of sentences of a file that is not trained on; 0 if there is no such file."""
    try:
        if not is_file(path):
            return 0
    except DataError as error:
        problems.add(*error.problems)
        return 0
    try:
        return math.prod(load_shape(path, "tx1"))
    except DataError as error:
        problems.add(*(f"{path}: {text}" for text in error.problems))
        return 0


def _read_headers(
    path: Path, dictionary: Dictionary, unknown: dict[str, list[str]], problems: Problems
) -> tuple[TrialFile, dict[int, bytes]]:
    """The sound trials of a file; and trial number → digest of its features.

    Adds words without a pronunciation to `unknown`, and all other problems to `problems`.
    """
    trials: list[TrialHeader] = []
    digests = {}
    try:
        if not is_file(path):  # without val trials; a session without train is refused earlier
            return TrialFile(path, ()), {}
    except DataError as error:
        problems.add(*error.problems)
        return TrialFile(path, ()), {}
    try:
        contents = _load(path)
    except DataError as error:
        problems.add(*(f"{path}: {text}" for text in error.problems))
        return TrialFile(path, ()), {}
    for number, text in enumerate(contents.texts):
        name = f"trial {number}"
        labels, words = labels_of(text, dictionary)
        for word in words:
            unknown.setdefault(word, []).append(f"{path}: {name}")
        try:
            features = _raw_features(contents, number)
        except DataError as error:
            problems.add(*(f"{path}: {name}: {complaint}" for complaint in error.problems))
            continue
        block = int(contents.blocks[number])
        trials.append(
            TrialHeader(
                *(name, len(features), N_FEATURES, np.array(labels, np.int64), block, number),
                sentence=text.strip("\0 ").strip(),
            )
        )
        digests[number] = hashlib.blake2b(features.data).digest()
    if not contents.texts and path.parent.name == FOLDERS["train"]:
        problems.add(
            f"{path}: holds no train trials; remove session '{path.stem}' from data.sessions"
        )
    return TrialFile(path, tuple(trials)), digests


def _load(path: Path) -> _Contents:
    """Read the four fields of a file.

    Raises:
        DataError: the file cannot be read, or its fields are missing, of another kind, or differ
            in length. The message does not name the path.
    """
    values = load_variables(path, ("sentenceText", "blockIdx", *_ARRAYS))
    texts = _texts(values["sentenceText"])
    blocks = _whole_numbers(values["blockIdx"])
    arrays = {name: _cells(name, values[name]) for name in _ARRAYS}
    lengths = {
        "sentenceText": len(texts),
        "blockIdx": len(blocks),
        **{name: len(cells) for name, cells in arrays.items()},
    }
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{n} in {name}" for name, n in lengths.items())
        raise DataError(f"its fields must have the same number of sentences, but have {listing}")
    return _Contents(texts, blocks, arrays)


def _texts(value: Value) -> list[str]:
    """The sentences of a character matrix, padded with spaces, or of a cell array of texts."""
    if isinstance(value, Text):
        return [row.strip() for row in value.rows]
    if isinstance(value, list):
        texts = [cell for cell in value if isinstance(cell, Text) and len(cell.rows) <= 1]
        if len(texts) == len(value):
            return ["".join(text.rows).strip() for text in texts]
    raise DataError(
        "sentenceText must be a character matrix with one sentence per row, but is "
        f"{kind_of(value)}"
    )


def _whole_numbers(value: Value) -> NDArray[np.int64]:
    if isinstance(value, np.ndarray):
        numbers = value.ravel()
        if np.isfinite(numbers).all() and (np.abs(numbers) < 2**31).all():
            whole = numbers.astype(np.int64)
            if (whole == numbers).all():
                return whole
    raise DataError(f"blockIdx must hold one integer per sentence, but is {kind_of(value)}")


def _cells(name: str, value: Value) -> list[Value]:
    if isinstance(value, list):
        return value
    raise DataError(
        f"{name} must be a cell array with one (T, {N_COLUMNS}) array per sentence, but is "
        f"{kind_of(value)}"
    )


def _raw_features(contents: _Contents, number: int) -> NDArray[np.float64]:
    """(T, 256) area 6v of a trial as recorded: threshold crossings, then spike-band power.

    Raises:
        DataError: an array is of another kind or shape, or the two differ in length.
    """
    parts, problems = [], []
    for name in _ARRAYS:
        value = contents.arrays[name][number]
        if isinstance(value, np.ndarray) and value.shape[1:] == (N_COLUMNS,):
            parts.append(value[:, :N_AREA_6V])
        else:
            problems.append(
                f"{name} must be numbers of shape (T, {N_COLUMNS}), but is {kind_of(value)}"
            )
    if not problems and len(parts[0]) != len(parts[1]):
        problems.append(f"tx1 has {len(parts[0])} bins, but spikePow has {len(parts[1])}")
    if problems:
        raise DataError(problems)
    return np.ascontiguousarray(np.concatenate(parts, axis=1), np.float64)


def _mean_and_std(
    parts: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F,) mean and population standard deviation over the bins of a block."""
    bins = np.concatenate(parts)
    if not len(bins):
        return np.zeros(bins.shape[1]), np.ones(bins.shape[1])
    return bins.mean(axis=0), bins.std(axis=0)


def _no_pronunciation(folder: Path, unknown: Mapping[str, Sequence[str]]) -> str:
    words = "; ".join(
        f"'{ascii(word[:40])[1:-1]}' ({where[0]}"
        f"{f' and {len(where) - 1} more' if len(where) > 1 else ''})"
        for word, where in sorted(unknown.items())[:_MOST_WORDS]
    )
    if len(unknown) > _MOST_WORDS:
        words += f"; and {len(unknown) - _MOST_WORDS} more"
    return (
        f"{len(unknown)} words of sentenceText have no pronunciation; give each a line with its "
        f"ARPAbet phonemes, such as 'hello  HH AH L OW', in {folder / FILE_NAME}: {words}"
    )
