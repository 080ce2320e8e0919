"""Watches the workers on Ray: each reports its signs of life, and the driver ends those that hang.

Reports, and the request to stop, are entries of the key-value store of the cluster, which every
node reaches. Ray itself notices a stopped process only after minutes, and a process that hangs
never. Like `ray_tune`, this module imports ray inside functions.
"""

import json
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from decoder.life import ask_to_stop, show_sign, signs
from decoder.processes import process_start
from orchestrator.execute.backends.hang import (
    Stillness,
    hang_limit,
    hang_text,
    kill_process,
    look_every,
    silence_limit,
)
from orchestrator.execute.backends.types import Execution
from orchestrator.execute.backends.worker import Account
from orchestrator.spec.configuration import Pack

_NAMESPACE = b"speech-bci-sweeps"
_KILL_SECONDS = 15.0  # for a task on another node

Running = Callable[[], Mapping[str, int]]  # id of a pack that trains → how often it lost a worker


@dataclass(frozen=True)
class Report:
    """What a worker reports of itself.

    Attributes:
        number: how many reports it has made.
        pid, started: its process, see `decoder.processes.process_start`.
        node, host: where it runs.
        pack_id: its pack, the last one if it has none; empty before the first.
        is_busy: whether the pack trains, and does not wait for the driver.
        step: optimizer steps done by that pack.
        seconds: for how long it has shown no sign of life.
        limit: after how many it hangs.
        stack: of the thread that trains, if it hangs.
    """

    number: int
    pid: int
    started: str | None
    node: str
    host: str
    pack_id: str
    is_busy: bool
    step: int
    seconds: float
    limit: float
    stack: str = ""

    @property
    def hangs(self) -> bool:
        return self.is_busy and self.seconds > self.limit


class Reporter:
    """Reports the signs of life of this worker from a thread, and hears the request to stop.

    Args:
        prefix: of the entries of this session.
    """

    def __init__(self, prefix: str, execution: Execution) -> None:
        import os
        import socket

        import ray

        self._prefix, self._execution = prefix, execution
        self._every = look_every(execution.hang_seconds)
        self._node = ray.get_runtime_context().get_node_id()
        self._pid, self._host, self._number = os.getpid(), socket.gethostname(), 0
        self._started = process_start(self._pid)
        self._key = f"{prefix}/worker/{self._node}/{self._pid}"
        self._pack_id, self._lock = "", threading.Lock()
        self._busy_thread: int | None = None
        self._still = Stillness(2 * self._every)
        self._ended = threading.Event()
        self._report()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def take(self, pack: Pack) -> None:
        """Report that this worker has another pack now."""
        self._pack_id = pack.pack_id
        self._report()

    @contextmanager
    def training(self) -> Iterator[None]:
        """The block in which this thread trains the pack."""
        show_sign()
        self._busy_thread = threading.get_ident()
        try:
            yield
        finally:
            self._busy_thread = None

    def end(self) -> None:
        """Report no more: this worker is no longer needed."""
        self._ended.set()
        self._thread.join()
        _delete(self._key)

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            with _cluster_may_be_gone():
                self._report()
                if _get(f"{self._prefix}/stop") is not None:
                    ask_to_stop()

    def _report(self) -> None:
        with self._lock:
            _put(self._key, json.dumps(asdict(self._next_report())))

    def _next_report(self) -> Report:
        self._number += 1
        seen, busy = signs(), self._busy_thread
        seconds = self._still.seconds(None if busy is None else seen.n_signs)
        limit = hang_limit(self._execution.hang_seconds, self._still.longest)
        return Report(
            number=self._number,
            pid=self._pid,
            started=self._started,
            node=self._node,
            host=self._host,
            pack_id=self._pack_id,
            is_busy=busy is not None,
            step=seen.step,
            seconds=seconds,
            limit=min(limit, sys.float_info.max),
            stack=_stack_of(busy) if busy is not None and seconds > limit else "",
        )


def _stack_of(thread_id: int) -> str:
    """What a thread of this process is doing."""
    frame = sys._current_frames().get(thread_id)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""


