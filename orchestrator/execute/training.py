"""Trains planned packs on the backend that the options name, and records every run that ends."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import assert_never

from decoder.atomic import write_atomically
from decoder.pack import Pack, Progress
from decoder.regular import read_regular
from orchestrator.execute.backends import Backend, Execution, PackEvent, RayUnavailableError
from orchestrator.execute.machine import Options
from orchestrator.execute.recording import Recorder
from orchestrator.plan.packs import Planned
from orchestrator.store.mixing import keep_others
from orchestrator.store.paths import Results
from orchestrator.store.sources import training_sha256
from orchestrator.store.under_way import keep_cut
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
    """

    backend: Backend
    options: Options
    results: Results
    name: str
    recorder: Recorder
    say: Say

    def train(
        self,
        planned: Planned,
        packs: Sequence[Pack],
        on_event: Callable[[PackEvent], None],
        *,
        until_step: int | None = None,
        in_order: bool = False,
    ) -> None:
        """Train packs, those of the same recordings in one call of the backend.

        Args:
            planned: what the packs belong to.
            packs: some of its packs, in the order in which they are trained.
            on_event: receives each event after its runs are recorded.
            until_step: step at which the packs pause; None trains them to the end.
            in_order: whether the order of the packs counts more than few calls.
        """
        self.recorder.follow(planned)
        self._keep_of_other_sources([run.run_id for pack in packs for run in pack.runs])

        of_call = {pack.pack_id for pack in packs}
        keep_cut(self.results, self.name, [p for p in planned.packs if p.pack_id in of_call])

        def record(event: PackEvent) -> None:
            self.recorder.record(event)
            on_event(event)
            for remark in event.what.remarks if isinstance(event.what, Progress) else ():
                self.say(remark)

        folders = {pack.pack_id: pack.data.folder for pack in planned.packs}
        for folder, of_folder in _by_folder(packs, folders, in_order):
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
                gpus_per_pack=self.options.gpus_per_pack,
                hang_seconds=self.options.hang_seconds,
            )
            self.backend(of_folder, execution, record)

    def _keep_of_other_sources(self, run_ids: Sequence[str]) -> None:
        """Keep results that will be replaced, and drop checkpoints, if other sources made them."""
        keep_others(self.results, run_ids)
        folder = self.results.checkpoints(self.name)
        of_sources = folder / "sources"
        present = training_sha256()
        if folder.exists() and _text_of(of_sources) != present:
            self.say(
                f"{folder}: not known to be of the present source code of the decoder; runs in "
                "progress start anew"
            )
            shutil.rmtree(folder)
        write_atomically(of_sources, present.encode())


def _text_of(path: Path) -> str | None:
    """The text of a small file; None if it cannot be read."""
    try:
        return read_regular(path).decode()
    except (OSError, ValueError):
        return None


def _by_folder(
    packs: Sequence[Pack], folders: Mapping[str, Path], in_order: bool
) -> list[tuple[Path, list[Pack]]]:
    """The packs of each call: those of one folder, and only neighbours if the order counts."""

    def folder(pack: Pack) -> Path:
        return folders[pack.pack_id]

    if in_order:
        return [(one, list(of_one)) for one, of_one in groupby(packs, folder)]
    every = dict.fromkeys(map(folder, packs))
    return [(one, [pack for pack in packs if folder(pack) == one]) for one in every]
