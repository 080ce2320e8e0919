"""The packed store: a validated data set as flat, memory-mapped files that workers share.

``<datasets_dir>/<fingerprint>/`` holds the concatenated features of each split, the small arrays
(offsets, labels, days) and a manifest. `decoder.data.prepare` builds it once. Opening a store does
not load the libraries that read recordings.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import numpy as safetensors_numpy

from decoder.atomic import sha256_of
from decoder.data.checksums import OpenedFile, OpenedFiles, find_damage, identity_of
from decoder.data.files import Say
from decoder.data.sentences import read_sentences
from decoder.errors import StorageError
from decoder.marks import Section
from decoder.regular import read_regular

STORE_FORMAT = 1
MANIFEST_NAME = "manifest.json"
ARRAYS_NAME = "arrays.safetensors"
SPLITS = ("train", "val")


@dataclass(frozen=True, eq=False)
class Split:
    """The trials of one split, day by day, in the order of the files.

    Attributes:
        features: (n_bins_total, F) float32, read-only; trial i is rows offsets[i]:offsets[i+1].
        offsets: (n_trials + 1,) int64.
        labels: (n_labels_total,) int64, classes 1 to n_classes - 1; all targets concatenated.
        label_offsets: (n_trials + 1,) int64.
        day: (n_trials,) int64, index of the session.
        block: (n_trials,) int64, block within the session.
        trial_number: (n_trials,) int64, trial within the block (T15) or the file (T12).
        sentences: the text of each trial as recorded, see `decoder.data.sentences.normalise`; None
            for a trial whose recording does not say, and instead of all of them in a store that an
            earlier version packed.
    """

    features: NDArray[np.float32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    label_offsets: NDArray[np.int64]
    day: NDArray[np.int64]
    block: NDArray[np.int64]
    trial_number: NDArray[np.int64]
    sentences: tuple[str | None, ...] | None = None

    @property
    def n_trials(self) -> int:
        return len(self.day)

    @cached_property
    def bin_counts(self) -> NDArray[np.int64]:
        """(n_trials,) bins of each trial."""
        return np.diff(self.offsets)

    @cached_property
    def label_counts(self) -> NDArray[np.int64]:
        """(n_trials,) target length of each trial."""
        return np.diff(self.label_offsets)

    def n_bins(self, trial: int) -> int:
        """Bins of one trial."""
        return int(self.bin_counts[trial])

    def trial_features(self, trial: int) -> NDArray[np.float32]:
        """(T, F) features of one trial, read-only."""
        return self.features[self.offsets[trial] : self.offsets[trial + 1]]

    def target(self, trial: int) -> NDArray[np.int64]:
        """(L,) int64 phoneme classes of one trial."""
        return self.labels[self.label_offsets[trial] : self.label_offsets[trial + 1]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened store.

    Attributes:
        fingerprint: 16 hex digits over the recordings' bytes, session order and feature subset.
        path: the folder of the store.
        sessions: names; the position of a name is the day.
        n_features: features in a bin, after the subset.
        n_classes: CTC classes, including the blank (0).
        train: trials to train on.
        val: trials to evaluate on.
        counts: ``train_trials``, ``val_trials``, ``train_empty_targets``,
            ``val_empty_targets``, ``sessions_without_val``, and ``clipped_values``, which older
            stores lack.
        bin_ms: duration of a bin.
        files: the features files, which can be verified in use; None outside a store.
    """

    fingerprint: str
    path: Path
    sessions: tuple[str, ...]
    n_features: int
    n_classes: int
    train: Split
    val: Split
    counts: Mapping[str, int]
    bin_ms: int = 20
    files: OpenedFiles | None = None


