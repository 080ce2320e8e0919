"""Kept logits: writes and reads a file of every trial's logits, for ensembles and other decoders.

``logits.npz`` is a plain NumPy archive, so that any program reads it without this project. Its
classes stand in the order that the language model of the official T15 code reads: blank, SIL, then
the phonemes (``rearrange_speech_logits_pt``). ``logits.json`` beside it holds the checksum of the
archive, and facts such as run id and PER.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from decoder.atomic import sha256_of, write_atomically
from decoder.errors import CheckpointError
from decoder.pack import LOGITS_NAME
from decoder.phonemes import BLANK, CLASSES, SEPARATOR_ID
from decoder.regular import read_json, read_regular

FORMAT = 1

# Our class of each column of a file, and the column of each of our classes.
_COLUMNS = np.array([BLANK, SEPARATOR_ID, *range(BLANK + 1, SEPARATOR_ID)])
_COLUMN_OF = np.argsort(_COLUMNS)
_LOWEST = float(np.finfo(np.float16).min)


class LogitTrial(NamedTuple):
    """The logits of one trial.

    Attributes:
        logits: (P, C), of any float type, for the trial's own patches alone. Only differences
            within a patch matter: log softmax over the classes gives log posteriors.
        labels: (L,) classes 1 to C - 1; empty if the trial has no labels.
        session, block, number: which trial it is.
    """

    logits: NDArray[np.floating]
    labels: NDArray[np.int64]
    session: str
    block: int
    number: int


class KeptLogits(NamedTuple):
    """The content of a file of logits, with the classes in the order of `decoder.phonemes`.

    Attributes:
        trials: in the order of the split; their logits are those of `half`.
        facts: plain values about the run, such as its id and PER.
    """

    trials: tuple[LogitTrial, ...]
    facts: Mapping[str, Any]


def half(logits: NDArray[np.floating]) -> NDArray[np.float16]:
    """Logits in float16, shifted so that the largest of each patch is 0.

    The shift keeps the resolution where classes compete, so that greedy decoding gives the same.
    Logits below the lowest finite number of float16 become that number.

    Args:
        logits: (P, C).
    """
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(np.maximum(shifted, _LOWEST), np.float16)


def write_logits(path: Path, trials: Sequence[LogitTrial], facts: Mapping[str, Any]) -> None:
    """Write the logits of a split; the same trials give the same bytes.

    Args:
        path: of the archive, ``NAME.npz``; ``NAME.json`` is written beside it.
        trials: in the order of the split.
        facts: plain JSON values.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    none = np.zeros((0, len(CLASSES)), np.float16)
    arrays = {
        "format": np.array(FORMAT),
        "logits": np.concatenate([none, *(half(one.logits)[:, _COLUMNS] for one in trials)]),
        "offsets": _offsets([len(one.logits) for one in trials]),
        "labels": np.concatenate(
            [np.zeros(0, np.int64), *(_COLUMN_OF[one.labels] for one in trials)]
        ),
        "label_offsets": _offsets([len(one.labels) for one in trials]),
        "session": np.array([one.session for one in trials], np.str_),
        "block": np.array([one.block for one in trials], np.int64),
        "trial": np.array([one.number for one in trials], np.int64),
        "classes": np.array([CLASSES[column] for column in _COLUMNS], np.str_),
    }
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    document = {"format": FORMAT, "sha256": sha256_of(content.getvalue()), "facts": dict(facts)}
    write_atomically(path, content.getvalue())
    write_atomically(path.with_suffix(".json"), f"{json.dumps(document, indent=1)}\n".encode())


def read_logits(path: Path) -> KeptLogits:
    """Read a file that `write_logits` wrote, and verify its checksum.

    Args:
        path: the archive, or the folder of a run.

    Raises:
        CheckpointError: it is missing, damaged or of another format.
    """
    path = path / LOGITS_NAME if path.is_dir() else path
    try:
        content = read_regular(path)
        document = read_json(path.with_suffix(".json"))
        if document["sha256"] != sha256_of(content):
            raise CheckpointError(
                f"{path}: its checksum is not the one in {path.with_suffix('.json').name}; the "
                "file is damaged: remove both, and train the run or predict again"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        found = int(arrays["format"])
        if found != FORMAT:
            raise CheckpointError(f"{path}: is of format {found}, but must be {FORMAT}")
        return KeptLogits(_trials(arrays), dict(document["facts"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
        raise CheckpointError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _trials(arrays: Mapping[str, NDArray[Any]]) -> tuple[LogitTrial, ...]:
    logits = arrays["logits"][:, _COLUMN_OF]
    starts, label_starts = arrays["offsets"], arrays["label_offsets"]
    return tuple(
        LogitTrial(
            logits[starts[i] : starts[i + 1]],
            _COLUMNS[arrays["labels"][label_starts[i] : label_starts[i + 1]]],
            str(arrays["session"][i]),
            int(arrays["block"][i]),
            int(arrays["trial"][i]),
        )
        for i in range(len(starts) - 1)
    )


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    """(n_trials + 1,) where each trial begins."""
    return np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int64)
