"""The layouts of recordings: recognises that of a folder, and lists its sessions and files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decoder.complaints import did_you_mean
from decoder.data import t12, t15
from decoder.data.recordings import Index, Problems, TrialFile, TrialHeader, is_file
from decoder.errors import DataError
from decoder.plain_pickle import looks_like_pickle

_MAT_FILES = (
    "the .mat files of the public release (Dryad, doi:10.5061/dryad.x69p8czpq, competitionData) "
    "and set data.path to the folder that holds train/ and test/"
)
_EXPECTED = (
    "data.path must name a folder in the T15 layout (t15.YYYY.MM.DD/data_train.hdf5 and "
    "data_val.hdf5), one in the T12 layout (train/t12.YYYY.MM.DD.mat and test/), or synthetic:NAME"
)


class Reader(Protocol):
    """The functions of a module that reads a layout: `decoder.data.t15` and `decoder.data.t12`."""

    def find_sessions(self, folder: Path) -> list[str]:
        """The sessions of a folder, sorted; none if it is not in this layout."""

    def split_path(self, folder: Path, session: str, split: str) -> Path:
        """The file of ``train``, ``val`` or ``test`` of a session."""

    def label_digest(self, folder: Path) -> str | None:
        """Digest of everything outside the recordings that decides labels; None if nothing."""

    def read_index(self, folder: Path, sessions: Sequence[str], problems: Problems) -> Index:
        """Read and check everything except the values of features."""

    def read_test(
        self, folder: Path, sessions: Sequence[str], problems: Problems
    ) -> tuple[TrialFile, ...]:
        """The trials without labels, as `read_index` reads the others; one file per session."""

    def iterate_features(
        self, file: TrialFile, columns: NDArray[np.int64] | None, problems: Problems
    ) -> Iterator[tuple[TrialHeader, NDArray[np.float32]]]:
        """Each sound trial with the given columns of its (T, F) features."""

    def count_trials(self, path: Path, problems: Problems) -> int:
        """Number of trials of a file that is not trained on; 0 if there is no such file."""


@dataclass(frozen=True)
class Layout:
    """A layout and the constants of its data set.

    Attributes:
        name: ``T15`` or ``T12``.
        reader: the module that reads it.
        patch_size, patch_stride, random_cut: of the data set's official decoder.
        feature_clip: level at which features are clipped in the recordings; None for no clipping.
    """

    name: str
    reader: Reader
    patch_size: int
    patch_stride: int
    random_cut: int
    feature_clip: float | None


LAYOUTS = (
    Layout("T15", t15, 14, 4, 3, feature_clip=t15.FEATURE_CLIP),
    Layout("T12", t12, 32, 4, 0, feature_clip=None),
)


def find_layout(folder: Path) -> Layout:
    """The layout of a folder of recordings.

    Raises:
        DataError: the folder does not exist, cannot be read, or is in neither layout or in both.
            Pickles are never opened.
    """
    try:
        return _find_layout(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read: {error.strerror or error}; {_EXPECTED}"
        ) from None


def _find_layout(folder: Path) -> Layout:
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; {_EXPECTED}")
    if not folder.is_dir():
        raise DataError(_not_a_folder(folder))
    found = [layout for layout in LAYOUTS if layout.reader.find_sessions(folder)]
    if len(found) > 1:
        raise DataError(
            f"{folder}: holds sessions in the T15 layout and in the T12 layout; keep each data set "
            "in a folder of its own"
        )
    if not found:
        raise DataError(_no_layout(folder))
    return found[0]


def session_names(
    folder: Path, layout: Layout, sessions: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The sessions to read, in day order.

    Args:
        folder: in this layout.
        layout: from `find_layout`.
        sessions: names in day order; None takes every session found, sorted.

    Raises:
        DataError: a session is missing, has no train file, or is named twice.
    """
    found = layout.reader.find_sessions(folder)
    names = tuple(found if sessions is None else sessions)
    problems = Problems()
    for name, count in Counter(names).items():
        train_path = layout.reader.split_path(folder, name, "train")
        if count > 1:
            positions = ", ".join(str(i) for i, other in enumerate(names) if other == name)
            problems.add(
                f"data.sessions: session '{name}' is listed {count} times (positions {positions}); "
                "keep one, or one day would be trained as several"
            )
        if name not in found:
            problems.add(f"{folder}: holds no session '{name}'{did_you_mean(name, found)}")
        else:
            try:
                if is_file(train_path):
                    continue
            except DataError as error:
                problems.add(*error.problems)
                continue
            problems.add(
                f"{train_path}: no such file, so session '{name}' has no train trials; remove it "
                "from data.sessions"
            )
    problems.raise_if_any()
    return names


def source_files(folder: Path, layout: Layout, sessions: Sequence[str]) -> list[Path]:
    """The files of ``train`` and ``val`` that exist, in day order.

    Raises:
        DataError: one of them is a link that leads nowhere, or anything but a file.
    """
    paths = [
        layout.reader.split_path(folder, session, split)
        for session in sessions
        for split in ("train", "val")
    ]
    return [path for path in paths if is_file(path)]


def _not_a_folder(path: Path) -> str:
    if _is_pickle(path):
        return (
            f"{path}: is a pickle, such as the T12 baseline's ptDecoder_ctc; pickles are never "
            f"opened, because opening one runs the code that it holds: use {_MAT_FILES}"
        )
    return f"{path}: is a file, but {_EXPECTED}"


def _no_layout(folder: Path) -> str:
    """An error message with the likely reason why a folder is in neither layout."""
    entries = sorted(folder.iterdir())
    if any(entry.suffix == ".mat" for entry in entries):
        return (
            f"{folder}: holds .mat files itself; data.path must name its parent folder, which "
            "holds train/ and test/"
        )
    if any(folder.glob("data_*.hdf5")):
        return (
            f"{folder}: is the folder of one session; data.path must name its parent folder, and "
            "data.sessions may name this session"
        )
    pickles = [entry.name for entry in entries if entry.is_file() and _is_pickle(entry)]
    if pickles:
        return (
            f"{folder}: holds no recordings but a pickle ({pickles[0]}), and pickles are never "
            f"opened: use {_MAT_FILES}"
        )
    for level in ("*", "*/*"):
        for inside in sorted(entry for entry in folder.glob(level) if entry.is_dir()):
            if layouts := [one for one in LAYOUTS if one.reader.find_sessions(inside)]:
                return (
                    f"{folder}: holds no session itself, but the folder {inside} in it does, in "
                    f"the {layouts[0].name} layout; name that one"
                )
    return f"{folder}: holds no session; {_EXPECTED}"


def _is_pickle(path: Path) -> bool:
    """Whether the first bytes are those of a pickle or of a torch file, a zip around a pickle."""
    try:
        with path.open("rb") as handle:
            head = handle.read(4096)
    except OSError:
        return False
    if head.startswith(b"PK"):
        return b"data.pkl" in head
    return looks_like_pickle(head)
