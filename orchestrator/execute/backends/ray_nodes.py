"""What the driver and the nodes of a Ray cluster do for each other: files there and back, and logs.

It imports ray inside functions, as `orchestrator.execute.backends.ray_tune` does.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from decoder.atomic import write_atomically
from decoder.errors import ConfigError
from decoder.owners import parse_owner, this_process
from orchestrator.execute.backends.away import Access, stamps_of
from orchestrator.execute.backends.travel import FileEntry, FolderSource, Of, offsets
from orchestrator.execute.backends.types import Execution

_LOG_BYTES = 32 * 2**10  # of each log of a worker, from its end
_LOG_SECONDS = 10.0
_MARKER_DAYS = 7.0


_Places = tuple[Path, Path, Mapping[str, Path]]  # the arguments of `FolderSource`


class _Folders:
    """The actor on the driver's node that reads the driver's folders for the other nodes."""

    def __init__(self) -> None:
        self._hashing = threading.Lock()

    def dataset(self, folders: _Places) -> tuple[FileEntry, ...]:
        if not folders[0].is_dir():
            raise ConfigError(
                f"{folders[0]}: the Ray node that this driver joined does not see the driver's "
                "folders; start a Ray node on the driver's machine, with 'ray start --address ...'"
            )
        with self._hashing:
            return FolderSource(*folders).dataset()

    def checkpoint(self, folders: _Places, pack_id: str) -> tuple[FileEntry, ...]:
        return FolderSource(*folders).checkpoint(pack_id)

    def start(self, folders: _Places, text: str) -> tuple[FileEntry, ...]:
        with self._hashing:
            return FolderSource(*folders).start(text)

    def piece(self, folders: _Places, of: Of, name: str, offset: int) -> bytes:
        return FolderSource(*folders).piece(of, name, offset)


class RaySource:
    """The driver's folders, read through its actor; one piece is on its way while another is used.

    Args:
        actor: handle of a `_Folders`.
        dataset_dir, checkpoint_dir, start_files: the driver's.
    """

    def __init__(
        self,
        actor: Any,
        dataset_dir: Path,
        checkpoint_dir: Path,
        start_files: Mapping[str, Path] | None = None,
    ) -> None:
        self._actor = actor
        self._folders: _Places = (dataset_dir, checkpoint_dir, dict(start_files or {}))

    def dataset(self) -> tuple[FileEntry, ...]:
        return tuple(_answer(self._actor.dataset.remote(self._folders)))

    def checkpoint(self, pack_id: str) -> tuple[FileEntry, ...]:
        return tuple(_answer(self._actor.checkpoint.remote(self._folders, pack_id)))

    def start(self, text: str) -> tuple[FileEntry, ...]:
        return tuple(_answer(self._actor.start.remote(self._folders, text)))

    def pieces(self, of: Of, entry: FileEntry) -> Iterator[bytes]:
        asked: list[Any] = []
        for offset in offsets(entry.n_bytes):
            asked.append(self._actor.piece.remote(self._folders, of, entry.name, offset))
            if len(asked) > 1:
                yield bytes(_answer(asked.pop(0)))
        yield bytes(_answer(asked.pop(0)))


def _answer(reference: Any) -> Any:
    """The answer of the actor.

    Raises:
        Exception: what the actor raised; an OSError if it cannot be reached.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise OSError(f"the driver's node does not send files: {error}") from None


class Nodes:
    """The other nodes of a cluster, for one session."""

    def __init__(self) -> None:
        self._actor: Any = None

    @contextmanager
    def shared(self, execution: Execution) -> Iterator[Access | None]:
        """What nodes need to find the driver's folders; None on a local cluster.

        Raises:
            StorageError: the folders cannot be written.
        """
        if execution.address is None:
            yield None
            return
        if self._actor is None:
            self._actor = _start_actor()
        nonce = secrets.token_hex(16)
        folders = {execution.checkpoint_dir, execution.weights_dir or execution.checkpoint_dir}
        markers = tuple(
            folder / f".seen-{this_process()}-{nonce[:8]}" for folder in sorted(folders)
        )
        for marker in markers:
            clear_markers(marker.parent)
            write_atomically(marker, nonce.encode())
        source = RaySource(
            self._actor, execution.dataset_dir, execution.checkpoint_dir, execution.start_files
        )
        try:
            yield Access(nonce, markers, stamps_of(execution.dataset_dir), source)
        finally:
            for marker in markers:
                marker.unlink(missing_ok=True)


def clear_markers(folder: Path) -> None:
    """Remove markers of drivers of this machine that were killed, and old ones of others."""
    for marker in folder.glob(".seen-*"):
        owner = parse_owner(marker.name.removeprefix(".seen-").rpartition("-")[0])
        with suppress(OSError):  # its driver has removed it
            if owner is not None and owner.is_here:
                is_left = not owner.is_alive
            else:
                is_left = time.time() - marker.stat().st_mtime > _MARKER_DAYS * 86400.0
            if is_left:
                marker.unlink(missing_ok=True)


def _start_actor() -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(_Folders)
        .options(
            num_cpus=0,
            max_concurrency=8,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        .remote()
    )


def resources_of_nodes() -> list[dict[str, float]]:
    """The resources of every live node of the cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def worker_log(folder: Path, pid: int) -> str:
    """What a worker printed, and what Ray logged of it, each shortened to its end.

    Args:
        folder: Ray's logs on this node.
        pid: of the worker.
    """
    parts = []
    names = f"worker-*-{pid}.err", f"worker-*-{pid}.out", f"python-core-worker-*_{pid}.log"
    for pattern in names:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _LOG_BYTES))
                text = file.read().decode(errors="replace").strip()
            if text:
                cut = f", the last {_LOG_BYTES:,} of {size:,} bytes" if size > _LOG_BYTES else ""
                parts.append(f"==== {path.name}{cut} ====\n{text}\n")
    return "\n".join(parts)


def own_log() -> str:
    """The log of this worker."""
    return _read_log(os.getpid())


def log_of_failure(text: str) -> str:
    """The log of the worker that a failure names; empty if it cannot be had.

    Args:
        text: Ray's words on the failure.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    last = text.rpartition("Failure # ")[2]
    pid, address = re.search(r"\bpid[=:] ?(\d+)", last), re.search(r"\bip[=:] ?([\w.:]+)", last)
    if pid is None:
        return ""
    try:
        here, found = "", []
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if not (node["Alive"] and address):
                continue
            if node["NodeID"] == ray.get_runtime_context().get_node_id():
                here = _read_log(int(pid[1]))
            elif node["NodeManagerAddress"] == address[1].rstrip(".,)"):
                strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = ray.remote(_read_log).options(num_cpus=0, scheduling_strategy=strategy)
                found.append(task.remote(int(pid[1])))
        return here or "\n".join(filter(None, ray.get(found, timeout=_LOG_SECONDS)))
    except ray.exceptions.RayError as error:
        return f"the log of process {pid[1]} cannot be read: {error}"


def _read_log(pid: int) -> str:
    import ray

    node: Any = ray._private.worker._global_node
    return worker_log(Path(node.get_logs_dir_path()), pid)
