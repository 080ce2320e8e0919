"""Files on their way between the driver and a node that does not see its folders.

They travel in pieces, so that no process holds more than a few pieces in memory. Each file arrives
under a temporary name, and takes its own when its checksum is right. This module does not know how
the pieces travel.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, Protocol

from decoder.atomic import sha256_of, storage_error, sync_folder
from decoder.data.files import Say, hash_files, silent
from decoder.errors import StorageError
from decoder.owners import temporary_name
from orchestrator.spec.configuration import Pack
from orchestrator.store.mixing import KEPT_NAMES

PIECE_BYTES = 8 * 2**20
_PART_OF_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")

Kind = Literal["checkpoints", "weights"]
Of = Literal["dataset", "checkpoints", "starts"]  # what a node reads of the driver


class FileEntry(NamedTuple):
    """A file to send: its name relative to its folder with forward slashes, size and SHA-256."""

    name: str
    n_bytes: int
    sha256: str


class Source(Protocol):
    """The driver's folders, as a node sees them; its answers may come over the network."""

    def dataset(self) -> tuple[FileEntry, ...]:
        """The files of the packed recordings."""

    def checkpoint(self, pack_id: str) -> tuple[FileEntry, ...]:
        """The files of the checkpoint folder of a pack; empty if there is none."""

    def start(self, text: str) -> tuple[FileEntry, ...]:
        """The files that ``train.start_from`` names: weights, and what names their sessions."""

    def pieces(self, of: Of, entry: FileEntry) -> Iterator[bytes]:
        """The content of a file, in order."""


@dataclass(frozen=True)
class Piece:
    """A piece of a file on its way to the driver.

    Attributes:
        kind: the folder of the driver that the file belongs in.
        name: relative to that folder, with forward slashes.
        offset: where `content` begins.
        sha256: of the whole file, with its last piece; else empty.
    """

    kind: Kind
    name: str
    offset: int
    content: bytes
    sha256: str = ""


@dataclass(frozen=True)
class KeptFiles:
    """The files that remain of the checkpoints of a pack; the driver removes its others.

    Attributes:
        names: relative to the folder of all checkpoints.
    """

    names: frozenset[str]


Parcel = Piece | KeptFiles


def inside(folder: Path, name: str) -> Path:
    """The file `name` of a folder, without leading out of it.

    Raises:
        StorageError: the name or a link leads out of the folder, or begins with a dot.
    """
    path = folder / name
    parts = PurePosixPath(name).parts
    is_plain = bool(parts) and all(_PART_OF_NAME.fullmatch(part) for part in parts)
    if not is_plain or not path.resolve().is_relative_to(folder.resolve()):
        raise StorageError(
            f"{folder}: a node of the cluster names the file '{name}', which does not lie in it; "
            "nothing was read or written"
        )
    return path


def entries_of(folder: Path, digests_dir: Path, say: Say = silent) -> tuple[FileEntry, ...]:
    """The files directly in a folder, without those whose name begins with a dot.

    Args:
        digests_dir: keeps the digests until a file changes.
    """
    paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    digests = hash_files(folder, paths, digests_dir, say)
    return tuple(FileEntry(p.name, p.stat().st_size, digests[p.name]) for p in paths)


def entries_below(folder: Path, above: Path) -> tuple[FileEntry, ...]:
    """The files in a folder and the folders below, with names relative to `above`.

    Temporary files, whose name begins with a dot, are left out. A file that is being read has
    another name in a moment, or none; so call it only when nobody writes.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            name = path.relative_to(above).as_posix()
            found.append(FileEntry(name, path.stat().st_size, digest))
    return tuple(found)


def read_piece(path: Path, offset: int) -> bytes:
    """At most `PIECE_BYTES` of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(PIECE_BYTES)


def offsets(n_bytes: int) -> range:
    """Where the pieces of a file begin; an empty file has one."""
    return range(0, max(n_bytes, 1), PIECE_BYTES)


def pieces_of(kind: Kind, path: Path, name: str) -> Iterator[Piece]:
    """A file as pieces for the driver."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        starts = offsets(n_bytes)
        for offset in starts:
            content = file.read(PIECE_BYTES)
            digest.update(content)
            is_last = offset == starts[-1]
            yield Piece(kind, name, offset, content, digest.hexdigest() if is_last else "")


class Arrival:
    """A file that arrives piece by piece; it is at its place when it is whole, and never before.

    Args:
        path: its place.
        n_bytes: its size, for the message if there is no room.
    """

    def __init__(self, path: Path, n_bytes: int = 0) -> None:
        self._path, self._n_bytes = path, n_bytes
        self._temporary = path.with_name(temporary_name(path.name, secrets.token_hex(4)))
        self._digest = hashlib.sha256()
        self._written = 0
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("xb")

    def add(self, content: bytes) -> None:
        """Append the next piece.

        Raises:
            StorageError: there is no room.
        """
        with self._errors(len(content)):
            self._file.write(content)
        self._digest.update(content)
        self._written += len(content)

    def finish(self, sha256: str) -> None:
        """Put the file at its place.

        Raises:
            StorageError: its checksum is another than `sha256`, or there is no room.
        """
        if self._digest.hexdigest() != sha256:
            self.drop()
            raise StorageError(
                f"{self._path}: did not arrive as it was sent (its checksum differs); nothing was "
                "kept of it; run the command again"
            )
        with self._errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)

    def drop(self) -> None:
        """Forget what has arrived."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    @contextlib.contextmanager
    def _errors(self, n_more: int = 0) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            n_bytes = max(self._n_bytes, getattr(self, "_written", 0) + n_more)
            if hasattr(self, "_file"):
                self.drop()
            raise storage_error(error, self._path, n_bytes) from None


