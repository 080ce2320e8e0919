"""What a backend is: something that trains planned packs and reports what happens to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from decoder.errors import ConfigError
from decoder.pack import Pack, Progress


class RayUnavailableError(ConfigError):
    """Ray is missing or cannot be started or joined; the packs themselves may be fine."""


@dataclass(frozen=True)
class PackFailed:
    """A pack that could not be trained for reasons other than its numbers (out of memory, a
    killed worker, our own bug), after all retries.

    Attributes:
        run_ids: the runs left without a result.
        traceback: what was raised, as text.
        n_attempts: how often it was tried.
    """

    run_ids: tuple[str, ...]
    traceback: str
    n_attempts: int


@dataclass(frozen=True)
class PackEvent:
    """One thing that happened to a pack: it made progress, or it failed for good."""

    pack_id: str
    what: Progress | PackFailed
    host: dict[str, str | int] = field(default_factory=dict)  # hostname, pid, device of the worker


@dataclass(frozen=True)
class Execution:
    """How packs are trained; nothing here can change a result.

    Attributes:
        dataset_dir: the packed store every worker opens read-only (memory-mapped).
        checkpoint_dir: folder under which each pack keeps its checkpoint.
        weights_dir: folder under which each run keeps its weights, where it keeps any.
        n_workers: packs trained at the same time.
        threads_per_worker: CPU threads of each.
        device: "cpu" or a torch device string; None lets the decoder choose.
        checkpoint_every_seconds: wall time between checkpoints.
        max_retries: how often a pack is started again after an infrastructure failure.
        address: Ray cluster to join; None starts a local one.
        until_step: step at which packs pause, to be judged and perhaps trained on; None trains
            them to the end.
    """

    dataset_dir: Path
    checkpoint_dir: Path
    n_workers: int
    threads_per_worker: int = 1
    device: str | None = None
    checkpoint_every_seconds: float = 20.0
    max_retries: int = 2
    address: str | None = None
    weights_dir: Path | None = None
    until_step: int | None = None


class Backend(Protocol):
    """Trains packs; calls `on_event` in the caller's thread, in order for each pack."""

    def __call__(
        self,
        packs: Sequence[Pack],
        execution: Execution,
        on_event: Callable[[PackEvent], None],
    ) -> None: ...
