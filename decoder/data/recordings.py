"""The types that the readers of both layouts share: headers of trials, files, and problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decoder.errors import DataError

BIN_MS = 20  # duration of a bin in both public data sets


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


def describe_not_finite(finite: NDArray[np.bool_], columns: NDArray[np.int64] | None) -> str:
    """A text that lists the features that are not finite.

    Args:
        finite: (T, F) bool.
        columns: (F,) the features' numbers in the recordings; None means 0 to F - 1.
    """
    counts = (~finite).sum(axis=0)
    where = np.flatnonzero(counts)
    shown = ", ".join(
        f"{i if columns is None else columns[i]} ({counts[i]} bins)" for i in where[:5]
    )
    more = f" and {len(where) - 5} more features" if len(where) > 5 else ""
    return f"{counts.sum()} values that are NaN or infinite, in feature {shown}{more}"


def name_features(finite: NDArray[np.bool_], columns: NDArray[np.int64] | None) -> str:
    """The features with values that are not finite; arguments as of `describe_not_finite`."""
    where = np.flatnonzero(~finite.all(axis=0))
    return f"not finite: {(where if columns is None else columns[where]).tolist()}"


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, or its type if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__
