"""Checksums of packed features, by block: made while packing, verified when opened and in training.

SHA-256 is about as fast as CRC-32 on a CPU with instructions for it and twice as fast as BLAKE2b,
and hashing releases the interpreter's lock, so threads share the work.
"""

import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.atomic import sha256_of, write_atomically
from decoder.data import files
from decoder.errors import StorageError, StoreDamagedError
from decoder.regular import read_json

BLOCK_BYTES = 4 << 20
_LARGE_BYTES = 1 << 30
_MOST_THREADS = 4


class Identity(NamedTuple):
    """A file and its version, as the file system has it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identity_of(path: Path) -> Identity:
    """The identity of a file.

    Raises:
        OSError: there is no such file, or it is no regular file.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a regular file")
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class ChecksummedFile:
    """Writes a file from its start, and makes the SHA-256 of each of its blocks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digests: list[str] = []
        self._block, self._n_in_block = hashlib.sha256(), 0

    def write(self, rows: NDArray[np.float32]) -> None:
        """Append an array."""
        content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        self._file.write(content.data)
        while len(content):
            part = content[: BLOCK_BYTES - self._n_in_block]
            self._block.update(part.data)
            self._n_in_block += len(part)
            content = content[len(part) :]
            if self._n_in_block == BLOCK_BYTES:
                self._end_block()

    def digests(self) -> tuple[str, ...]:
        """The digest of every block; call it once, when all is written."""
        if self._n_in_block:
            self._end_block()
        return tuple(self._digests)

    def _end_block(self) -> None:
        self._digests.append(self._block.hexdigest())
        self._block, self._n_in_block = hashlib.sha256(), 0


def damaged_blocks(
    read: Callable[[int, int], bytes | memoryview], n_bytes: int, digests: Sequence[str]
) -> list[int]:
    """The blocks that differ from their digests, read by a few threads, a block each at a time.

    Args:
        read: gives the bytes from one position to another.
        n_bytes: size of the file.
        digests: of its blocks, as `ChecksummedFile` made them.
    """
    n_blocks = -(-n_bytes // BLOCK_BYTES)
    if n_blocks != len(digests):
        return list(range(max(n_blocks, len(digests))))

    def differs(index: int) -> bool:
        start = index * BLOCK_BYTES
        content = read(start, min(start + BLOCK_BYTES, n_bytes))
        return hashlib.sha256(content).hexdigest() != digests[index]

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return [i for i, bad in enumerate(pool.map(differs, range(n_blocks))) if bad]


def damaged_on_disk(path: Path, digests: Sequence[str]) -> list[int]:
    """The blocks of a file that differ from their digests, with little memory.

    Raises:
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        size = os.fstat(handle).st_size
        return damaged_blocks(lambda a, b: os.pread(handle, b - a, a), size, digests)
    finally:
        os.close(handle)


def blocks_text(name: str, damaged: Sequence[int], n_blocks: int) -> str:
    """That some blocks of a file differ, for a message."""
    return (
        f"{name} differs from its checksums in {len(damaged)} of {n_blocks} blocks of "
        f"{BLOCK_BYTES >> 20} MiB, the first from byte {damaged[0] * BLOCK_BYTES}"
    )


def find_damage(folder: Path, manifest_sha256: str, digests: Mapping[str, Sequence[str]]) -> str:
    """What is damaged in the features files of a store; empty if nothing is.

    Files that were sound before on this machine are not read again while their identity stays.
    Whether they were is noted in ``.checked`` beside the store, which is safe to lose.

    Args:
        folder: of the store.
        manifest_sha256: of its manifest.
        digests: file name → the digests of its blocks.

    Raises:
        OSError: a file cannot be read.
    """
    before = {name: identity_of(folder / name) for name in digests}
    note = _note_path(folder)
    wanted = {"manifest": manifest_sha256, "files": {k: list(v) for k, v in before.items()}}
    with suppress(OSError, ValueError, RecursionError):
        if read_json(note) == wanted:
            return ""
    newest = max((max(one.mtime_ns, one.ctime_ns) for one in before.values()), default=0) / 1e9
    wait = newest + files.RACY_SECONDS - time.time()
    if 0 <= wait <= files.RACY_SECONDS and sum(one.size for one in before.values()) > _LARGE_BYTES:
        time.sleep(wait + 0.1)  # rather than have every worker read a large store again
    started = time.time()
    for name, of_blocks in digests.items():
        if damaged := damaged_on_disk(folder / name, of_blocks):
            return blocks_text(name, damaged, len(of_blocks))
    # A file that was written just now may change again without a new time stamp.
    if started - newest > files.RACY_SECONDS:
        with suppress(StorageError):  # the files are then verified again next time
            write_atomically(note, json.dumps(wanted).encode())
    return ""


def forget(folder: Path) -> None:
    """Have the files of a store verified when it is opened next."""
    with suppress(OSError):
        _note_path(folder).unlink()


def _note_path(folder: Path) -> Path:
    host = sha256_of(socket.gethostname().encode())[:8]
    return folder.parent / files.CHECKED_DIR / f"{folder.name}.{host}.json"


@dataclass
class OpenedFile:
    """A features file in use.

    Attributes:
        path: its place.
        features: its content in memory, mapped from the file.
        digests: of its blocks.
        identity: when it was last known to be sound; None if it was gone from its place.
    """

    path: Path
    features: NDArray[np.float32]
    digests: Sequence[str]
    identity: Identity | None


class OpenedFiles:
    """The features files of an opened store, and whether they still hold what was packed.

    Attributes:
        looked_unchanged: whether damage was found in files of unchanged identity, so that it may be
            older than anything that was made of them.
    """

    def __init__(self, folder: Path, opened: Sequence[OpenedFile]) -> None:
        self._folder, self._files = folder, opened
        self.looked_unchanged = False

    def check(self, where: str = "", *, every_byte: bool = False) -> None:
        """Verify that the features in use are those that were packed.

        A file is read only if its identity has changed since the last time.

        Args:
            where: what shows the damage, for the message.
            every_byte: whether every file is read in any case.

        Raises:
            StoreDamagedError: they are not.
        """
        for file in self._files:
            now = _identity_or_none(file.path)
            if now == file.identity and not every_byte:
                continue
            if damage := _damage_in_memory(file, now):
                self.looked_unchanged = now == file.identity
                forget(self._folder)
                raise StoreDamagedError(
                    f"{self._folder}: the packed recordings are damaged, and were in use: {damage}"
                    f"{where and f' ({where})'}; no run that they reached is recorded; call `run` "
                    "again, which packs them again"
                )
            file.identity = now


def _damage_in_memory(file: OpenedFile, now: Identity | None) -> str:
    """What is damaged in the content that is mapped; empty if nothing is."""
    content = file.features.reshape(-1).view(np.uint8).data
    if now is not None and file.identity is not None:
        is_same = now.inode == file.identity.inode
        if is_same and now.size < len(content):  # reading beyond its end would end the process
            return f"{file.path.name} has {now.size} bytes, not {len(content)}"
    damaged = damaged_blocks(lambda a, b: content[a:b], len(content), file.digests)
    return blocks_text(file.path.name, damaged, len(file.digests)) if damaged else ""


def _identity_or_none(path: Path) -> Identity | None:
    try:
        return identity_of(path)
    except OSError:
        return None
