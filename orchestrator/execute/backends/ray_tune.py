"""The Ray Tune backend: one tune trial a pack, on a local cluster of its own or on a given one.

Ray only schedules: a class trainable whose actors are reused goes through the packs, and each
result it returns is one `Progress`. Nothing Ray writes is ever read again; its session folder and
Tune's storage are temporary. This is the only file that imports ray, and only inside functions:
Ray reads part of its environment once, at import.
"""

import dataclasses
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from decoder.errors import ConfigError, UserError
from decoder.pack import Pack
from orchestrator.execute.backends import Execution, PackEvent, RayUnavailableError
from orchestrator.execute.backends.cluster import (
    check_reachable,
    gpu_share,
    ray_environment,
    temporary_folder,
)
from orchestrator.execute.backends.escape import Escape
from orchestrator.execute.backends.worker import (
    Account,
    TrainPack,
    host_facts,
    is_infrastructure_fault,
    train_pack,
)

_OBJECT_STORE_BYTES = 128 * 2**20
# The keys of a result, beside the ones Tune adds.
_PROGRESS, _USER_ERROR, _CRASH, _HOST = "progress", "user_error", "crash", "host"


def train_on_ray(
    packs: Sequence[Pack],
    execution: Execution,
    on_event: Callable[[PackEvent], None],
    *,
    train_pack: TrainPack = train_pack,
) -> None:
    """Train packs on Ray, `execution.n_workers` at a time, first come first served.

    A pack whose worker dies or meets an infrastructure fault (see `is_infrastructure_fault`)
    starts again from its checkpoint in a new process, up to ``max_retries`` times. Any other
    exception of a pack ends it at once. Either way it becomes `PackFailed` for the runs without
    a result, and the other packs go on.

    Args:
        packs: what to train; they are handed out in this order.
        execution: where and how. With an address, the folders must be visible on every node;
            the code of this process is sent there.
        on_event: called in this thread; what it raises stops the packs and comes out here.
        train_pack: trains one pack; it is sent to the workers.

    Raises:
        UserError: of any kind, as a pack raised it; the packs still running are stopped.
        RayUnavailableError: Ray is missing, or the cluster cannot be started or reached.
        ConfigError: the cluster lacks what the packs need.
        KeyboardInterrupt: or whatever the process's handler of SIGINT or SIGTERM raises, once
            the packs are stopped and a local cluster is gone.
    """
    if not packs:
        return
    with ray_session(execution) as train:
        train(packs, execution, on_event, train_pack=train_pack)


class RaySession:
    """Trains packs, one call after the other, on a cluster that lasts; see `train_on_ray`."""

    def __init__(self, escape: Escape, storage_dir: Path) -> None:
        self._escape, self._storage_dir = escape, storage_dir
        self._n_calls = count()

    def __call__(
        self,
        packs: Sequence[Pack],
        execution: Execution,
        on_event: Callable[[PackEvent], None],
        *,
        train_pack: TrainPack = train_pack,
    ) -> None:
        """As `train_on_ray`; errors and signals come out as such where the session ends."""
        if not packs:
            return
        folder = self._storage_dir / str(next(self._n_calls))
        account = Account(packs, on_event)
        _train_rounds(account, _absolute(execution), self._escape, folder, train_pack)


@contextmanager
def ray_session(execution: Execution) -> Iterator[RaySession]:
    """Keep one cluster for several calls, as a search makes them.

    Args:
        execution: workers, threads and address; the calls must agree with it in these.

    Raises:
        As `train_on_ray`, out of the ``with`` block.
    """
    escape = Escape()
    try:
        with escape.signals(), _cluster(_absolute(execution), escape) as storage_dir:
            yield RaySession(escape, storage_dir)
    except KeyboardInterrupt:
        if escape.error is None:
            raise
    except SystemExit:  # Ray's own answer to a SIGTERM that comes while it starts
        signal.raise_signal(signal.SIGTERM)
        raise
    if escape.error is not None:
        raise escape.error