class Manifest(Section):
    """The description of a store; its sizes and digests show whether the store is complete.

    Attributes:
        block_sha256: features file → the digests of its blocks, see `decoder.data.checksums`;
            empty in stores of earlier versions, which are packed again.
        source: the folder of recordings that it was packed from.
        source_sha256: file, relative to `source` → SHA-256.
        manifest_sha256: of everything else.
    """

    format: int
    fingerprint: str
    sessions: tuple[str, ...]
    n_features: int
    n_classes: int
    bin_ms: int
    counts: dict[str, int]
    file_bytes: dict[str, int]
    arrays_sha256: str
    block_sha256: dict[str, tuple[str, ...]] = {}
    source: str = ""
    source_sha256: dict[str, str] = {}
    manifest_sha256: str = ""

    def digest(self) -> str:
        """The SHA-256 of everything but itself."""
        return sha256_of(self.model_dump_json(exclude={"manifest_sha256"}).encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store, if it is sound; nothing else of the store is read.

    Raises:
        StorageError: there is none, it is damaged, or an earlier version wrote it.
    """
    try:
        return _read_manifest(folder)
    except _Damaged as error:
        raise StorageError(_damaged(folder, str(error))) from None


def earlier_versions(folder: Path) -> list[str]:
    """The fingerprints of the other stores that were packed from the same folder, oldest first.

    Args:
        folder: of a store. Stores without checksums do not say where they are from.
    """
    found = []
    with suppress(StorageError):
        source = read_manifest(folder).source
        for path in folder.parent.glob(f"*/{MANIFEST_NAME}"):
            with suppress(StorageError, OSError):
                manifest = read_manifest(path.parent)
                if manifest.source == source and path.parent != folder:
                    found.append((path.stat().st_mtime_ns, manifest.fingerprint))
    return [fingerprint for _, fingerprint in sorted(found)]


def open_dataset(folder: Path) -> Dataset:
    """Memory-map a packed store, and verify its checksums unless they were verified before.

    Args:
        folder: ``<datasets_dir>/<fingerprint>``.

    Raises:
        StorageError: there is no store, or it is damaged.
    """
    try:
        return _open(folder)
    except _Damaged as error:
        raise StorageError(
            f"{_damaged(folder, str(error))}; call `run` again, which packs it again"
        ) from None


def open_if_whole(folder: Path, say: Say, *, needs_sentences: bool = False) -> Dataset | None:
    """Open a packed store, or return None if there is none or it is damaged.

    Args:
        folder: ``<datasets_dir>/<fingerprint>``.
        say: receives one line about a damaged store.
        needs_sentences: whether a store of an earlier version, which has none, counts as no store.
    """
    if not os.path.lexists(folder):
        return None
    try:
        dataset = _open(folder)
        if dataset.fingerprint != folder.name:
            raise _Damaged(f"it is the store {dataset.fingerprint}")
        if needs_sentences and dataset.train.sentences is None:
            raise _Earlier("an earlier version packed it, without sentences")
    except _Earlier as error:
        say(f"{folder}: {error}; packing it again from its recordings")
        return None
    except _Damaged as error:
        say(f"{_damaged(folder, str(error))}; packing it again")
        return None
    return dataset


class _Damaged(Exception):
    """What is wrong with a store."""


class _Earlier(_Damaged):
    """An earlier version packed it."""


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(read_regular(folder / MANIFEST_NAME))
    except FileNotFoundError:
        raise _Damaged(f"{MANIFEST_NAME} is missing") from None
    except (OSError, ValidationError) as error:
        raise _Damaged(f"{MANIFEST_NAME}: {' '.join(str(error).split())}") from None
    if manifest.format != STORE_FORMAT:
        raise _Damaged(f"its format is {manifest.format}")
    if not manifest.manifest_sha256:
        raise _Earlier("an earlier version packed it, without checksums")
    if manifest.manifest_sha256 != manifest.digest():
        raise _Damaged(f"{MANIFEST_NAME} does not match its checksum")
    return manifest


def _open(folder: Path) -> Dataset:
    manifest = _read_manifest(folder)
    try:
        arrays_bytes = read_regular(folder / ARRAYS_NAME)
        for name, size in manifest.file_bytes.items():
            found = identity_of(folder / name).size
            if found != size:
                raise _Damaged(f"{name} has {found} bytes, not {size}")
        if sha256_of(arrays_bytes) != manifest.arrays_sha256:
            raise _Damaged(f"{ARRAYS_NAME} does not match its checksum")
        arrays = safetensors_numpy.load(arrays_bytes)
        if damage := find_damage(folder, manifest.manifest_sha256, manifest.block_sha256):
            raise _Damaged(damage)
        opened = [_open_split(folder, name, arrays, manifest) for name in SPLITS]
    except FileNotFoundError as error:
        raise _Damaged(f"{Path(error.filename).name} is missing") from None
    except OSError as error:
        raise _Damaged(" ".join(str(error).split())) from None
    (train, _), (val, _) = opened
    return Dataset(
        fingerprint=manifest.fingerprint,
        path=folder,
        sessions=manifest.sessions,
        n_features=manifest.n_features,
        n_classes=manifest.n_classes,
        train=train,
        val=val,
        counts=manifest.counts,
        bin_ms=manifest.bin_ms,
        files=OpenedFiles(folder, [file for _, file in opened]),
    )


def features_path(folder: Path, split: str) -> Path:
    """The file with the features of a split: little-endian float32, row by row."""
    return folder / f"{split}_features.f32"


def _open_split(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], manifest: Manifest
) -> tuple[Split, OpenedFile]:
    own = {key.split(".")[1]: value for key, value in arrays.items() if key.startswith(f"{name}.")}
    path, shape = features_path(folder, name), (int(own["offsets"][-1]), manifest.n_features)
    identity = identity_of(path)
    features: NDArray[np.float32] = (
        np.memmap(path, np.dtype("<f4"), "r", shape=shape)
        if shape[0]
        else np.zeros(shape, np.float32)  # an empty file cannot be memory-mapped
    )
    file = OpenedFile(path, features, manifest.block_sha256[path.name], identity)
    return Split(features=features, **own, sentences=read_sentences(name, arrays)), file


def _damaged(folder: Path, what: str) -> str:
    return f"{folder}: the packed store is incomplete or damaged: {what}"
