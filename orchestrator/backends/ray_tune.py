"""The Ray Tune backend: one tune trial a pack, on a local cluster of its own or on a given one.

Ray only schedules: a class trainable whose actors are reused goes through the packs, and each
result it returns is one `Progress`. Nothing Ray writes is ever read again; its session folder and
Tune's storage are temporary. This is the only file that imports ray, and only inside functions:
Ray reads part of its environment once, at import.
"""

import dataclasses
import logging
import math
import os
import platform
import secrets
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from decoder.errors import ConfigError, UserError
from decoder.pack import Pack
from orchestrator.backends import Execution, PackEvent
from orchestrator.backends.guard import guarded_folder
from orchestrator.backends.worker import Account, TrainPack, is_infrastructure_fault, train_pack

# Read by Ray Tune in this process: no loggers, no snapshots, no handler of its own, no chatter.
_TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
# Read by the processes of a local cluster. Prestarted workers would not fit the environment that
# Tune asks for. A worker killed by Ray's memory monitor ends Tune instead of its own trial, so
# memory is left to the kernel, which Ray makes choose workers first.
_CLUSTER_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",
}
_OBJECT_STORE_BYTES = 128 * 2**20
# Ray's sockets lie up to 80 characters below the temporary folder, and 107 is the limit.
_LONGEST_TEMPORARY_PARENT = 14

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
        ConfigError: Ray is missing, the cluster cannot be reached, or it lacks what the packs
            need.
        KeyboardInterrupt: or whatever the process's handler of SIGINT or SIGTERM raises, once
            the packs are stopped and a local cluster is gone.
    """
    if not packs:
        return
    execution = dataclasses.replace(
        execution,
        dataset_dir=execution.dataset_dir.resolve(),
        checkpoint_dir=execution.checkpoint_dir.resolve(),
    )
    account = Account(packs, on_event)
    escape = _Escape()
    try:
        with escape.signals(), _cluster(execution, escape) as storage_dir:
            _train_rounds(account, execution, escape, storage_dir, train_pack)
    except KeyboardInterrupt:
        if escape.error is None:
            raise
    if escape.error is not None:
        raise escape.error


class _Escape:
    """The one way out of Ray's code before its end.

    Tune turns an `Exception` into another one or logs it, and Ray's native code drops whatever a
    signal handler raises, unless it is a KeyboardInterrupt. So whatever must get out is kept here
    and a KeyboardInterrupt is sent in its place; should that be lost too, the next step of Tune's
    loop sends another.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._handlers: dict[int, Any] = {}

    def throw(self, error: BaseException) -> None:
        self.error = self.error or error
        raise KeyboardInterrupt from error

    def check(self) -> None:
        if self.error is not None:
            raise KeyboardInterrupt from self.error

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let what the process's signal handlers raise escape, and put them back at the end."""
        if threading.current_thread() is threading.main_thread():
            for number in map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)):
                self._handlers[number] = signal.getsignal(number)
        self.handle_signals()
        try:
            yield
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def handle_signals(self) -> None:
        """Put the process's handlers, wrapped, in place of the ones Ray sets when it starts."""
        for number, handler in self._handlers.items():
            signal.signal(number, self._wrapped(handler) if callable(handler) else handler)

    def _wrapped(
        self, handler: Callable[[int, FrameType | None], Any]
    ) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                self.throw(error)

        return handle


def _train_rounds(
    account: Account,
    execution: Execution,
    escape: _Escape,
    storage_dir: Path,
    train_pack: TrainPack,
) -> None:
    """Run Tune until every pack has ended or failed.

    One experiment does, as a rule. Tune gives a trial up without another try when its worker
    dies between two packs; such packs go into the next experiment.
    """
    resources = _resources(execution)
    if "gpu" in resources:
        execution = dataclasses.replace(execution, device="cuda")
    for n_rounds in range(1, execution.max_retries + 2):
        folder = storage_dir / str(n_rounds)
        try:
            _fit(account, execution, resources, escape, folder, train_pack)
        except Exception:
            escape.check()
            text = traceback.format_exc()
        else:
            escape.check()
            text = "Ray Tune ended this pack without a reason"
        if not account.open_packs:
            return
    for pack in account.open_packs:
        account.fail(pack.pack_id, text, execution.max_retries + 1, {})


def _fit(
    account: Account,
    execution: Execution,
    resources: dict[str, float],
    escape: _Escape,
    storage_dir: Path,
    train_pack: TrainPack,
) -> None:
    """One Tune experiment over the packs that are still open."""
    import ray
    from ray import tune

    packs = account.open_packs
    trainable = _trainable(ray.put((packs, execution, train_pack)))
    tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"pack": tune.grid_search(list(range(len(packs))))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=execution.n_workers,
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


