"""Writes trials in the layouts of the two public data sets."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from decoder.atomic import write_atomically
from decoder.data import t12, t15

_PADDED_LENGTH = 500  # entries of seq_class_ids and transcription
_MAT_DESCRIPTION_BYTES = 116


@dataclass(frozen=True, eq=False)
class TrialToWrite:
    """A trial in the T15 layout.

    Attributes:
        features: (T, F) float32, written unchanged.
        labels: (L,) classes, at most 500.
        sentence: its text.
        block: block within the session.
        number: trial within the block.
    """

    features: NDArray[np.float32]
    labels: Sequence[int]
    sentence: str
    block: int
    number: int


@dataclass(frozen=True, eq=False)
class SentenceToWrite:
    """A trial in the T12 layout.

    Attributes:
        tx1: (T, 256) threshold crossings per bin, of any type.
        spike_pow: (T, 256) spike-band power, of any type.
        text: the sentence.
        block: block within the session.
    """

    tx1: NDArray[np.number]
    spike_pow: NDArray[np.number]
    text: str
    block: int


def write_session(folder: Path, session: str, splits: Mapping[str, Sequence[TrialToWrite]]) -> None:
    """Write trials in the T15 layout.

    Args:
        folder: the data set's folder; the session gets a folder in it.
        session: name of the session, ``t15.YYYY.MM.DD``.
        splits: ``train``, ``val`` or ``test`` → trials; ``test`` is written without targets.
    """
    for split, trials in splits.items():
        path = t15.split_path(folder, session, split)
        # Built in memory first, so that a full disk fails in our own code and not inside HDF5.
        with h5py.File(path, "w", driver="core", backing_store=False) as handle:
            for index, trial in enumerate(trials):
                group = handle.create_group(f"trial_{index:04d}")
                features = np.asarray(trial.features, np.float32)
                group.create_dataset("input_features", data=features)
                group.attrs["n_time_steps"] = len(features)
                group.attrs["block_num"] = trial.block
                group.attrs["trial_num"] = trial.number
                group.attrs["session"] = session
                if split == "test":
                    continue
                characters = [ord(character) for character in trial.sentence]
                group.create_dataset("seq_class_ids", data=_padded(trial.labels))
                group.create_dataset("transcription", data=_padded(characters))
                group.attrs["seq_len"] = len(trial.labels)
                group.attrs["sentence_label"] = trial.sentence
            handle.flush()
            write_atomically(path, handle.id.get_file_image())


def write_t12_session(
    folder: Path, session: str, splits: Mapping[str, Sequence[SentenceToWrite]]
) -> None:
    """Write trials in the T12 layout.

    Args:
        folder: the data set's folder; each split gets a folder in it.
        session: name of the session, ``t12.YYYY.MM.DD``.
        splits: ``train``, ``val`` (folder ``test``) or ``test`` (folder ``competitionHoldOut``) →
            trials; those of ``test`` are written without their text.
    """
    for split, sentences in splits.items():
        texts = ["" if split == "test" else sentence.text for sentence in sentences]
        width = max((len(text) for text in texts), default=0) or 1
        fields = {
            "sentenceText": np.array([text.ljust(width) for text in texts], f"<U{width}"),
            "tx1": _cell_array([sentence.tx1 for sentence in sentences]),
            "spikePow": _cell_array([sentence.spike_pow for sentence in sentences]),
            "blockIdx": np.array([[sentence.block] for sentence in sentences], np.float64),
        }
        content = io.BytesIO()
        scipy.io.savemat(content, fields)  # type: ignore[arg-type]  # its stubs know paths only
        content.seek(0)  # overwrite the description, in which scipy writes the time
        content.write(b"MATLAB 5.0 MAT-file, T12 layout".ljust(_MAT_DESCRIPTION_BYTES))
        write_atomically(t12.split_path(folder, session, split), content.getvalue())


def _padded(values: Sequence[int]) -> NDArray[np.int32]:
    padded = np.zeros(_PADDED_LENGTH, np.int32)
    padded[: len(values)] = values
    return padded


def _cell_array(arrays: Sequence[NDArray[np.number]]) -> NDArray[np.object_]:
    cells = np.empty((1, len(arrays)), np.object_)
    for index, array in enumerate(arrays):
        cells[0, index] = array
    return cells
