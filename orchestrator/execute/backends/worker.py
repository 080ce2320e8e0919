"""What both backends share: training one pack, telling faults apart, keeping account of runs."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from decoder.pack import Pack, Progress
from orchestrator.execute.backends import Execution, PackEvent, PackFailed

if TYPE_CHECKING:
    from decoder.data.store import Dataset

TrainPack = Callable[[Pack, Execution], Iterator[Progress]]

# Words in a RuntimeError that mean the machine ran out of memory, on a CPU or on a GPU.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
    """Train a pack with the decoder, from its checkpoint where there is one.

    Sets the threads of this process. torch is imported here and not before, so that a driver
    which only schedules never loads it.

    Raises:
        DataError, StorageError: the recordings or the checkpoint folder are unfit.
    """
    import torch

    from decoder.train import train

    torch.set_num_threads(execution.threads_per_worker)
    yield from train(
        pack,
        _open_dataset(execution.dataset_dir),
        device=execution.device,
        checkpoint_dir=execution.checkpoint_dir / pack.pack_id,
        checkpoint_every_seconds=execution.checkpoint_every_seconds,
        weights_dir=execution.weights_dir,
        until_step=execution.until_step,
    )


@lru_cache(maxsize=1)
def _open_dataset(folder: Path) -> "Dataset":
    """The memory-mapped store; a process opens it once for all its packs."""
    from decoder.data.store import open_dataset

    return open_dataset(folder)


def is_infrastructure_fault(error: BaseException) -> bool:
    """Whether the machine is to blame, and not the pack: only then is another try worth it."""
    if isinstance(error, MemoryError | OSError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def host_facts(execution: Execution) -> dict[str, str | int]:
    """Where this process trains, for the record."""
    return {
        "hostname": platform.node(),
        "pid": os.getpid(),
        "device": execution.device or "auto",
    }


class Account:
    """Which runs have a result, which packs have ended; passes events on.

    Args:
        packs: all packs of the call.
        on_event: called for each event, in the caller's thread.
    """

    def __init__(self, packs: Sequence[Pack], on_event: Callable[[PackEvent], None]) -> None:
        assert len({pack.pack_id for pack in packs}) == len(packs), "pack ids must differ"
        self._on_event = on_event
        self._open = {pack.pack_id: pack for pack in packs}
        self._without_result = {pack.pack_id: [run.run_id for run in pack.runs] for pack in packs}
        self._notes: dict[str, str] = {}

    @property
    def open_packs(self) -> tuple[Pack, ...]:
        """The packs that have neither ended nor failed, in the order they were given."""
        return tuple(self._open.values())

    def progress(self, pack_id: str, progress: Progress, host: dict[str, str | int]) -> None:
        """Pass on progress; the result of a run is passed on once, however often it is tried.

        A run that pauses is waited for no more.
        """
        waiting = self._without_result[pack_id]
        finished = tuple(result for result in progress.finished if result.run_id in waiting)
        for result in finished:
            waiting.remove(result.run_id)
        waiting[:] = [run_id for run_id in waiting if run_id not in progress.paused]
        self._on_event(PackEvent(pack_id, replace(progress, finished=finished), host))

    def end(self, pack_id: str, n_attempts: int, host: dict[str, str | int]) -> None:
        """The trainer came to its end: a run it left without a result has failed."""
        if self._without_result[pack_id]:
            self.fail(
                pack_id, "the trainer ended without a result for these runs", n_attempts, host
            )
        else:
            del self._open[pack_id]

    def fail(
        self, pack_id: str, traceback: str, n_attempts: int, host: dict[str, str | int]
    ) -> None:
        """Give a pack up. If all its runs have results already, nothing is lost or reported."""
        del self._open[pack_id]
        run_ids = tuple(self._without_result[pack_id])
        if run_ids:
            self._on_event(PackEvent(pack_id, PackFailed(run_ids, traceback, n_attempts), host))

    def note(self, pack_id: str, traceback: str) -> None:
        """Keep what went wrong with a pack that is to be tried again."""
        self._notes[pack_id] = traceback

    def give_up(self, pack_id: str, n_attempts: int) -> None:
        """Fail a pack for the reason noted last."""
        self.fail(pack_id, self._notes.get(pack_id, "no reason was given"), n_attempts, {})