def _absolute(execution: Execution) -> Execution:
    """With folders that workers find, wherever they run."""
    return dataclasses.replace(
        execution,
        dataset_dir=execution.dataset_dir.resolve(),
        checkpoint_dir=execution.checkpoint_dir.resolve(),
        weights_dir=execution.weights_dir and execution.weights_dir.resolve(),
    )


def _train_rounds(
    account: Account,
    execution: Execution,
    escape: Escape,
    storage_dir: Path,
    train_pack: TrainPack,
) -> None:
    """Run Tune until every pack has ended or failed.

    One experiment does, as a rule. But Tune gives a trial up without another try when its worker
    is lost between two packs; such packs go into the next experiment.
    """
    resources = _resources(execution)
    if "GPU" in resources:
        execution = dataclasses.replace(execution, device="cuda")
    n_fruitless = 0
    for n_rounds in count():
        open_before = account.open_packs
        try:
            folder = storage_dir / str(n_rounds)
            _fit(account, execution, resources, escape, folder, train_pack)
        except Exception:
            escape.check()
            for pack in account.open_packs:
                account.note(pack.pack_id, traceback.format_exc())
        escape.check()
        if not account.open_packs:
            return
        n_fruitless += account.open_packs == open_before
        if n_fruitless > execution.max_retries:
            break
    for pack in account.open_packs:
        account.give_up(pack.pack_id, n_fruitless)


def _fit(
    account: Account,
    execution: Execution,
    resources: dict[str, float],
    escape: Escape,
    storage_dir: Path,
    train_pack: TrainPack,
) -> None:
    """One Tune experiment over the packs that are still open."""
    import ray
    from ray import tune

    packs = account.open_packs
    tune.Tuner(
        _trainable(ray.put((packs, execution, train_pack)), resources),
        param_space={"pack": tune.grid_search(list(range(len(packs))))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            # A local cluster has room for just so many; Tune's own count can lock up.
            max_concurrent_trials=None if execution.address is None else execution.n_workers,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="packs",
            storage_path=str(storage_dir),
            verbose=0,
            callbacks=[_callback(packs, account, escape)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=execution.max_retries),
        ),
    ).fit()


def _trial_name(trial: Any) -> str:
    return f"pack-{trial.config['pack']}"


def _trainable(work: Any, resources: dict[str, float]) -> type[Any]:
    """The class whose actors train packs.

    Args:
        work: reference to (packs, execution, train_pack), the same for all actors.
        resources: what each actor takes of the cluster.
    """
    import ray
    from ray import tune

    class PackTrainable(tune.Trainable):
        """One actor; one step is one `Progress` of the pack it is at."""

        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            return tune.PlacementGroupFactory([resources])

        def setup(self, config: dict[str, Any]) -> None:
            self.packs, self.execution, self.train_pack = ray.get(work)
            self.has_crashed = False
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if self.has_crashed:  # after a CUDA error, for one, nothing else works either
                raise RuntimeError("a process in which a pack crashed takes no other")
            self.training = self.train_pack(self.packs[new_config["pack"]], self.execution)
            return True

        def step(self) -> dict[str, Any]:
            result: dict[str, Any] = {_HOST: host_facts(self.execution)}
            try:
                progress = next(self.training, None)
            except UserError as error:
                return {**result, _USER_ERROR: error, "done": True}
            except Exception as error:
                self.has_crashed = True
                if is_infrastructure_fault(error):
                    raise
                return {**result, _CRASH: traceback.format_exc(), "done": True}
            return {**result, _PROGRESS: progress, "done": progress is None}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: the decoder keeps its own checkpoints."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: the decoder finds its own checkpoints."""

    return PackTrainable


