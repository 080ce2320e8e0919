"""`orchestrator.execute.progress`: counts, plain lines, time left."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from decoder.pack import HistoryRow, Pack, Progress, RunResult
from orchestrator.execute.backends import PackEvent, PackFailed
from orchestrator.execute.progress import Display
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan
from orchestrator.spec.load import Loaded
from orchestrator.terminal import time_text


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def packs(load: Callable[..., Loaded], plan_of: Callable[..., Plan]) -> list[Pack]:
    return packs_to_train(plan_of(load({"seeds": [0, 1]})).packs, ())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_rounded_to_seconds_or_minutes(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_without_a_terminal_lines_come_at_most_every_ten_seconds(
    packs: list[Pack], make_row: Callable[..., HistoryRow]
) -> None:
    out, clock = io.StringIO(), Clock()
    with Display(Console(file=out, width=200), packs, 3, clock) as display:
        for step in range(1, 60):
            clock.now += 1.0
            latest = {run.run_id: make_row(step, 0.25) for run in packs[0].runs}
            display.update(PackEvent(packs[0].pack_id, Progress(step, latest)))
    lines = out.getvalue().splitlines()
    assert len(lines) == 5
    for fact in ("3 of 11", "0 of 2", "seed 0", "10/60", "0.25", "0.33"):
        assert fact in lines[0]


def test_time_left_follows_the_pace_since_the_first_event(packs: list[Pack]) -> None:
    clock = Clock()
    display = Display(Console(file=io.StringIO()), packs, 0, clock)
    assert display.seconds_left() is None
    clock.now = 100.0  # a slow start, or a resumed pack, says nothing about the pace
    display.update(PackEvent(packs[0].pack_id, Progress(20)))
    assert display.seconds_left() is None
    clock.now = 110.0
    display.update(PackEvent(packs[0].pack_id, Progress(40)))
    # 4 runs × 20 steps in 10 s; 8 runs × 60 steps − 160 done are left.
    assert display.seconds_left() == pytest.approx(320 / 8)


def test_ended_runs_count_in_full_and_failures_are_named(
    packs: list[Pack], make_result: Callable[..., RunResult]
) -> None:
    out = io.StringIO()
    display = Display(Console(file=out, width=200), packs, 0)
    one, *others = packs[0].runs
    display.update(PackEvent(packs[0].pack_id, Progress(20, {}, [make_result(one, "diverged")])))
    assert display.n_running == 3
    failed = PackFailed(tuple(run.run_id for run in others), "Traceback\nMemoryError: no", 3)
    display.update(PackEvent(packs[0].pack_id, failed))
    assert display.n_running == 0
    assert all(fact in display.line() for fact in ("1 of 8", "1 of 2", "3 runs failed"))
    diverged, failure = out.getvalue().splitlines()
    assert one.run_id in diverged and "step 60" in diverged
    assert packs[0].pack_id[:6] in failure and "MemoryError: no" in failure
    assert failure.count("3 ") == 2, "three runs, three attempts"


def test_a_terminal_gets_a_table_of_the_running_packs(
    packs: list[Pack], make_row: Callable[..., HistoryRow]
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(console, packs, 0) as display:
        latest = {packs[0].runs[0].run_id: make_row(20, 0.5)}
        display.update(PackEvent(packs[0].pack_id, Progress(20, latest)))
        with console.capture() as capture:
            console.print(display.render())
    text = capture.get()
    assert packs[0].pack_id[:6] in text and "20/60" in text and "0.50" in text
    assert packs[1].pack_id[:6] not in text


def test_steps_advance_between_evaluations(packs: list[Pack]) -> None:
    display = Display(Console(file=io.StringIO()), packs, 0)
    n_runs = len(packs[0].runs)
    assert display.steps == (0, 60 * 2 * n_runs)
    display.update(PackEvent(packs[0].pack_id, Progress(7)))
    assert display.steps == (7 * n_runs, 60 * 2 * n_runs)
    assert "step 7/60" in display.line()
