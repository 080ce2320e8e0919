"""Workers on Ray that hang or are stopped are killed, and their packs go on; one shared cluster."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from decoder.config import DecoderConfig
from decoder.life import is_asked_to_stop, show_sign
from decoder.pack import Pack, Progress, Run, RunResult
from orchestrator.execute.backends import Execution, PackEvent, PackFailed
from orchestrator.execute.backends.ray_tune import ray_session
from orchestrator.execute.stopping import Stopped, stop_switch

HANG_SECONDS = 10.0
FATES = ("hangs_always", "hangs_once", "is_stopped_once", "is_slow")
Events = dict[str, list[PackEvent]]


def fake_trainer() -> Callable[[Pack, Execution], Iterator[Progress]]:
    """A trainer whose packs end as their names say; it is sent to workers by value."""

    def sleep_through_signals() -> None:
        """Hang in a process that is alive and reports."""
        while True:
            time.sleep(3600)

    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        tried = execution.checkpoint_dir / pack.pack_id
        is_first_try = not tried.exists()
        tried.touch()
        show_sign(7)
        yield Progress(7)
        if pack.pack_id == "hangs_always" or (pack.pack_id == "hangs_once" and is_first_try):
            sleep_through_signals()
        if pack.pack_id == "is_stopped_once" and is_first_try:
            os.kill(os.getpid(), signal.SIGSTOP)
        if pack.pack_id == "is_slow":  # longer than a hang, but with signs of life
            for _ in range(48):
                time.sleep(0.25)
                show_sign()
        if pack.pack_id == "saves":
            (execution.checkpoint_dir / "started").touch()
            while not is_asked_to_stop():
                time.sleep(0.01)
                show_sign()
            (execution.checkpoint_dir / "saved").touch()
            return
        results = [RunResult(run.run_id, "ok", (), 9, 1, 0, 0.1, 2, 1) for run in pack.runs]
        yield Progress(9, {}, results)

    return train_pack


def make_pack(name: str) -> Pack:
    return Pack(name, 0, tuple(Run(f"{name}-run{i}", DecoderConfig()) for i in range(2)))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Events, Stopped, bool]:
    """The events of one call over packs of every fate; then a call that a signal stops in the
    middle: what it raised, and whether its pack was saved."""
    folder = tmp_path_factory.mktemp("ray")
    seen: Events = defaultdict(list)
    execution = Execution(
        folder, folder, n_workers=3, device="cpu", max_retries=1, hang_seconds=HANG_SECONDS
    )

    def on_event(event: PackEvent) -> None:
        seen[event.pack_id].append(event)
        if event.pack_id == "saves":
            signal.raise_signal(signal.SIGUSR1)

    with (
        pytest.raises(Stopped) as caught,
        stop_switch(),
        ray_session(execution, train_pack=fake_trainer()) as train,
    ):
        train([make_pack(fate) for fate in FATES], execution, on_event)
        train([make_pack("saves"), make_pack("never")], execution, on_event)
    return seen, caught.value, (folder / "saved").exists()


def remarks_of(events: list[PackEvent]) -> list[str]:
    return [text for e in events if isinstance(e.what, Progress) for text in e.what.remarks]


def n_results(events: list[PackEvent]) -> int:
    return sum(len(e.what.finished) for e in events if isinstance(e.what, Progress))


@pytest.mark.parametrize("fate", ["hangs_once", "is_stopped_once"])
def test_a_worker_that_hangs_is_killed_and_its_pack_is_trained_by_another(
    outcome: tuple[Events, Stopped, bool], fate: str
) -> None:
    events = outcome[0][fate]
    assert n_results(events) == 2
    pids = [event.host["pid"] for event in events if event.host]
    assert len(set(pids)) == 2
    (text,) = remarks_of(events)
    for fact in (fate[:6], f"{fate}-run0", str(pids[0]), "retry 1 of 1"):
        assert fact in text
    if fate == "hangs_once":  # the other one may not have had the time to report it
        assert "since step 7" in text


def test_a_pack_that_hangs_again_and_again_fails_with_the_stack_of_the_hang(
    outcome: tuple[Events, Stopped, bool],
) -> None:
    events = outcome[0]["hangs_always"]
    (failure,) = [e.what for e in events if isinstance(e.what, PackFailed)]
    assert failure.n_attempts == 2
    assert failure.run_ids == ("hangs_always-run0", "hangs_always-run1")
    assert "sleep_through_signals" in failure.traceback
    assert len(remarks_of(events)) == 2


def test_a_slow_pack_that_shows_signs_of_life_is_left_alone(
    outcome: tuple[Events, Stopped, bool],
) -> None:
    events = outcome[0]["is_slow"]
    assert n_results(events) == 2
    assert not remarks_of(events)


def test_a_signal_lets_the_packs_save_before_it_takes_effect(
    outcome: tuple[Events, Stopped, bool],
) -> None:
    _, stopped, is_saved = outcome
    assert stopped.signal_number == signal.SIGUSR1
    assert is_saved
