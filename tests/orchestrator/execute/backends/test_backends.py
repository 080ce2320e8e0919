"""What both backends guarantee, tested with fake packs that need neither torch nor data."""

import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest

from decoder.config import DecoderConfig
from decoder.errors import DataError, StorageError
from decoder.pack import Pack, Progress, Run, RunResult
from orchestrator.cli.options import BackendChoice
from orchestrator.execute.backends import Backend, Execution, PackEvent, PackFailed
from orchestrator.execute.backends.local import train_locally
from orchestrator.execute.backends.ray_tune import ray_session
from orchestrator.execute.backends.splitting import train_in_parts
from orchestrator.execute.backends.worker import TrainPack, train_pack
from orchestrator.execute.machine import BackendName, choose_options


def train_on_ray(
    packs: Sequence[Pack],
    execution: Execution,
    on_event: Callable[[PackEvent], None],
    *,
    train_pack: TrainPack = train_pack,
) -> None:
    with ray_session(execution, train_pack=train_pack) as train:
        train(packs, execution, on_event)


# Name → what trains; each needs a fixture ``NAME_events`` with the packs of `SHARED_FATES`.
BACKENDS: dict[BackendName, Backend] = {"local": train_locally, "ray": train_on_ray}
N_STEPS = 3
MAX_RETRIES = 1


def make_pack(name: str, n_runs: int = 2) -> Pack:
    runs = tuple(Run(f"{name}-run{i}", DecoderConfig()) for i in range(n_runs))
    return Pack(name, seed=0, runs=runs)


def fake_trainer() -> Callable[[Pack, Execution], Iterator[Progress]]:
    """A trainer whose packs end as their names say; it is sent to workers by value."""

    def result(run_id: str) -> RunResult:
        return RunResult(run_id, "ok", (), N_STEPS, 1, 0, 0.1, 2, 1)

    def train_part(part: Pack, folder: Path, split_from: Sequence[Path]) -> Iterator[Progress]:
        """Kills its process if there are two runs or more, as the system does for memory."""
        yield Progress(1, {run.run_id: {"step": 1.0} for run in part.runs})
        if len(part.runs) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Progress(3, {}, [result(run.run_id) for run in part.runs])

    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        if pack.pack_id == "killed_in_pairs":
            yield from train_in_parts(pack, execution.checkpoint_dir / pack.pack_id, train_part)
            return
        fate = pack.pack_id.partition(".")[0]
        tried = execution.checkpoint_dir / pack.pack_id
        is_first_try = not tried.exists()
        tried.touch()
        yield Progress(1, {run.run_id: {"step": 1.0} for run in pack.runs})
        if fate in ("killed_always", "bug_late"):
            print(f"{fate} is about to end", file=sys.stderr, flush=True)
        if fate == "killed_always" or (fate == "killed_once" and is_first_try):
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == "memory_once" and is_first_try:
            raise MemoryError("not enough of it")
        if fate == "disk_always":
            raise OSError("the disk went away")
        if fate == "bug":
            raise ValueError("a bug of ours")
        if fate == "bad_data":
            raise DataError("t15.2023.08.11: label 41")
        yield Progress(2, {run.run_id: {"step": 2.0} for run in pack.runs})
        yield Progress(3, {}, [result(pack.runs[0].run_id)])
        if fate == "bug_late":
            raise ValueError("a late bug of ours")
        if fate == "ends_early":
            return
        if fate == "pauses":
            yield Progress(3, paused={run.run_id: () for run in pack.runs[1:]})
            return
        yield Progress(3, {}, [result(run.run_id) for run in pack.runs[1:]])

    return train_pack


def execution_in(folder: Path) -> Execution:
    return Execution(
        dataset_dir=folder,
        checkpoint_dir=folder,
        n_workers=2,
        device="cpu",
        max_retries=MAX_RETRIES,
    )


Events = dict[str, list[PackEvent]]
# Each crash costs a worker on Ray, so only one pack of a kind.
SHARED_FATES = ("good.0", "memory_once", "bug_late", "good.1", "ends_early", "pauses")
LOCAL_FATES = ("disk_always", "bug")
RAY_FATES = ("killed_once", "killed_always", "killed_in_pairs", "good.2")


