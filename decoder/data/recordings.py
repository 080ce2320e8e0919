"""The types that the readers of both layouts share: headers of trials, files, and problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.errors import DataError

BIN_MS = 20  # duration of a bin in both public data sets

_FREE_BYTES = 64 << 20
_MOST_EXPANSION = 200


class Problems:
    """Collects the problems of a data set, so that they are raised together.

    Args:
        limit: number of problems that are kept; further ones are only counted.

    Attributes:
        n_found: number of problems added so far.
    """

    def __init__(self, limit: int = 20) -> None:
        self.n_found = 0
        self._limit = limit
        self._kept: list[str] = []
        self._alike: dict[str, list[tuple[int, Path]]] = {}  # cause → place among the kept, file

    def add(self, *texts: str) -> None:
        """Add problems, each a full sentence that names its file."""
        self.n_found += len(texts)
        self._kept.extend(texts[: max(0, self._limit - len(self._kept))])

    def add_alike(self, text: str, cause: str, file: Path) -> None:
        """Add a problem of a trial; only the first one of a cause is kept, with a count.

        Args:
            text: a full sentence that names file and trial.
            cause: equal for problems that are one to the user, such as one damaged feature.
            file: where the trial is.
        """
        if cause not in self._alike:
            self._alike[cause] = [(len(self._kept), file)]
            self.add(text)
        else:
            self._alike[cause].append((-1, file))

    def raise_if_any(self) -> None:
        """Raise `DataError` with the problems kept and the number of further ones, if any."""
        if not self.n_found:
            return
        kept = list(self._kept)
        for (at, file), *others in self._alike.values():
            if others and at < len(kept):
                n_files = len({file, *(path for _, path in others)})
                kept[at] += f"; the same in {len(others)} more trials" + (
                    f", of {n_files} files in all" if n_files > 1 else ""
                )
        n_more = self.n_found - len(kept)
        raise DataError([*kept, *([f"and {n_more} more"] if n_more else [])])


@dataclass(frozen=True, eq=False)
class TrialHeader:
    """A trial without its features.

    Attributes:
        name: its name in error messages: the group in a T15 file, the index in a T12 file.
        n_bins: bins of 20 ms.
        n_features: features in a bin.
        labels: (L,) int64, phoneme classes 1 to 40.
        block: block within the session.
        number: trial within the block (T15) or within the file (T12), from 0.
        sentence: its text as recorded, without space around it; None if the recordings do not say.
        transcription: the text that the T15 layout holds a second time, as character codes; None if
            it holds none.
    """

    name: str
    n_bins: int
    n_features: int
    labels: NDArray[np.int64]
    block: int
    number: int
    sentence: str | None = None
    transcription: str | None = None


@dataclass(frozen=True, eq=False)
class TrialFile:
    """The sound trials of one session and split, in the order of the file."""

    path: Path
    trials: tuple[TrialHeader, ...]


@dataclass(frozen=True, eq=False)
class Index:
    """Headers of a whole data set.

    Attributes:
        sessions: names; the position of a name is the day.
        n_features: features in a bin, equal for all trials.
        train: one file per session.
        val: one file per session; it has no trials if the file does not exist.
    """

    sessions: tuple[str, ...]
    n_features: int
    train: tuple[TrialFile, ...]
    val: tuple[TrialFile, ...]


def make_index(
    folder: Path,
    sessions: Sequence[str],
    n_features: int,
    train: Sequence[TrialFile],
    val: Sequence[TrialFile],
    problems: Problems,
) -> Index:
    """Put the headers of all sessions together; it is a problem if there are no val trials."""
    if not problems.n_found and not any(file.trials for file in val):
        problems.add(
            f"{folder}: none of the {len(sessions)} sessions has a trial to validate on, so "
            "nothing can be evaluated; at least one session needs its val file "
            "(T15 layout: data_val.hdf5; T12 layout: test/<session>.mat)"
        )
    return Index(tuple(sessions), n_features, tuple(train), tuple(val))


class Flaw(NamedTuple):
    """Values of a trial that no recording can hold.

    Attributes:
        text: how many, and in which features.
        cause: equal for trials with a flaw in the same features.
    """

    text: str
    cause: str


def find_flaw(
    features: NDArray[np.floating], columns: NDArray[np.int64] | None, largest: float
) -> Flaw | None:
    """Values that are not finite or, if all are, values beyond a limit; None if there are none.

    Args:
        features: (T, F).
        columns: (F,) the features' numbers in the recordings; None means 0 to F - 1.
        largest: the largest magnitude that a recording can have.
    """
    finite = np.isfinite(features)
    if not finite.all():
        return _flaw(~finite, columns, "values that are NaN or infinite", "not finite")
    if not features.size or max(features.max(), -features.min()) <= largest:
        return None
    beyond = _flaw(np.abs(features) > largest, columns, f"values beyond ±{largest:g}", "too large")
    most = float(np.abs(features).max())
    return beyond._replace(
        text=f"{beyond.text}; the largest is {most:.3g}, which no recording of neural activity "
        "reaches: write the file again from its source, or leave these features out "
        "(data.feature_subset)"
    )


def _flaw(bad: NDArray[np.bool_], columns: NDArray[np.int64] | None, what: str, cause: str) -> Flaw:
    counts = bad.sum(axis=0)
    where = np.flatnonzero(counts)
    names = where if columns is None else columns[where]
    shown = ", ".join(f"{i} ({n} bins)" for i, n in zip(names[:5], counts[where], strict=False))
    more = f" and {len(where) - 5} more features" if len(where) > 5 else ""
    return Flaw(f"{counts.sum()} {what}, in feature {shown}{more}", f"{cause}: {names.tolist()}")


def check_expansion(what: str, n_declared: int, n_stored: int) -> None:
    """Refuse what declares far more bytes than are stored, before memory is taken for it.

    Deflate shrinks data at most 1,032 times, and only if all values are equal. Counts of one spike
    a second in every channel, in bins of 20 ms and float32, shrink 113 times; faster ones less.

    Raises:
        DataError: more than 64 MiB are declared, and more than 200 times the bytes stored.
    """
    if n_declared > max(_FREE_BYTES, _MOST_EXPANSION * n_stored):
        raise DataError(
            f"{what} declare {n_declared:,} bytes, but only {n_stored:,} are stored, and "
            f"recordings shrink at most {_MOST_EXPANSION} times; write or copy the file again"
        )


def is_file(path: Path) -> bool:
    """Whether there is a file at a path; False if there is nothing.

    Raises:
        DataError: there is something else, such as a link that leads nowhere. The message names
            the path.
    """
    try:
        if path.is_file():
            return True
        if path.is_symlink() and not path.exists():
            raise DataError(
                f"{path}: is a link that leads nowhere ({path.readlink()}); copy the file here, "
                "or remove the link"
            )
        if path.exists():
            raise DataError(f"{path}: must be a file, but is something else; copy the file here")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return False


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, or its type if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__
