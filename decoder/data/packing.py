"""Validates recordings and writes their packed store."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors_numpy

from decoder.atomic import sha256_of
from decoder.data.checksums import ChecksummedFile, blocks_text, damaged_on_disk
from decoder.data.files import (
    Say,
    building_folder,
    hash_files,
    only_builder,
    silent,
    storage_errors,
)
from decoder.data.layouts import Layout, Reader, source_files
from decoder.data.recordings import BIN_MS, Index, Problems, TrialFile
from decoder.data.sentences import sentence_arrays
from decoder.data.store import (
    ARRAYS_NAME,
    MANIFEST_NAME,
    SPLITS,
    STORE_FORMAT,
    Dataset,
    Manifest,
    features_path,
    open_dataset,
    open_if_whole,
)
from decoder.errors import DataError, StorageError
from decoder.phonemes import N_CLASSES
from decoder.regular import read_regular


@dataclass(frozen=True)
class Source:
    """Recordings on disk, with the digest of every file that is read.

    Attributes:
        folder: a folder of recordings.
        layout: its layout.
        sessions: names in day order.
        feature_subset: features to keep, in order; None keeps all.
        digests: file, relative to `folder` → SHA-256.
        label_digest: over everything outside the recordings that decides labels; None if nothing.
    """

    folder: Path
    layout: Layout
    sessions: tuple[str, ...]
    feature_subset: tuple[int, ...] | None
    digests: Mapping[str, str]
    label_digest: str | None

    @property
    def fingerprint(self) -> str:
        """16 hex digits over file contents, label digest, session order and feature subset."""
        lines = [f"store {STORE_FORMAT}", f"features {self.feature_subset}"]
        if self.label_digest is not None:
            lines.append(f"labels {self.label_digest}")
        for session in self.sessions:
            for split in SPLITS:
                name = self.layout.reader.split_path(Path(), session, split).as_posix()
                lines.append(f"{name} {self.digests.get(name)}")
        return sha256_of("\n".join(lines).encode())[:16]


def pack(source: Source, target: Path, say: Say, *, needs_sentences: bool = False) -> Dataset:
    """Validate the recordings and write their store to `target`.

    If another process has built `target` in the meantime, opens that store instead.

    Args:
        source: from `decoder.data.prepare.find_source`.
        target: the folder of the store, named by its fingerprint.
        say: receives one line about each slow step.
        needs_sentences: see `decoder.data.store.open_if_whole`.

    Returns:
        The opened store.

    Raises:
        DataError: the recordings cannot be trained on, or change while they are read.
        StorageError: the disk is full.
    """
    with only_builder(target, say):
        # The caller has said what is damaged.
        dataset = open_if_whole(target, silent, needs_sentences=needs_sentences)
        if dataset is not None:
            return dataset
        say(f"packing {len(source.sessions)} sessions of {source.folder} into {target}")
        problems, reader = Problems(), source.layout.reader
        index = reader.read_index(source.folder, source.sessions, problems)
        columns = _columns(source.feature_subset, index.n_features, problems)
        if problems.n_found:
            _raise_with_feature_problems(reader, index, columns, problems)
        n_features = index.n_features if columns is None else len(columns)
        n_bins = {split: _trial_array(files, "n_bins") for split, files in _splits(index).items()}
        n_bytes = 4 * n_features * int(sum(counts.sum() for counts in n_bins.values()))
        with storage_errors(target, n_bytes):
            _check_room(target, n_bytes)
            with building_folder(target) as temporary:
                n_clipped, digests = 0, {}
                for split, files in _splits(index).items():
                    path = features_path(temporary, split)
                    with path.open("wb") as handle:
                        out = ChecksummedFile(handle)
                        n_clipped += _write_features(out, source.layout, files, columns, problems)
                    digests[features_path(target, split).name] = out.digests()
                problems.raise_if_any()
                _write_arrays(temporary, index, n_features, source, n_clipped, digests)
                _check_unchanged(source, target.parent, say)
                _compare_with_unchecked(target, digests, say)
        return open_dataset(target)


def _columns(
    feature_subset: tuple[int, ...] | None, n_features: int, problems: Problems
) -> NDArray[np.int64] | None:
    """The features to keep; an index beyond the features is a problem."""
    if feature_subset is None:
        return None
    beyond = [i for i in feature_subset if i >= n_features]
    if beyond and n_features:
        problems.add(
            f"data.feature_subset: {len(beyond)} of {len(feature_subset)} indices, the first "
            f"{beyond[0]}, are beyond the recordings' {n_features} features (0 to {n_features - 1})"
        )
    return np.array([i for i in feature_subset if i < n_features], np.int64)


def _raise_with_feature_problems(
    reader: Reader, index: Index, columns: NDArray[np.int64] | None, problems: Problems
) -> None:
    """Add the problems of the features to those of the headers, and raise all of them."""
    for file in (*index.train, *index.val):
        for _ in reader.iterate_features(file, columns, problems):
            pass
    problems.raise_if_any()


def _write_features(
    out: ChecksummedFile,
    layout: Layout,
    files: Sequence[TrialFile],
    columns: NDArray[np.int64] | None,
    problems: Problems,
) -> int:
    """Write the features of trials. → how many values are clipped in the recordings."""
    n_clipped = 0
    for file in files:
        for _, features in layout.reader.iterate_features(file, columns, problems):
            out.write(np.ascontiguousarray(features, np.dtype("<f4")))
            if layout.feature_clip is not None:
                n_clipped += int((features >= layout.feature_clip).sum())
    return n_clipped


def _write_arrays(
    folder: Path,
    index: Index,
    n_features: int,
    source: Source,
    n_clipped: int,
    digests: Mapping[str, tuple[str, ...]],
) -> None:
    """Write the small arrays and, last, the manifest."""
    arrays: dict[str, NDArray[Any]] = {}
    without_val = sum(not file.trials for file in index.val)
    counts = {"sessions_without_val": without_val, "clipped_values": n_clipped}
    for split, files in _splits(index).items():
        trials = [trial for file in files for trial in file.trials]
        label_counts = np.array([len(trial.labels) for trial in trials], np.int64)
        own = {
            "offsets": _offsets(_trial_array(files, "n_bins")),
            "labels": np.concatenate([np.zeros(0, np.int64), *(trial.labels for trial in trials)]),
            "label_offsets": _offsets(label_counts),
            "day": np.repeat(np.arange(len(files)), [len(file.trials) for file in files]),
            "block": _trial_array(files, "block"),
            "trial_number": _trial_array(files, "number"),
        }
        arrays |= {f"{split}.{name}": values for name, values in own.items()}
        arrays |= sentence_arrays(split, [trial.sentence for trial in trials])
        counts[f"{split}_trials"] = len(trials)
        counts[f"{split}_empty_targets"] = int((label_counts == 0).sum())
    content = safetensors_numpy.save(arrays)
    (folder / ARRAYS_NAME).write_bytes(content)
    names = [features_path(folder, split).name for split in SPLITS]
    manifest = Manifest(
        format=STORE_FORMAT,
        fingerprint=source.fingerprint,
        sessions=index.sessions,
        n_features=n_features,
        n_classes=N_CLASSES,
        bin_ms=BIN_MS,
        counts=counts,
        file_bytes={name: (folder / name).stat().st_size for name in (*names, ARRAYS_NAME)},
        arrays_sha256=sha256_of(content),
        block_sha256=dict(digests),
        source=str(source.folder.absolute()),
        source_sha256=dict(source.digests),
    )
    manifest = manifest.model_copy(update={"manifest_sha256": manifest.digest()})
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def _splits(index: Index) -> dict[str, tuple[TrialFile, ...]]:
    return {"train": index.train, "val": index.val}


def _trial_array(files: Sequence[TrialFile], name: str) -> NDArray[np.int64]:
    return np.array([getattr(trial, name) for file in files for trial in file.trials], np.int64)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _check_room(target: Path, n_bytes: int) -> None:
    n_free = shutil.disk_usage(target.parent).free
    if n_free < n_bytes:
        raise StorageError(
            f"{target}: {n_bytes} bytes are needed, but {n_free} are free; make room or choose "
            "another folder"
        )


def _compare_with_unchecked(target: Path, digests: Mapping[str, tuple[str, ...]], say: Say) -> None:
    """Remark on a store without checksums that differs from its recordings; it is replaced."""
    try:
        if b"manifest_sha256" in read_regular(target / MANIFEST_NAME):
            return
        damaged = {
            name: blocks
            for name, own in digests.items()
            if (blocks := damaged_on_disk(target / name, own))
        }
    except OSError:
        return  # there is none, or it is not whole
    for name, blocks in damaged.items():
        say(
            f"{target}: {blocks_text(name, blocks, len(digests[name]))} made from its recordings: "
            "it was damaged, and runs that were trained on it may be wrong (`runs --where "
            f"\"dataset == '{target.name}'\"` lists them)"
        )


def _check_unchanged(source: Source, cache_dir: Path, say: Say) -> None:
    paths = source_files(source.folder, source.layout, source.sessions)
    digests = hash_files(source.folder, paths, cache_dir, say)
    labels = source.layout.reader.label_digest(source.folder)
    if (digests, labels) != (source.digests, source.label_digest):
        raise DataError(f"{source.folder}: changed while it was read; run again")