def _trainable(work: Any) -> type[Any]:
    """The class whose actors train packs.

    Args:
        work: reference to (packs, execution, train_pack), the same for all actors.
    """
    import ray
    from ray import tune

    class PackTrainable(tune.Trainable):
        """One actor; one step is one `Progress` of the pack it is at."""

        def setup(self, config: dict[str, Any]) -> None:
            self.packs, self.execution, self.train_pack = ray.get(work)
            self.is_sound = True
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.training = self.train_pack(self.packs[new_config["pack"]], self.execution)
            return self.is_sound

        def step(self) -> dict[str, Any]:
            result: dict[str, Any] = {_HOST: host_facts(self.execution)}
            try:
                progress = next(self.training, None)
            except UserError as error:
                return {**result, _USER_ERROR: error, "done": True}
            except Exception as error:
                self.is_sound = False  # a process in which code crashed gets no other pack
                if is_infrastructure_fault(error):
                    raise
                return {**result, _CRASH: traceback.format_exc(), "done": True}
            return {**result, _PROGRESS: progress, "done": progress is None}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: the decoder keeps its own checkpoints."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: the decoder finds its own checkpoints."""

    return PackTrainable


def host_facts(execution: Execution) -> dict[str, str | int]:
    """Where this process runs, for the record."""
    return {
        "hostname": platform.node(),
        "pid": os.getpid(),
        "device": execution.device or "auto",
    }


def _callback(packs: Sequence[Pack], account: Account, escape: _Escape) -> Any:
    """What turns the results of tune trials into events, in the thread that called `fit`."""
    from ray import tune

    class Events(tune.Callback):
        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
        ) -> None:
            pack = packs[trial.config["pack"]]
            # Taken out of the result, so that Tune neither keeps nor writes them.
            host = result.pop(_HOST)
            progress = result.pop(_PROGRESS, None)
            try:
                if _USER_ERROR in result:
                    raise result.pop(_USER_ERROR)
                if _CRASH in result:
                    account.fail(pack.pack_id, result.pop(_CRASH), _n_failures(trial) + 1, host)
                elif progress is None:
                    account.end(pack.pack_id, _n_failures(trial) + 1, host)
                else:
                    account.progress(pack.pack_id, progress, host)
            except BaseException as error:
                escape.throw(error)

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            pack = packs[trial.config["pack"]]
            if _n_failures(trial) <= trial.max_failures:
                return  # lost between two packs: goes into the next round
            try:
                text = Path(trial.error_file).read_text(encoding="utf-8")
                account.fail(pack.pack_id, text, _n_failures(trial), {})
            except BaseException as error:
                escape.throw(error)

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            escape.check()

    return Events()


def _n_failures(trial: Any) -> int:
    return int(trial.run_metadata.num_failures)


@contextmanager
def _cluster(execution: Execution, escape: _Escape) -> Iterator[Path]:
    """Start or join a cluster for the duration; gives a folder for what Tune wants to write.

    Raises:
        ConfigError: Ray is missing, or the cluster cannot be started or reached.
    """
    environment = _TUNE_ENVIRONMENT
    if execution.address is None:
        environment = {**environment, **_CLUSTER_ENVIRONMENT, "RAY_AUTH_TOKEN": _token()}
    with _temporary_folder(execution) as folder, _environment(environment):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _start(execution, folder)
        except SystemExit:  # Ray's own answer to a SIGTERM that comes while it starts
            escape.handle_signals()
            signal.raise_signal(signal.SIGTERM)
            raise
        else:
            escape.handle_signals()
            yield folder / "tune"
        finally:
            _stop()


def _start(execution: Execution, folder: Path) -> None:
    """Import Ray and connect to a cluster, a new one unless an address is given."""
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise ConfigError(
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
                _temp_dir=str(folder),
                **common,
            )
        else:
            # The nodes run the code that this process has, not what is installed there.
            import decoder
            import orchestrator

            runtime_env["py_modules"] = [decoder, orchestrator]
            ray.init(address=execution.address, **common)
    except (RuntimeError, ValueError, OSError) as error:
        what = f"join the Ray cluster at {execution.address}" if execution.address else "start Ray"
        raise ConfigError(
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


@cache
def _token() -> str:
    """The token that processes of our local clusters show each other; this process knows one."""
    return secrets.token_hex(32)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put them back as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _temporary_folder(execution: Execution) -> Iterator[Path]:
    """A private folder: guarded, or on the file system all nodes share if a cluster is joined."""
    if execution.address is not None:
        execution.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ray-", dir=execution.checkpoint_dir) as folder:
            yield Path(folder)
    else:
        is_short = len(tempfile.gettempdir()) <= _LONGEST_TEMPORARY_PARENT
        with guarded_folder(None if is_short else Path("/tmp")) as guarded:
            yield guarded


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
    resources = {"cpu": float(execution.threads_per_worker)}
    share = gpu_share(execution.device, execution.n_workers, n_gpus)
    return {**resources, "gpu": share} if share else resources


def gpu_share(device: str | None, n_workers: int, n_gpus: int) -> float:
    """The part of a GPU each worker gets, so that all workers find room.

    Args:
        device: as in `Execution`.
        n_workers: packs trained at the same time.
        n_gpus: GPUs of the cluster.

    Raises:
        ConfigError: a GPU is asked for that the cluster lacks, or one by its number: the
            cluster deals them out.
    """
    if device is not None and not device.startswith("cuda"):
        return 0.0
    if device is not None and device != "cuda":
        raise ConfigError(
            f"device '{device}': Ray deals out the GPUs itself; say 'cuda', choose GPUs with "
            "CUDA_VISIBLE_DEVICES, or use --backend local"
        )
    if n_gpus == 0:
        if device is None:
            return 0.0
        raise ConfigError("device 'cuda': the Ray cluster has no GPU; say 'cpu'")
    return 1.0 / math.ceil(n_workers / n_gpus)
