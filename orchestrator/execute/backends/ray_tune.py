"""The Ray Tune backend: one tune trial per pack, on a local cluster or on one that it joins.

Ray only schedules. Its actors are reused: each trains pack after pack, and each result it returns
is one `Message`. Nothing that Ray writes is read again; its session folder and Tune's storage are
temporary. The modules named `ray_…` import ray inside functions, because Ray reads part of its
environment once, at import.
"""

import dataclasses
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.execute.backends.away import Access, train_away
from orchestrator.execute.backends.escape import Escape
from orchestrator.execute.backends.ray_cluster import worker_resources
from orchestrator.execute.backends.ray_nodes import (
    Nodes,
    log_of_failure,
    own_log,
    resources_of_nodes,
)
from orchestrator.execute.backends.ray_start import cluster
from orchestrator.execute.backends.ray_watch import Reporter, Watch
from orchestrator.execute.backends.travel import Kind, Receiver
from orchestrator.execute.backends.types import Backend, Execution, PackEvent
from orchestrator.execute.backends.worker import (
    Account,
    Training,
    TrainPack,
    next_message,
    train_pack,
)
from orchestrator.spec.configuration import Pack

_MESSAGE = "message"  # our key of a result, to which Tune adds others
# Ray's words for a worker that ended, as when the system kills it for its memory.
_LOST_WORKER = (
    *("ActorDiedError", "OutOfMemoryError", "WorkerCrashedError"),
    *("The actor died", "The actor is dead", "worker process has died"),
)


@contextmanager
def ray_session(execution: Execution, *, train_pack: TrainPack = train_pack) -> Iterator[Backend]:
    """Give a backend that trains on Ray, on one cluster for all its calls until the block ends.

    It trains `execution.n_workers` packs at a time, which start in their order. If a worker dies or
    meets an infrastructure fault (see `is_infrastructure_fault`), its pack starts again from its
    checkpoint in a new process, up to ``max_retries`` times. A pack that then still loses its
    worker may need too much memory, so it is split (see `split_further`) and tried again. Any other
    exception of a pack ends that pack at once. In both cases the runs without a result become a
    `PackFailed`, and the other packs continue. A worker that hangs, or whose process is stopped, is
    killed, see `orchestrator.execute.backends.hang`. Errors and signals stop the packs and leave
    where the ``with`` block ends; after a `Stopped` the packs first write checkpoints.

    Args:
        execution: gives workers, threads and address, which must be the same in all calls. With an
            address, the code of this process is sent to the nodes, and so are the recordings to
            nodes that do not see its folders, see `orchestrator.execute.backends.away`.
        train_pack: trains one pack; it is sent to the workers.

    Raises:
        UserError: raised by a pack.
        BaseException: raised by ``on_event``.
        RayUnavailableError: Ray is missing, or the cluster cannot be started or reached.
        ConfigError: the cluster lacks the resources that the packs need.
        KeyboardInterrupt: on SIGINT, or whatever the process's handlers of SIGINT and SIGTERM
            raise, after the packs are stopped and a local cluster has ended.
    """
    escape, calls, nodes = Escape(), count(), Nodes()
    try:
        with (
            escape.signals(),
            cluster(execution.with_absolute_folders(), escape) as storage_dir,
        ):

            def train(
                packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
            ) -> None:
                if packs:
                    account, folder = Account(packs, on_event), storage_dir / str(next(calls))
                    absolute = execution.with_absolute_folders()
                    with nodes.shared(absolute) as access:
                        work = _Work(account, absolute, access, escape, train_pack)
                        _train_rounds(work, folder)

            yield train
    except KeyboardInterrupt:
        if escape.error is None:
            raise
    except SystemExit:  # Ray raises it on a SIGTERM that comes while it starts
        signal.raise_signal(signal.SIGTERM)
        raise
    if escape.error is not None:
        raise escape.error


class _Work(NamedTuple):
    """What one call of the backend trains.

    Attributes:
        account: of its packs.
        execution: with absolute folders.
        access: for nodes that do not see them; None on a local cluster.
        escape: carries errors out of Ray.
        train_pack: trains one pack.
    """

    account: Account
    execution: Execution
    access: Access | None
    escape: Escape
    train_pack: TrainPack


def _train_rounds(work: _Work, storage_dir: Path) -> None:
    """Run Tune until every pack has ended or failed.

    Usually one experiment is enough. But if a worker is lost between two packs, Tune gives up the
    trial without a retry; the next experiment takes such packs. It also takes the packs that were
    split because they lost their workers.
    """
    account, execution, _, escape, _ = work
    resources = worker_resources(execution, resources_of_nodes())
    if "GPU" in resources:
        work = work._replace(execution=dataclasses.replace(execution, device="cuda"))
    n_fruitless = 0
    for n_rounds in count():
        before = account.open_packs, account.n_splits
        try:
            _fit(work, resources, storage_dir / str(n_rounds))
        except Exception:
            escape.check()
            for pack in account.open_packs:
                account.note(pack.pack_id, traceback.format_exc())
        escape.check()
        if not account.open_packs:
            return
        n_fruitless += (account.open_packs, account.n_splits) == before
        if n_fruitless > execution.max_retries:
            break
    for pack in account.open_packs:
        account.give_up(pack.pack_id, n_fruitless)