def events_of(backend: Backend, fates: tuple[str, ...], folder: Path) -> Events:
    seen: Events = defaultdict(list)
    lock = threading.Lock()  # like that of a display, so that `on_event` cannot be pickled

    def on_event(event: PackEvent) -> None:
        assert threading.current_thread() is threading.main_thread()
        with lock:
            seen[event.pack_id].append(event)

    backend(
        [make_pack(fate, 1 if fate == "killed_always" else 2) for fate in fates],
        execution_in(folder),
        on_event,
        train_pack=fake_trainer(),  # type: ignore[call-arg]
    )
    return seen


@pytest.fixture(scope="module")
def local_events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    return events_of(train_locally, SHARED_FATES + LOCAL_FATES, tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def ray_events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    return events_of(train_on_ray, SHARED_FATES + RAY_FATES, tmp_path_factory.mktemp("ray"))


@pytest.fixture(params=BACKENDS)
def events(request: pytest.FixtureRequest) -> Events:
    """The events of one call over packs of every fate, in order for each pack."""
    chosen: Events = request.getfixturevalue(f"{request.param}_events")
    return chosen


def test_every_backend_that_a_user_can_name_is_tested_here() -> None:
    assert set(BACKENDS) == set(get_args(BackendName)) == {choice.value for choice in BackendChoice}


def results_of(events: list[PackEvent]) -> list[str]:
    return [
        result.run_id
        for event in events
        if isinstance(event.what, Progress)
        for result in event.what.finished
    ]


def failures_of(events: list[PackEvent]) -> list[PackFailed]:
    return [event.what for event in events if isinstance(event.what, PackFailed)]


@pytest.mark.parametrize("pack_id", ["good.0", "good.1"])
def test_events_of_a_pack_arrive_in_order_and_complete(events: Events, pack_id: str) -> None:
    whats = [event.what for event in events[pack_id]]
    assert [what.step for what in whats if isinstance(what, Progress)] == [1, 2, 3, 3]
    assert results_of(events[pack_id]) == [f"{pack_id}-run0", f"{pack_id}-run1"]
    assert not failures_of(events[pack_id])


def test_events_name_the_worker_that_trains_the_pack(events: Events) -> None:
    host = events["good.0"][0].host
    assert host["device"] == "cpu"
    assert host["hostname"]
    assert isinstance(host["pid"], int)


@pytest.mark.parametrize("name", BACKENDS)
def test_only_a_backend_with_workers_trains_several_packs_at_a_time(
    name: BackendName, request: pytest.FixtureRequest
) -> None:
    events: Events = request.getfixturevalue(f"{name}_events")
    in_this_process = events["good.0"][0].host["pid"] == os.getpid()
    at_a_time = choose_options(backend=name, n_workers=2, device="cpu").at_a_time
    assert at_a_time == (1 if in_this_process else 2)
    assert in_this_process == (name == "local")


def test_a_pack_is_retried_after_an_infrastructure_fault(events: Events) -> None:
    whats = [event.what for event in events["memory_once"]]
    assert [what.step for what in whats if isinstance(what, Progress)] == [1, 1, 2, 3, 3]
    assert results_of(events["memory_once"]) == ["memory_once-run0", "memory_once-run1"]


def test_a_lasting_fault_fails_the_pack_after_all_retries(local_events: Events) -> None:
    (failure,) = failures_of(local_events["disk_always"])
    assert failure.n_attempts == MAX_RETRIES + 1
    assert failure.run_ids == ("disk_always-run0", "disk_always-run1")
    assert "the disk went away" in failure.traceback


def test_a_bug_fails_every_run_of_its_pack(local_events: Events) -> None:
    (failure,) = failures_of(local_events["bug"])
    assert failure.run_ids == ("bug-run0", "bug-run1")


def test_runs_that_have_a_result_do_not_fail_with_their_pack(events: Events) -> None:
    (failure,) = failures_of(events["bug_late"])
    assert results_of(events["bug_late"]) == ["bug_late-run0"]
    assert failure.run_ids == ("bug_late-run1",)


def test_a_run_that_pauses_has_not_failed(events: Events) -> None:
    assert results_of(events["pauses"]) == ["pauses-run0"]
    assert not failures_of(events["pauses"])
    last = events["pauses"][-1].what
    assert isinstance(last, Progress) and last.paused == {"pauses-run1": ()}


def test_a_session_trains_call_after_call_on_one_cluster(tmp_path: Path) -> None:
    seen: list[str] = []
    with ray_session(execution_in(tmp_path), train_pack=fake_trainer()) as train:
        for name in ("good.0", "good.1"):
            train(
                [make_pack(name)],
                execution_in(tmp_path),
                lambda event: seen.extend(results_of([event])),
            )
    assert seen == ["good.0-run0", "good.0-run1", "good.1-run0", "good.1-run1"]


def test_a_bug_is_not_retried_and_its_traceback_is_kept(events: Events) -> None:
    (failure,) = failures_of(events["bug_late"])
    assert failure.n_attempts == 1
    assert "ValueError: a late bug of ours" in failure.traceback
    assert 'raise ValueError("a late bug of ours")' in failure.traceback


def test_a_run_without_a_result_when_the_trainer_ends_has_failed(events: Events) -> None:
    (failure,) = failures_of(events["ends_early"])
    assert failure.run_ids == ("ends_early-run1",)


def test_a_killed_worker_is_replaced_and_the_pack_completes(ray_events: Events) -> None:
    events = ray_events["killed_once"]
    assert results_of(events) == ["killed_once-run0", "killed_once-run1"]
    assert events[0].host["pid"] != events[-1].host["pid"]


def test_a_pack_that_always_kills_its_worker_fails_and_others_continue(ray_events: Events) -> None:
    (failure,) = failures_of(ray_events["killed_always"])
    assert failure.n_attempts == MAX_RETRIES + 1
    assert failure.run_ids == ("killed_always-run0",)  # alone, so that it cannot be split
    assert "died" in failure.traceback
    assert results_of(ray_events["good.2"]) == ["good.2-run0", "good.2-run1"]


@pytest.mark.parametrize("fate", ["killed_always", "bug_late"])
def test_what_its_worker_printed_is_kept_with_a_pack_that_failed_for_good(
    ray_events: Events, fate: str
) -> None:
    (failure,) = failures_of(ray_events[fate])
    assert f"{fate} is about to end" in failure.log


def test_a_pack_whose_workers_are_always_killed_is_split(ray_events: Events) -> None:
    events = ray_events["killed_in_pairs"]
    assert results_of(events) == ["killed_in_pairs-run0", "killed_in_pairs-run1"]
    assert not failures_of(events)
    remarks = [r for e in events if isinstance(e.what, Progress) for r in e.what.remarks]
    assert len(remarks) == 1 and "--max-runs-per-pack 1" in remarks[0]


def test_a_worker_trains_several_packs(ray_events: Events) -> None:
    pids = {event.host["pid"] for events in ray_events.values() for event in events if event.host}
    n_attempts = len(ray_events) + 7  # retries, and what two packs try again after a split
    assert len(pids) < n_attempts


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_a_user_error_keeps_its_type_and_problems(backend: Backend, tmp_path: Path) -> None:
    seen: list[PackEvent] = []
    with pytest.raises(DataError) as caught:
        backend(
            [make_pack("bad_data")],
            execution_in(tmp_path),
            seen.append,
            train_pack=fake_trainer(),  # type: ignore[call-arg]
        )
    assert caught.value.problems == ("t15.2023.08.11: label 41",)
    assert not failures_of(seen)


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_without_packs_there_are_no_events(backend: Backend, tmp_path: Path) -> None:
    backend([], execution_in(tmp_path), lambda event: pytest.fail("there must be no event"))


def test_an_exception_of_on_event_ends_the_call(tmp_path: Path) -> None:
    def fail(event: PackEvent) -> None:
        raise StorageError("disk full")

    with pytest.raises(StorageError, match="disk full"):
        train_locally([make_pack("good")], execution_in(tmp_path), fail, train_pack=fake_trainer())


def test_an_interrupt_passes_through_local_training(tmp_path: Path) -> None:
    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        yield Progress(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_locally(
            [make_pack("good")], execution_in(tmp_path), lambda event: None, train_pack=train_pack
        )
