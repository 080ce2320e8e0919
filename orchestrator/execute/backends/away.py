"""Trains a pack on a node that may not see the driver's folders.

What the node sees, it uses. Recordings, and weights to start from, that it does not see are sent to
it once, see `node_cache`.
If it does not see the results folder, the pack trains in a folder of the node: its newest
checkpoint comes from the driver first, and checkpoints, weights and logits go back to the driver,
from where another node can go on. If the node is lost, so is what it trained since the last
checkpoint that went back. Sending takes a tenth of the time at most, so a large checkpoint goes
back less often than it is written.
"""

import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from decoder.config import DecoderConfig
from decoder.errors import ConfigError
from decoder.pack import Progress
from decoder.training_sections import START_KEY
from orchestrator.execute.backends.node_cache import (
    cache_folder,
    receive_dataset,
    receive_start,
    scratch_folder,
)
from orchestrator.execute.backends.splitting import SPLIT_NAME
from orchestrator.execute.backends.travel import (
    KeptFiles,
    Kind,
    Parcel,
    Source,
    fetch,
    inside,
    pieces_of,
)
from orchestrator.execute.backends.types import Execution
from orchestrator.spec.configuration import Pack, is_of_command
from orchestrator.store.mixing import KEPT_NAMES

SEND_PAUSE = 10.0  # times as long as the last checkpoint took to send, at least
Stamp = tuple[int, int, int]  # size, time of the last change in ns, inode


@dataclass(frozen=True)
class Access:
    """How a node finds out what it sees of the driver's folders, and gets the rest.

    Attributes:
        nonce: the content of the markers.
        markers: files that the driver has written into its folders of results.
        dataset: file name → stamp, for the files of the packed recordings.
        source: the driver's folders.
    """

    nonce: str
    markers: tuple[Path, ...]
    dataset: dict[str, Stamp]
    source: Source

    def sees_results(self) -> bool:
        """Whether this process can write into the driver's folders of results."""
        try:
            return all(
                marker.read_text(encoding="utf-8") == self.nonce
                and os.access(marker.parent, os.W_OK)
                for marker in self.markers
            )
        except (OSError, ValueError):
            return False

    def sees_dataset(self, folder: Path) -> bool:
        """Whether this process sees the driver's packed recordings, and not a copy of them."""
        present = stamps_of(folder)
        return all(present.get(name) == stamp for name, stamp in self.dataset.items())