def _fit(work: _Work, resources: dict[str, float], storage_dir: Path) -> None:
    """One Tune experiment over the packs that are still open."""
    import ray
    from ray import tune

    packs, execution = work.account.open_packs, work.execution
    watch = Watch(execution, work.account)
    folders: dict[Kind, Path | None] = {
        "checkpoints": execution.checkpoint_dir,
        "weights": execution.weights_dir,
    }
    receiver = Receiver(folders, packs)
    sent = ray.put((packs, execution, work.access, work.train_pack, watch.prefix))
    tuner = tune.Tuner(
        _trainable(sent, resources),
        param_space={"pack": tune.grid_search(list(range(len(packs))))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            # A local cluster has no room for more trials, and a limit can make Tune hang.
            max_concurrent_trials=None if execution.address is None else execution.n_workers,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="packs",
            storage_path=str(storage_dir),
            verbose=0,
            callbacks=[_callback(packs, work, receiver, watch)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=execution.max_retries),
        ),
    )
    try:
        with work.escape.waiting():
            tuner.fit()
    finally:
        receiver.forget()


def _trial_name(trial: Any) -> str:
    return f"pack-{trial.config['pack']}"


def _trainable(work: Any, resources: dict[str, float]) -> type[Any]:
    """The class of the actors that train packs.

    Args:
        work: reference to (packs, execution, access, train_pack, prefix of reports).
    """
    import ray
    from ray import tune

    class PackTrainable(tune.Trainable):
        """Trains one pack after another; one step gives one `Message`."""

        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            return tune.PlacementGroupFactory([resources])

        def setup(self, config: dict[str, Any]) -> None:
            self.packs, self.execution, self.access, self.train_pack, prefix = ray.get(work)
            self.training: Training = iter(())
            self.reporter = Reporter(prefix, self.execution)
            self.has_crashed = False
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if self.has_crashed:  # after a CUDA error, for example, the process is unusable
                raise RuntimeError("a pack crashed in this process, so it takes no other pack")
            self._close()
            pack = self.packs[new_config["pack"]]
            self.reporter.take(pack)
            if self.access is None:
                self.training = self.train_pack(pack, self.execution)
            else:
                self.training = train_away(pack, self.execution, self.access, self.train_pack)
            return True

        def step(self) -> dict[str, Any]:
            try:
                with self.reporter.training():
                    message = next_message(self.training, self.execution)
            except Exception:
                self.has_crashed = True
                raise
            self.has_crashed = message.crash is not None and not message.ending
            if self.has_crashed:
                message = dataclasses.replace(message, log=own_log())
            return {_MESSAGE: message, "done": message.is_last}

        def cleanup(self) -> None:
            self.reporter.end()
            self._close()

        def _close(self) -> None:
            """End the training, which removes its temporary files."""
            if isinstance(self.training, Generator):
                self.training.close()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Do nothing: the decoder writes its own checkpoints."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Do nothing: the decoder reads its own checkpoints."""

    return PackTrainable


def _callback(packs: Sequence[Pack], work: _Work, receiver: Receiver, watch: Watch) -> Any:
    """The Tune callback that turns results of tune trials into events, in the thread of `fit`.

    Args:
        packs: the packs of this experiment; the configuration of a trial holds an index into them.
        receiver: writes what nodes send.
        watch: over the workers.
    """
    from ray import tune

    account, escape, checkpoint_dir = work.account, work.escape, work.execution.checkpoint_dir
    started: set[str] = set()
    stopping: set[str] = set()  # ids of the packs that still write checkpoints
    asked: list[bool] = []  # whether they were asked to

    def running(trials: list[Any]) -> dict[str, int]:
        """Id of each pack that trains → how often its worker was lost."""
        return {
            packs[trial.config["pack"]].pack_id: _n_failures(trial)
            for trial in trials
            if trial.status == "RUNNING"
        }

    class Events(tune.Callback):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            """Pickle an empty callback: Tune writes callbacks into a file that nothing reads, and
            `on_event` may not pickle."""
            return tune.Callback, ()

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if iteration <= 1:  # Tune has just set a handler of SIGUSR1
                escape.handle_signals()

        def on_trial_start(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            started.add(trial.trial_id)

        def on_trial_recover(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            started.discard(trial.trial_id)
            receiver.forget(packs[trial.config["pack"]].pack_id)

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
        ) -> None:
            pack_id = packs[trial.config["pack"]].pack_id
            message = result.pop(_MESSAGE)  # so that Tune neither keeps nor writes it
            if message.is_last:
                stopping.discard(pack_id)
            try:
                if message.parcel is not None:
                    receiver.take(pack_id, message.parcel)
                else:
                    account.deliver(message, pack_id, _n_failures(trial) + 1)
            except BaseException as error:
                escape.carry(error)

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            pack_id = packs[trial.config["pack"]].pack_id
            receiver.forget(pack_id)
            try:
                text = Path(trial.error_file).read_text(encoding="utf-8")
                stopping.discard(pack_id)
                hang = watch.reason(pack_id)
                if trial.trial_id not in started:  # lost before the pack began
                    account.note(pack_id, text)
                elif hang and _lost_its_worker(text):
                    account.fail(pack_id, f"{text}\n{hang}", _n_failures(trial), {})
                elif not (
                    _lost_its_worker(text) and account.split(pack_id, checkpoint_dir / pack_id)
                ):
                    account.fail(pack_id, text, _n_failures(trial), {}, log_of_failure(text))
            except BaseException as error:
                escape.carry(error)

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            try:
                if escape.save_until is None:
                    watch.look(lambda: running(trials))
                elif not asked:
                    asked.append(True)
                    stopping.update(running(trials))
                    watch.ask_to_stop()
                elif not stopping:
                    escape.save_until = None
            except BaseException as error:
                escape.carry(error)
            escape.check()

    return Events()


def _lost_its_worker(text: str) -> bool:
    """Whether the last of the failures that Tune lists is the end of the worker itself."""
    last = text.rpartition("Failure # ")[2]
    return any(words in last for words in _LOST_WORKER)


def _n_failures(trial: Any) -> int:
    return int(trial.run_metadata.num_failures)
