"""The parts that both backends share: train one pack, classify errors, keep account of runs."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from decoder.errors import UserError
from decoder.life import is_asked_to_stop
from decoder.pack import Progress
from orchestrator.execute.backends.splitting import (
    is_out_of_memory,
    split_further,
    train_in_parts,
)
from orchestrator.execute.backends.travel import Parcel
from orchestrator.execute.backends.types import Execution, PackEvent, PackFailed
from orchestrator.execute.command.outcome import TrainerFailed
from orchestrator.execute.command.train import train_command
from orchestrator.spec.configuration import Pack, is_of_command, of_our_decoder
from orchestrator.store import provenance

if TYPE_CHECKING:
    from decoder.data.store import Dataset

TrainPack = Callable[[Pack, Execution], Iterator[Progress]]
Training = Iterator[Progress] | Iterator[Progress | Parcel]


def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
    """Train a pack with the decoder, from its checkpoint if there is one, or with a command.

    A pack that runs out of memory goes on in halves, see `train_in_parts`. Sets the number of
    threads of this process. torch is imported here, so that a driver that only schedules never
    loads it.

    Raises:
        DataError: the recordings cannot be used for training.
        StorageError: the checkpoint folder cannot be used.
        TrainerFailed, MachineFault, ConfigError: see `train_command`.
    """
    if is_of_command(pack):
        yield from train_command(pack, execution)
        return
    import torch

    from decoder.determinism import fix_workspace
    from decoder.train import train

    fix_workspace()
    torch.set_num_threads(execution.threads_per_worker)
    dataset = _open_dataset(execution.dataset_dir, _version_of(execution.dataset_dir))

    def train_part(part: Pack, folder: Path, split_from: Sequence[Path]) -> Iterator[Progress]:
        return train(
            of_our_decoder(part),
            dataset,
            device=execution.device,
            checkpoint_dir=folder,
            checkpoint_every_seconds=execution.checkpoint_every_seconds,
            weights_dir=execution.weights_dir,
            until_step=execution.until_step,
            split_from=split_from,
            report_every_seconds=execution.report_every_seconds,
            start_files=execution.start_files,
        )

    folder = execution.checkpoint_dir / pack.pack_id
    yield from train_in_parts(pack, folder, train_part, execution.max_runs_per_pack)


@lru_cache(maxsize=1)
def _open_dataset(folder: Path, version: tuple[int, int]) -> "Dataset":
    """Open the packed recordings, memory-mapped, once per process and version of the folder."""
    from decoder.data.store import open_dataset

    return open_dataset(folder)


def _version_of(folder: Path) -> tuple[int, int]:
    """What changes when a store is packed again in the same place."""
    with suppress(OSError):
        found = folder.stat()
        return found.st_dev, found.st_ino
    return 0, 0


def is_infrastructure_fault(error: BaseException) -> bool:
    """Whether an error comes from the machine and not from the pack, so that a retry may help."""
    return isinstance(error, OSError) or is_out_of_memory(error)


def host_of(execution: Execution) -> dict[str, str | int]:
    """Host name, process id and device of this process, for the record."""
    return {**provenance.host(), "device": execution.device or "auto"}


@dataclass(frozen=True)
class Message:
    """What one step of training gave. Without progress or error, the pack has ended.

    Attributes:
        host: ``hostname``, ``pid`` and ``device`` of the worker.
        progress: the progress that the trainer reported.
        user_error: an error that ends the whole call.
        crash: the traceback of an error that ends this pack alone.
        parcel: a file for the driver, from a node that does not see its folders.
        log: what a worker that crashed has printed.
        stopped: whether the pack ended because it was asked to; it goes on another time.
        ending: the rule by which a trainer of the user's failed; this process is sound.
    """

    host: dict[str, str | int]
    progress: Progress | None = None
    user_error: UserError | None = None
    crash: str | None = None
    parcel: Parcel | None = None
    log: str = ""
    stopped: bool = False
    ending: str = ""

    @property
    def is_last(self) -> bool:
        """Whether the pack has ended."""
        return self.progress is None and self.parcel is None


def next_message(training: Training, execution: Execution) -> Message:
    """Train a pack for one step, in the worker.

    Raises:
        Exception: an infrastructure fault, after which the pack may be retried.
    """
    host = host_of(execution)
    try:
        given = next(training, None)
        if isinstance(given, Progress | None):
            return Message(host, given, stopped=given is None and is_asked_to_stop())
        return Message(host, parcel=given)
    except UserError as error:
        return Message(host, user_error=error)
    except TrainerFailed as failure:
        return Message(host, crash=str(failure), ending=str(failure.ending))
    except Exception as error:
        if is_infrastructure_fault(error):
            raise
        return Message(host, crash=traceback.format_exc())


class Account:
    """Keeps track of which runs have a result and which packs have ended, and passes events on.

    Args:
        on_event: called for each event, in the caller's thread.
    """

    def __init__(self, packs: Sequence[Pack], on_event: Callable[[PackEvent], None]) -> None:
        assert len({pack.pack_id for pack in packs}) == len(packs), "pack ids must differ"
        self._on_event = on_event
        self._open = {pack.pack_id: pack for pack in packs}
        self._without_result = {pack.pack_id: [run.run_id for run in pack.runs] for pack in packs}
        self._notes: dict[str, str] = {}
        self.n_splits = 0

    @property
    def open_packs(self) -> tuple[Pack, ...]:
        """The packs that have neither ended nor failed, in the order of `packs`."""
        return tuple(self._open.values())

    def deliver(self, message: Message, pack_id: str, n_attempts: int) -> None:
        """Pass on what a step of a pack gave, in the driver.

        The result of a run is passed on once, even if its pack is retried. A run that pauses needs
        no result; one that still lacks its result when the pack ends has failed, unless the pack
        was asked to stop.

        Raises:
            UserError: the one that the message carries.
        """
        if message.user_error is not None:
            raise message.user_error
        if message.stopped:
            return
        progress, waiting = message.progress, self._without_result[pack_id]
        if progress is None:
            text = message.crash or "the trainer ended without a result for these runs"
            self.fail(pack_id, text, n_attempts, message.host, message.log, message.ending)
            return
        finished = tuple(result for result in progress.finished if result.run_id in waiting)
        for result in finished:
            waiting.remove(result.run_id)
        waiting[:] = [run_id for run_id in waiting if run_id not in progress.paused]
        self._on_event(PackEvent(pack_id, replace(progress, finished=finished), message.host))

    def fail(
        self,
        pack_id: str,
        reason: str,
        n_attempts: int,
        host: dict[str, str | int],
        log: str = "",
        ending: str = "",
    ) -> None:
        """End a pack, and report the failure of its runs that lack a result, if any."""
        del self._open[pack_id]
        run_ids = tuple(self._without_result[pack_id])
        if run_ids:
            failure = PackFailed(run_ids, reason, n_attempts, log, ending)
            self._on_event(PackEvent(pack_id, failure, host))

    def split(self, pack_id: str, folder: Path) -> bool:
        """Split a pack that lost its workers too often, so that it can be tried again.

        Args:
            folder: the checkpoint folder of the pack.

        Returns:
            Whether there was anything to split.
        """
        remark = split_further(self._open[pack_id], folder, self._without_result[pack_id])
        if remark is not None:
            self.n_splits += 1
            self._on_event(PackEvent(pack_id, Progress(0, remarks=(remark,))))
        return remark is not None

    def remark(self, pack_id: str, step: int, text: str) -> None:
        """Pass on a remark of the driver about a pack at this step."""
        self._on_event(PackEvent(pack_id, Progress(step, remarks=(text,))))

    def note(self, pack_id: str, reason: str) -> None:
        """Remember the traceback of a pack that will be retried."""
        self._notes[pack_id] = reason

    def give_up(self, pack_id: str, n_attempts: int) -> None:
        """Give up a pack, with the traceback noted last."""
        self.fail(pack_id, self._notes.get(pack_id, "no reason was given"), n_attempts, {})
