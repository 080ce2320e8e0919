"""Trains planned packs on the backend that the options name, and records every run that ends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import assert_never

from decoder.config import DecoderConfig
from decoder.pack import Progress
from orchestrator.execute.backends import Backend, Execution, PackEvent, RayUnavailableError
from orchestrator.execute.machine import Options
from orchestrator.execute.open_packs import Batch, OpenPacks
from orchestrator.execute.recording import Recorder
from orchestrator.plan.packs import Planned
from orchestrator.spec.configuration import CommandConfig, Pack
from orchestrator.store.paths import Results
from orchestrator.store.reservations import Reservations, reserving
from orchestrator.store.under_way import drop_other_sources, keep_cut
from orchestrator.terminal import Say

OpenRay = Callable[[Execution], AbstractContextManager[Backend]]


@contextmanager
def started_backend(
    options: Options, say: Say, *, local: Backend | None = None, open_ray: OpenRay | None = None
) -> Iterator[Backend]:
    """Give the backend that `options` name, for as long as the ``with`` block lasts.

    Ray starts when the first packs arrive, and serves all calls until the block ends. If Ray
    cannot start, the packs are trained in this process instead, unless ``options.address`` asks
    for a cluster.

    Args:
        say: receives one line if the packs are trained in this process instead.
        local: trains in this process; None takes `orchestrator.execute.backends.local`.
        open_ray: starts Ray; None takes `orchestrator.execute.backends.ray_tune.ray_session`.

    Raises:
        RayUnavailableError: the cluster at ``options.address`` cannot be joined.
        BaseException: an error of the packs, or a signal; from Ray it leaves where the block ends.
    """
    started: list[Backend] = []
    with ExitStack() as stack:

        def train(
            packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
        ) -> None:
            if not started:
                started.append(_start(stack, execution, options, say, local, open_ray))
            started[0](packs, execution, on_event)

        yield train


def _start(
    stack: ExitStack,
    execution: Execution,
    options: Options,
    say: Say,
    local: Backend | None,
    open_ray: OpenRay | None,
) -> Backend:
    from orchestrator.execute.backends.local import train_locally

    if options.backend == "ray":
        from orchestrator.execute.backends.ray_tune import ray_session

        try:
            return stack.enter_context((open_ray or ray_session)(execution))
        except RayUnavailableError as error:
            if options.address is not None:
                raise
            say(f"Ray cannot be used ({error}); the packs are trained in this process instead")
    elif options.backend != "local":
        assert_never(options.backend)
    return local or train_locally


@dataclass(frozen=True)
class Trainer:
    """Trains planned packs, and records every run that ends.

    Attributes:
        backend: trains the packs, such as `started_backend` gives it.
        name: the ablation or search; its checkpoints lie in its folder.
        recorder: writes the runs into the ledger.
        say: receives the decoder's remarks.
        leaves: whether runs that other live drivers train are left to them, not waited for.
        watch: receives each event last of all; None if nobody watches.
    """

    backend: Backend
    options: Options
    results: Results
    name: str
    recorder: Recorder
    say: Say
    leaves: bool = False
    watch: Callable[[PackEvent], None] | None = None

    def train(
        self,
        planned: Planned,
        packs: Sequence[Pack],
        on_event: Callable[[PackEvent], None],
        *,
        until_step: int | None = None,
        in_order: bool = False,
        on_others: Callable[[Sequence[str]], None] = lambda run_ids: None,
    ) -> frozenset[str]:
        """Train packs, those of the same recordings in one call of the backend.

        Runs are reserved before they are trained, on Ray those of all packs, in this process those
        of one pack after another. What another live driver trains comes last, see `OpenPacks`.

        Args:
            planned: what the packs belong to.
            packs: some of its packs, in the order in which they are trained.
            on_event: receives each event after its runs are recorded, with the id of a pack of
                `planned`.
            until_step: step at which the packs pause; None trains them to the end.
            in_order: whether the order of the packs counts more than few calls.
            on_others: receives the runs that another driver has recorded meanwhile.

        Returns:
            The runs that are left to other drivers; none unless `leaves`.
        """
        of_call = {pack.pack_id for pack in packs}
        drop_other_sources(self.results, self.name, self.say)
        keep_cut(self.results, self.name, [p for p in planned.packs if p.pack_id in of_call])
        folders = {pack.pack_id: pack.data.folder for pack in planned.packs}
        one_by_one = self.options.backend == "local"
        groups: list[list[str]] = []  # packs that are reserved and trained together
        for ids in _by_folder([pack.pack_id for pack in packs], folders, in_order):
            groups += [[pack_id] for pack_id in ids] if one_by_one else [ids]
        with reserving(self.results, self.name, shares=self.leaves) as held:
            left = OpenPacks(
                held, self.results, self.name, planned, packs, on_event, on_others, self.say
            )
            while left.run_ids:
                n_trained = 0
                for group in groups:
                    if batch := left.take(group):
                        n_trained += 1
                        self._train(batch, folders[group[0]], held, on_event, until_step)
                if left.run_ids and not n_trained and not left.wait(self.leaves):
                    break
            return left.run_ids

    def _train(
        self,
        batch: Batch,
        folder: Path,
        held: Reservations,
        on_event: Callable[[PackEvent], None],
        until_step: int | None,
    ) -> None:
        """Train packs of the same recordings, whose runs are reserved, and give them back."""
        self.recorder.follow(batch)

        def record(event: PackEvent) -> None:
            what = event.what
            with self.recorder.switch.shield():  # all of it, or a signal comes first
                self.recorder.record(event)
                if isinstance(what, Progress):
                    held.release([run.run_id for run in what.finished])
                else:
                    held.release(what.run_ids)
                on_event(replace(event, pack_id=batch.of_plan[event.pack_id]))
                if self.watch is not None:
                    self.watch(event)
                for remark in what.remarks if isinstance(what, Progress) else ():
                    self.say(remark)

        execution = Execution(
            dataset_dir=folder,
            checkpoint_dir=self.results.checkpoints(self.name),
            weights_dir=self.results.runs,
            n_workers=self.options.n_workers,
            threads_per_worker=self.options.threads,
            device=self.options.device,
            address=self.options.address,
            until_step=until_step,
            max_runs_per_pack=self.options.max_runs_per_pack,
            gpus_per_pack=gpus_of(batch.to_train, self.options.gpus_per_pack),
            hang_seconds=self.options.hang_seconds,
            start_files=_start_files(batch.to_train, folder),
        )
        try:
            self.backend(batch.to_train, execution, record)
        finally:
            held.release()


def _start_files(packs: Sequence[Pack], folder: Path) -> dict[str, Path]:
    """File as a configuration names it → where a worker finds it from any working directory.

    These are the files of ``train.start_from``, and those that decoding to words reads.

    Raises:
        ConfigError: a file is gone since the runs were planned.
    """
    configs = [run.config for pack in packs for run in pack.runs]
    ours = [config for config in configs if isinstance(config, DecoderConfig)]
    files: dict[str, Path] = {}
    if any(config.evaluation.words.is_on for config in ours):
        from decoder.word_files import absolute_files

        files |= absolute_files(ours, folder)
    named = {config.train.start_from for config in ours} - {None}
    if named:
        from decoder.start import start_file  # loads torch

        files |= {text: start_file(text).resolve() for text in named if text is not None}
    return files


def gpus_of(packs: Sequence[Pack], asked: float | None) -> float | None:
    """What Ray reserves for a pack: what was asked for, or what the section of a command says."""
    said = [
        run.config.trainer.gpus
        for pack in packs
        for run in pack.runs
        if isinstance(run.config, CommandConfig)
    ]
    return said[0] if said and asked is None else asked


def _by_folder(
    pack_ids: Sequence[str], folders: Mapping[str, Path], in_order: bool
) -> list[list[str]]:
    """The packs of each call: those of one folder, and only neighbours if the order counts."""
    if in_order:
        return [list(of_one) for _, of_one in groupby(pack_ids, folders.__getitem__)]
    every = dict.fromkeys(folders[pack_id] for pack_id in pack_ids)
    return [[i for i in pack_ids if folders[i] == folder] for folder in every]
