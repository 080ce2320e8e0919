"""The types that every backend shares: how to train packs, and what happened to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from decoder.errors import ConfigError
from decoder.pack import Progress
from orchestrator.spec.configuration import Pack


class RayUnavailableError(ConfigError):
    """Ray is missing, or its cluster cannot be started or joined; no pack is to blame."""


@dataclass(frozen=True)
class PackFailed:
    """An infrastructure failure of a pack (out of memory, a killed worker, a bug of ours) that
    remains after all retries.

    Attributes:
        run_ids: the runs without a result.
        traceback: the traceback of the last attempt.
        log: what its worker printed; empty if that is not known.
        ending: of a trainer of the user's, the rule that decided.
    """

    run_ids: tuple[str, ...]
    traceback: str
    n_attempts: int
    log: str = ""
    ending: str = ""


@dataclass(frozen=True)
class PackEvent:
    """A pack made progress, or it failed after all retries.

    Attributes:
        host: ``hostname``, ``pid`` and ``device`` of the worker.
    """

    pack_id: str
    what: Progress | PackFailed
    host: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Execution:
    """How packs are trained; nothing here can change a result.

    Attributes:
        dataset_dir: the packed recordings, which every worker opens read-only (memory-mapped).
        checkpoint_dir: the parent of each pack's checkpoint folder.
        weights_dir: the parent of each run's weights, for runs that keep weights.
        n_workers: packs trained at the same time.
        threads_per_worker: CPU threads per worker.
        device: a torch device such as "cpu"; None lets the decoder choose.
        checkpoint_every_seconds: wall time between checkpoints.
        max_retries: retries of a pack after an infrastructure failure.
        address: Ray cluster to join; None starts a local one.
        until_step: step at which packs pause, so that a search can decide which runs continue;
            None trains them to the end.
        max_runs_per_pack: a pack of more runs is trained in parts; None trains any number.
        gpus_per_pack: what Ray reserves for a pack; None shares the GPUs out among the workers.
        hang_seconds: a worker that shows no sign of life for this long is ended, see
            `orchestrator.execute.backends.hang`; None waits for ever.
        report_every_seconds: how often a pack reports its step between evaluations.
        start_files: ``train.start_from`` → the absolute path of that file, for the runs that start
            from weights.
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
    max_runs_per_pack: int | None = None
    gpus_per_pack: float | None = None
    hang_seconds: float | None = 600.0
    report_every_seconds: float = 5.0
    start_files: Mapping[str, Path] = field(default_factory=dict)

    def with_absolute_folders(self) -> "Execution":
        """The same, with folders that a worker finds from any working directory."""
        return replace(
            self,
            dataset_dir=self.dataset_dir.resolve(),
            checkpoint_dir=self.checkpoint_dir.resolve(),
            weights_dir=self.weights_dir and self.weights_dir.resolve(),
        )


class Backend(Protocol):
    """Trains packs. Calls `on_event` in the caller's thread, in order for each pack."""

    def __call__(
        self,
        packs: Sequence[Pack],
        execution: Execution,
        on_event: Callable[[PackEvent], None],
    ) -> None: ...