class Watch:
    """Follows the reports of the workers in the driver, and kills those that hang or are silent.

    Args:
        account: passes remarks on.

    Attributes:
        prefix: of the entries in the store, for the `Reporter` of each worker.
    """

    def __init__(self, execution: Execution, account: Account) -> None:
        self.prefix = secrets.token_hex(8)
        self._execution, self._account = execution, account
        self._every = look_every(execution.hang_seconds)
        self._next = time.monotonic()
        self._reports: dict[str, Report] = {}
        self._silence: dict[str, Stillness] = {}
        self._hung: dict[str, str] = {}  # pack id → what was seen when its worker was killed last

    def look(self, running: Running) -> None:
        """Look at the reports, if it is time to."""
        if self._execution.hang_seconds is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        present = _all(f"{self.prefix}/worker/")
        for gone in self._reports.keys() - present.keys():
            del self._reports[gone], self._silence[gone]
        for key, value in present.items():
            report = self._reports[key] = Report(**json.loads(value))
            silence = self._silence.setdefault(key, Stillness(5 * self._every))
            seconds = silence.seconds(report.number)
            if report.hangs:
                self._end(key, report, "no sign of life", report.seconds, running)
            elif seconds > silence_limit(self._execution.hang_seconds):
                self._end(key, report, "its worker reports nothing", seconds, running)

    def ask_to_stop(self) -> None:
        """Ask every worker to write a checkpoint and end."""
        _put(f"{self.prefix}/stop", "1")

    def reason(self, pack_id: str) -> str:
        """What was seen of a pack whose last worker was killed because it hung; empty if none."""
        return self._hung.get(pack_id, "")

    def _end(self, key: str, report: Report, what: str, seconds: float, running: Running) -> None:
        """Kill a worker; Tune then starts its pack again in a new one, or gives it up."""
        _delete(key)
        del self._reports[key], self._silence[key]
        trains_elsewhere = any(other.pack_id == report.pack_id for other in self._reports.values())
        n_lost = running().get(report.pack_id)
        if not _kill(report) or n_lost is None or trains_elsewhere:
            return
        pack = next(p for p in self._account.open_packs if p.pack_id == report.pack_id)
        most = self._execution.max_retries
        then = f"process {report.pid} on {report.host} is killed, and the pack "
        if n_lost < most:
            then += f"goes on from its last checkpoint (retry {n_lost + 1} of {most})"
        else:
            then += f"is given up after {n_lost + 1} attempts"
        text = hang_text(pack, what, seconds, report.step, then)
        self._hung[report.pack_id] = f"{report.stack}\n{text}"
        self._account.remark(report.pack_id, report.step, text)


def _kill(report: Report) -> bool:
    """Kill the process of a worker on its node; whether it was there, as far as can be known."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if report.node == ray.get_runtime_context().get_node_id():
        return kill_process(report.pid, report.started)
    strategy = NodeAffinitySchedulingStrategy(report.node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(kill_process)
    killed = task.options(scheduling_strategy=strategy).remote(report.pid, report.started)
    try:
        return bool(ray.get(killed, timeout=_KILL_SECONDS))
    except ray.exceptions.RayError:
        return True  # its node does not answer either; Ray gives up the worker with its node


@contextmanager
def _cluster_may_be_gone() -> Iterator[None]:
    """Go on if the cluster does not answer: it is ending, or the next report finds it again."""
    import ray

    with suppress(ray.exceptions.RayError, RuntimeError, OSError):
        yield


def _put(key: str, value: str) -> None:
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(key, value, namespace=_NAMESPACE)


def _get(key: str) -> bytes | None:
    from ray.experimental import internal_kv

    return internal_kv._internal_kv_get(key, namespace=_NAMESPACE)


def _delete(key: str) -> None:
    from ray.experimental import internal_kv

    with _cluster_may_be_gone():
        internal_kv._internal_kv_del(key, namespace=_NAMESPACE)


def _all(prefix: str) -> dict[str, bytes]:
    """Key → value of the entries with this prefix."""
    from ray.experimental import internal_kv

    found = {}
    with _cluster_may_be_gone():
        for key in internal_kv._internal_kv_list(prefix, namespace=_NAMESPACE):
            value = _get(key.decode())
            if value is not None:
                found[key.decode()] = value
    return found