class Receiver:
    """Writes what the nodes send back into the driver's folders.

    Args:
        folders: kind → the driver's folder.
        packs: the packs that may send files.
    """

    def __init__(self, folders: Mapping[Kind, Path | None], packs: Collection[Pack]) -> None:
        self._folders = folders
        self._packs = {pack.pack_id: pack for pack in packs}
        self._arriving: dict[str, tuple[str, Arrival]] = {}  # pack id → name, what has come

    def take(self, pack_id: str, parcel: Parcel) -> None:
        """Write a piece, or remove checkpoints that the node has no more.

        Raises:
            StorageError: a name leads outside, a checksum is wrong, or it cannot be written.
        """
        if isinstance(parcel, KeptFiles):
            self._keep(pack_id, parcel.names)
            return
        path = self._place(pack_id, parcel)
        if parcel.offset == 0:
            self.forget(pack_id)
            self._arriving[pack_id] = parcel.name, Arrival(path)
        name, arrival = self._arriving.get(pack_id, ("", None))
        if name != parcel.name or arrival is None:
            raise StorageError(f"{path}: its pieces did not arrive in order; nothing was kept")
        arrival.add(parcel.content)
        if parcel.sha256:
            del self._arriving[pack_id]
            arrival.finish(parcel.sha256)

    def forget(self, pack_id: str | None = None) -> None:
        """Drop files of a pack, or of all packs, that have arrived in part."""
        for one in [pack_id] if pack_id is not None else list(self._arriving):
            if one in self._arriving:
                self._arriving.pop(one)[1].drop()

    def _place(self, pack_id: str, piece: Piece) -> Path:
        folder = self._folders[piece.kind]
        first, _, rest = piece.name.partition("/")
        of_pack = {
            "checkpoints": first == pack_id and bool(rest),
            "weights": rest in KEPT_NAMES
            and any(run.run_id == first for run in self._packs[pack_id].runs),
        }
        if folder is None or not of_pack[piece.kind]:
            raise StorageError(
                f"{folder}: a node of the cluster sends '{piece.name}', which is no file of pack "
                f"{pack_id}; nothing was written"
            )
        return inside(folder, piece.name)

    def _keep(self, pack_id: str, names: Collection[str]) -> None:
        above = self._folders["checkpoints"]
        assert above is not None
        folder = inside(above, pack_id)
        if not names:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.rglob("*"):
            if path.is_file() and path.relative_to(above).as_posix() not in names:
                path.unlink(missing_ok=True)


def fetch(pieces: Iterator[bytes], entry: FileEntry, path: Path) -> Iterator[int]:
    """Write a file that arrives at this node; gives the bytes of each piece.

    Raises:
        StorageError: there is no room, or its checksum is wrong.
    """
    arrival = Arrival(path, entry.n_bytes)
    try:
        for content in pieces:
            arrival.add(content)
            yield len(content)
        arrival.finish(entry.sha256)
    except BaseException:
        arrival.drop()
        raise


class FolderSource:
    """The driver's folders, read where they lie.

    Args:
        dataset_dir, checkpoint_dir, start_files: as in
            `orchestrator.execute.backends.types.Execution`.
    """

    def __init__(
        self, dataset_dir: Path, checkpoint_dir: Path, start_files: Mapping[str, Path] | None = None
    ) -> None:
        self._folders = {"dataset": dataset_dir, "checkpoints": checkpoint_dir}
        self._starts = dict(start_files or {})

    def dataset(self) -> tuple[FileEntry, ...]:
        folder = self._folders["dataset"]
        return entries_of(folder, folder.parent)

    def checkpoint(self, pack_id: str) -> tuple[FileEntry, ...]:
        folder = self._folders["checkpoints"]
        return entries_below(inside(folder, pack_id), folder)

    def start(self, text: str) -> tuple[FileEntry, ...]:
        from decoder.regular import sha256_of_file

        return tuple(
            FileEntry(name, path.stat().st_size, sha256_of_file(path))
            for name, path in self._start_files().items()
            if name.startswith(f"{_key(text)}/")
        )

    def _start_files(self) -> dict[str, Path]:
        """Name on the way → path, for every file that may be read as a start."""
        from decoder.start import files_beside

        return {
            f"{_key(text)}/{name}": path
            for text, first in self._starts.items()
            for name, path in files_beside(first).items()
        }

    def piece(self, of: Of, name: str, offset: int) -> bytes:
        """One piece of a file."""
        if of != "starts":
            return read_piece(inside(self._folders[of], name), offset)
        known = self._start_files()
        if name not in known:
            raise StorageError(
                f"a node of the cluster asks for '{name}', which no run starts from; nothing was "
                "read"
            )
        return read_piece(known[name], offset)

    def pieces(self, of: Of, entry: FileEntry) -> Iterator[bytes]:
        for offset in offsets(entry.n_bytes):
            yield self.piece(of, entry.name, offset)


def _key(text: str) -> str:
    """The name of a start file on its way; its own may hold any characters."""
    return sha256_of(text.encode())[:16]