def _callback(packs: Sequence[Pack], account: Account, escape: Escape) -> Any:
    """What turns the results of tune trials into events, in the thread that called `fit`.

    Args:
        packs: the packs of this experiment, by the number in their trial's configuration.
        account: told of every event.
        escape: how errors get out.
    """
    from ray import tune

    started: set[str] = set()

    class Events(tune.Callback):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            """Tune pickles its callbacks into a file nobody reads; `on_event` may not pickle."""
            return tune.Callback, ()

        def on_trial_start(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            started.add(trial.trial_id)

        def on_trial_recover(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            started.discard(trial.trial_id)

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
        ) -> None:
            pack_id = packs[trial.config["pack"]].pack_id
            n_attempts = _n_failures(trial) + 1
            # Taken out of the result, so that Tune neither keeps nor writes them.
            host, progress = result.pop(_HOST), result.pop(_PROGRESS, None)
            try:
                if _USER_ERROR in result:
                    raise result.pop(_USER_ERROR)
                if _CRASH in result:
                    account.fail(pack_id, result.pop(_CRASH), n_attempts, host)
                elif progress is None:
                    account.end(pack_id, n_attempts, host)
                else:
                    account.progress(pack_id, progress, host)
            except BaseException as error:
                escape.throw(error)

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            pack_id = packs[trial.config["pack"]].pack_id
            try:
                text = Path(trial.error_file).read_text(encoding="utf-8")
                if trial.trial_id in started:
                    account.fail(pack_id, text, _n_failures(trial), {})
                else:  # its worker was lost before the pack began: left for the next experiment
                    account.note(pack_id, text)
            except BaseException as error:
                escape.throw(error)

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            escape.check()

    return Events()


def _n_failures(trial: Any) -> int:
    return int(trial.run_metadata.num_failures)


@contextmanager
def _cluster(execution: Execution, escape: Escape) -> Iterator[Path]:
    """Start or join a cluster for the duration; gives a folder for what Tune wants to write.

    Raises:
        RayUnavailableError: Ray is missing, or the cluster cannot be started or reached.
    """
    with temporary_folder(execution) as folder, ray_environment(execution.address):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _start(execution, folder)
            escape.handle_signals()
            yield folder / "tune"
        finally:
            _stop()


def _start(execution: Execution, folder: Path) -> None:
    """Import Ray and connect to a cluster, a new one unless an address is given."""
    if execution.address is not None:
        check_reachable(execution.address)
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise RayUnavailableError(
            f"Ray cannot be imported ({error}); install 'ray[tune]', or use --backend local"
        ) from None
    threads = str(execution.threads_per_worker)
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    runtime_env: dict[str, Any] = {"env_vars": dict.fromkeys(variables, threads)}
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "runtime_env": runtime_env,
    }
    old_umask = os.umask(0o077)
    try:
        if execution.address is None:
            ray.init(
                address="local",
                num_cpus=execution.n_workers * execution.threads_per_worker,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=str(folder / "r"),  # Ray opens it to all users
                **common,
            )
        else:
            # The nodes run the code that this process has, not what is installed there.
            import decoder
            import orchestrator

            runtime_env["py_modules"] = [decoder, orchestrator]
            ray.init(address=execution.address, **common)
    except Exception as error:  # Ray raises all kinds, down to bare Exception
        what = f"join the Ray cluster at {execution.address}" if execution.address else "start Ray"
        raise RayUnavailableError(
            f"cannot {what}: {_first_line(error)}; mend that, or use --backend local"
        ) from error
    finally:
        os.umask(old_umask)


def _stop() -> None:
    """Leave the cluster, and end it if it is ours."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _resources(execution: Execution) -> dict[str, float]:
    """What each tune trial asks for.

    Raises:
        ConfigError: the cluster has no node on which a pack could ever run.
    """
    import ray

    alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in alive]
    most_cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    if most_cpus < execution.threads_per_worker:
        raise ConfigError(
            f"no node of the Ray cluster has {execution.threads_per_worker} CPUs for a worker "
            f"(the largest has {most_cpus:g}); lower the threads per worker"
        )
    n_gpus = int(sum(node.get("GPU", 0.0) for node in nodes))
    resources = {"CPU": float(execution.threads_per_worker)}
    share = gpu_share(execution.device, execution.n_workers, n_gpus)
    return {**resources, "GPU": share} if share else resources