def stamps_of(folder: Path) -> dict[str, Stamp]:
    """File name → stamp, for the files of a folder; empty if there is none.

    The same file has the same stamp on every machine that shares its disk.
    """
    try:
        stats = {p.name: p.stat() for p in folder.iterdir() if not p.name.startswith(".")}
    except OSError:
        return {}
    return {name: (s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats.items()}


def train_away(
    pack: Pack,
    execution: Execution,
    access: Access,
    train_pack: Callable[[Pack, Execution], Iterator[Progress]],
) -> Iterator[Progress | Parcel]:
    """Train a pack on this node, with files sent where it does not see the driver's.

    Args:
        execution: with the driver's folders, absolute.
        train_pack: trains the pack.

    Yields:
        What `train_pack` yields, and files for the driver. Those that a result or a pause refers
        to come before it.

    Raises:
        StorageError: this node has no room, or a file arrives damaged.
        ConfigError: a command on a node that does not see the driver's folder of results.
        Exception: whatever `train_pack` raises.
    """
    if is_of_command(pack):
        if not access.sees_results():
            raise ConfigError(
                f"node {socket.gethostname()} does not see the folder of results "
                f"{execution.weights_dir}; a trainer of your own needs one that all nodes share"
            )
        yield from train_pack(pack, execution)
        return
    cache = cache_folder()
    if not access.sees_dataset(execution.dataset_dir):
        folder = yield from receive_dataset(access.source, execution.dataset_dir.name, cache)
        execution = replace(execution, dataset_dir=folder)
    execution = yield from _with_starts(pack, execution, access, cache)
    if access.sees_results():
        yield from train_pack(pack, execution)
        return
    with scratch_folder(cache) as scratch:
        here = replace(
            execution,
            checkpoint_dir=scratch / "checkpoints",
            weights_dir=execution.weights_dir and scratch / "weights",
        )
        for entry in access.source.checkpoint(pack.pack_id):
            path = inside(here.checkpoint_dir, entry.name)
            for _ in fetch(access.source.pieces("checkpoints", entry), entry, path):
                yield Progress(0)
        outbox = _Outbox(pack, here)
        for progress in train_pack(pack, here):
            yield from outbox.before(progress)
            yield progress
        yield from outbox.send_checkpoint()


def _with_starts(
    pack: Pack, execution: Execution, access: Access, cache: Path
) -> Generator[Progress, None, Execution]:
    """Where this node finds the weights that runs start from; those it does not see are sent."""
    configs = [run.config for run in pack.runs if isinstance(run.config, DecoderConfig)]
    planned: dict[str | None, str | None] = {
        config.train.start_from: config.files.get(START_KEY) for config in configs
    }
    if any(config.evaluation.words.is_on for config in configs):
        from decoder.word_files import source_of_store, word_files

        source = source_of_store(execution.dataset_dir)
        for config in configs:
            named = word_files(config, source)
            planned |= {text: config.files.get(key) for text, key in named.items()}
    files = {}
    for text, path in execution.start_files.items():
        if text in planned and not _sees(path, planned[text]):
            files[text] = yield from receive_start(access.source, text, cache)
    return replace(execution, start_files={**execution.start_files, **files})


def _sees(path: Path, sha256: str | None) -> bool:
    """Whether this node sees the driver's file, and not another one in its place."""
    from decoder.regular import sha256_of_file

    try:
        return sha256_of_file(path) == sha256
    except OSError:
        return False


class _Outbox:
    """What this node has written, and which of it has gone to the driver."""

    def __init__(self, pack: Pack, here: Execution) -> None:
        self._pack, self._here = pack, here
        self._sent = {path: _stamp(path) for path in self._files()}  # they came from the driver
        self._sent_weights: dict[Path, Stamp] = {}
        self._next_send = time.monotonic() + here.checkpoint_every_seconds

    def before(self, progress: Progress) -> Iterator[Parcel]:
        """What must be with the driver before it hears of `progress`.

        Weights of runs that end, everything of runs that pause, and how a pack was split; a
        checkpoint only now and then, together with the weights up to then.
        """
        is_due = bool(progress.paused) or time.monotonic() >= self._next_send
        was_split = any(
            path.name == SPLIT_NAME and self._sent.get(path) != _stamp(path)
            for path in self._files()
        )
        if is_due or progress.finished:
            yield from self._send_weights()
        if is_due or was_split:
            yield from self.send_checkpoint()

    def send_checkpoint(self) -> Iterator[Parcel]:
        """The newest checkpoint of the pack and of its parts, and what the driver can remove."""
        started = time.monotonic()
        folder, present = self._here.checkpoint_dir, self._files()
        newest: dict[Path, Path] = {}
        for path in present:
            if path.match("step-*.json"):
                newest[path.parent] = path  # the files are sorted
        new = [path.with_suffix(".safetensors") for path in newest.values()]
        new += newest.values()  # they make the tensors a checkpoint, so they come after them
        new += [path for path in present if path.name == SPLIT_NAME]
        for path in new:
            stamp = _stamp(path)
            if self._sent.get(path) != stamp:
                yield from pieces_of("checkpoints", path, self._name(path, "checkpoints"))
                self._sent[path] = stamp
        kept = {path for path in present if path in self._sent}
        self._sent = {path: stamp for path, stamp in self._sent.items() if path in kept}
        yield KeptFiles(frozenset(path.relative_to(folder).as_posix() for path in kept))
        pause = SEND_PAUSE * (time.monotonic() - started)
        self._next_send = time.monotonic() + max(self._here.checkpoint_every_seconds, pause)

    def _send_weights(self) -> Iterator[Parcel]:
        if self._here.weights_dir is None:
            return
        folders = [self._here.weights_dir / run.run_id for run in self._pack.runs]
        for path in (folder / name for folder in folders for name in KEPT_NAMES):
            if path.exists() and self._sent_weights.get(path) != (stamp := _stamp(path)):
                yield from pieces_of("weights", path, self._name(path, "weights"))
                self._sent_weights[path] = stamp

    def _files(self) -> list[Path]:
        """The files of the checkpoint folder of the pack, sorted, without temporary ones."""
        folder = self._here.checkpoint_dir / self._pack.pack_id
        return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))

    def _name(self, path: Path, kind: Kind) -> str:
        folder = self._here.checkpoint_dir if kind == "checkpoints" else self._here.weights_dir
        assert folder is not None
        return path.relative_to(folder).as_posix()


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
