"""The trials of a split in the order in which competitions score them, read from the recordings.

The order is by session name, which is the order of the days, then that of the trials in the file:
that of `model_training/evaluate_model.py` of nejm-brain-to-text, whose sessions are sorted and
whose trials come by the names of their groups.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.data.layouts import Layout, find_layout
from decoder.data.prepare import SYNTHETIC_PREFIX, in_home
from decoder.data.recordings import Problems, TrialFile, TrialHeader
from decoder.data.store import Dataset, read_manifest
from decoder.errors import DataError, StorageError
from decoder.sections import DataConfig

PredictSplit = Literal["val", "test"]


class ReadTrial(NamedTuple):
    """A trial: its session, its header, and (T, F) float32 features."""

    session: str
    header: TrialHeader
    features: NDArray[np.float32]


@dataclass(frozen=True)
class TrialsInOrder:
    """The trials of a split.

    Attributes:
        folder: the recordings.
        layout: theirs.
        files: (session, file) of the sessions with trials, in order.
    """

    folder: Path
    layout: Layout
    files: tuple[tuple[str, TrialFile], ...]

    @classmethod
    def open(
        cls, folder: Path, split: PredictSplit, sessions: Collection[str] | None = None
    ) -> "TrialsInOrder":
        """Read and check the headers of a split.

        Args:
            split: ``test`` has no labels (T12: ``competitionHoldOut``); ``val`` has.
            sessions: only trials of these; None takes all.

        Raises:
            DataError: the recordings cannot be read, or there are no trials.
        """
        layout, problems = find_layout(folder), Problems()
        reader = layout.reader
        found = reader.find_sessions(folder)
        names = sorted(name for name in found if sessions is None or name in sessions)
        if split == "test":
            files = reader.read_test(folder, names, problems)
        else:
            files = reader.read_index(folder, names, problems).val
        problems.raise_if_any()
        with_trials = [pair for pair in zip(names, files, strict=True) if pair[1].trials]
        if not with_trials:
            raise DataError(
                f"{folder}: holds no {split} trials "
                f"({reader.split_path(folder, 'SESSION', split)}); copy them there"
            )
        return cls(folder, layout, tuple(with_trials))

    @property
    def sessions(self) -> list[str]:
        """The sessions with trials."""
        return [session for session, _ in self.files]

    @property
    def n_features(self) -> int:
        """Features of a bin in the recordings."""
        return self.files[0][1].trials[0].n_features

    def read(self, columns: NDArray[np.int64] | None) -> Iterator[ReadTrial]:
        """Every trial in order.

        Args:
            columns: features to keep, in order; None keeps all.

        Raises:
            DataError: features cannot be read, or are not finite.
        """
        problems = Problems()
        for session, file in self.files:
            for trial in self.layout.reader.iterate_features(file, columns, problems):
                yield ReadTrial(session, *trial)
            problems.raise_if_any()


def unlabelled_trials(dataset: Dataset, data: DataConfig) -> TrialsInOrder:
    """The trials without labels of the recordings that a data set was packed from.

    A packed store does not hold them, so the recordings must lie on this machine: where they were
    packed from, or at ``data.path``.

    Args:
        dataset: an open store.
        data: ``path`` and ``feature_subset`` are read.

    Raises:
        DataError: the recordings do not lie there, hold no such trials in the sessions of the data
            set, or have other features.
    """
    places = [] if data.path.startswith(SYNTHETIC_PREFIX) else [in_home(data.path)]
    with suppress(StorageError):
        if source := read_manifest(dataset.path).source:
            places.insert(0, Path(source))
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(
            "train.keep_logits: trials without labels are read from the recordings, but there is "
            f"no folder {' or '.join(map(str, places)) or dataset.path} on this machine; copy them "
            "there, or keep the weights and call `python -m decoder predict` where they lie"
        )
    try:
        trials = TrialsInOrder.open(folder, "test", dataset.sessions)
    except DataError as error:
        raise DataError([f"train.keep_logits: {text}" for text in error.problems]) from None
    n_features, subset = trials.n_features, data.feature_subset
    kept = n_features if subset is None else sum(column < n_features for column in subset)
    if kept != dataset.n_features:
        raise DataError(
            f"train.keep_logits: {folder}: its test trials have {n_features} features, which gives "
            f"{kept} to decode, but training has {dataset.n_features}; correct the recordings"
        )
    return trials
