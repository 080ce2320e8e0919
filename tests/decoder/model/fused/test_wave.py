"""The order of chunks: every dependency holds, however a GPU interleaves the streams."""

import random
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.model.fused.wave import CHUNK, run_wave, wave_tasks

SIZES = [(1, 1, 1), (1, 7, 3), (2, 1, 4), (3, 8, 4), (5, 247, 13), (5, 256, CHUNK), (4, 9, 100)]


class Grid:
    """Values of every (layer, step) that depend on the neighbours they are computed from."""

    def __init__(self, n_layers: int, n_steps: int) -> None:
        self.forward = [[None] * n_steps for _ in range(n_layers)]
        self.backward = [[None] * n_steps for _ in range(n_layers)]

    def steps(self, layer: int, submit: Callable[[Callable[[], None]], None]) -> "GridSteps":
        return GridSteps(self, layer, submit)


class GridSteps:
    """Steps that fail if a value they need is missing when they are executed."""

    def __init__(
        self, grid: Grid, layer: int, submit: Callable[[Callable[[], None]], None]
    ) -> None:
        self._grid, self._layer, self._submit = grid, layer, submit

    def forward(self, start: int, stop: int) -> None:
        self._submit(lambda: self._forward(start, stop))

    def backward(self, start: int, stop: int) -> None:
        self._submit(lambda: self._backward(start, stop))

    def _forward(self, start: int, stop: int) -> None:
        values = self._grid.forward
        for step in range(start, stop):
            before = values[self._layer][step - 1] if step else 1
            below = values[self._layer - 1][step] if self._layer else step
            assert before is not None and below is not None, (self._layer, step)
            assert values[self._layer][step] is None, "computed twice"
            values[self._layer][step] = (3 * before + 5 * below + 1) % 1_000_003

    def _backward(self, start: int, stop: int) -> None:
        values, states = self._grid.backward, self._grid.forward
        top = len(values) - 1
        for step in reversed(range(start, stop)):
            after = values[self._layer][step + 1] if step + 1 < len(values[0]) else 2
            above = values[self._layer + 1][step] if self._layer < top else step
            assert after is not None and above is not None, (self._layer, step)
            assert values[self._layer][step] is None, "computed twice"
            state = states[self._layer][step]
            values[self._layer][step] = (3 * after + 5 * above + 7 * state) % 1_000_003


def expected(n_layers: int, n_steps: int) -> Grid:
    """Layer after layer, in whole."""
    grid = Grid(n_layers, n_steps)
    layers = [grid.steps(i, lambda work: work()) for i in range(n_layers)]
    for steps in layers:
        steps.forward(0, n_steps)
    for steps in reversed(layers):
        steps.backward(0, n_steps)
    return grid


class FakeDevice:
    """Streams and events as CUDA has them: queues of work, marks, and waits for marks.

    Work runs when `execute` picks it, in any order that the streams and events allow.
    """

    def __init__(self) -> None:
        self.default = FakeStream(self)
        self.streams = [self.default]
        self.selected = self.default

    def stream(self) -> "FakeStream":
        self.streams.append(FakeStream(self))
        return self.streams[-1]

    @contextmanager
    def select(self, stream: "FakeStream") -> Any:
        before, self.selected = self.selected, stream
        yield
        self.selected = before

    def submit(self, work: Callable[[], None]) -> None:
        self.selected.queue.append(("work", work))

    def execute(self, pick: Callable[[Sequence["FakeStream"]], "FakeStream"]) -> None:
        while waiting := [stream for stream in self.streams if stream.queue]:
            able = [s for s in waiting if s.queue[0][0] != "wait" or s.queue[0][1].happened]
            assert able, "deadlock"
            kind, what = pick(able).queue.pop(0)
            if kind == "work":
                what()
            elif kind == "mark":
                what.happened = True


class FakeEvent:
    happened = False


class FakeStream:
    device = "fake"

    def __init__(self, device: FakeDevice) -> None:
        self.queue: list[tuple[str, Any]] = []

    def record_event(self) -> FakeEvent:
        event = FakeEvent()
        self.queue.append(("mark", event))
        return event

    def wait_event(self, event: FakeEvent) -> None:
        self.queue.append(("wait", event))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    fake = FakeDevice()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: fake.selected)
    monkeypatch.setattr(torch.cuda, "stream", fake.select)
    return fake


def pickers(n_random: int) -> list[Callable[[Sequence[FakeStream]], FakeStream]]:
    """Schedulers: always the first stream, always the last, and random ones."""
    randoms = [random.Random(i).choice for i in range(n_random)]
    return [lambda able: able[0], lambda able: able[-1], *randoms]


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 45), st.booleans())
@settings(max_examples=200, deadline=None)
def test_tasks_hold_every_step_once_and_come_after_what_they_depend_on(
    n_layers: int, n_steps: int, chunk: int, backward: bool
) -> None:
    done: set[tuple[int, int]] = set()
    for task in wave_tasks(n_layers, n_steps, chunk, backward):
        assert 0 < task.stop - task.start <= chunk
        for step in range(task.start, task.stop):
            layer = task.layer + (1 if backward else -1)
            assert not 0 <= layer < n_layers or (layer, step) in done
        edge = task.stop if backward else task.start - 1
        assert not 0 <= edge < n_steps or (task.layer, edge) in done
        new = {(task.layer, step) for step in range(task.start, task.stop)}
        assert not new & done
        done |= new
    assert len(done) == n_layers * n_steps


@pytest.mark.parametrize("size", SIZES)
def test_without_streams_the_result_is_that_of_layer_after_layer(size: Any) -> None:
    n_layers, n_steps, chunk = size
    grid = Grid(n_layers, n_steps)
    layers = [grid.steps(i, lambda work: work()) for i in range(n_layers)]
    run_wave(layers, n_steps, chunk, None)
    run_wave(layers, n_steps, chunk, None, backward=True)
    whole = expected(n_layers, n_steps)
    assert grid.forward == whole.forward and grid.backward == whole.backward


@pytest.mark.parametrize("size", SIZES)
def test_on_streams_no_schedule_changes_the_result(size: Any, device: FakeDevice) -> None:
    n_layers, n_steps, chunk = size
    whole = expected(n_layers, n_steps)
    streams = [device.stream() for _ in range(n_layers)]
    for pick in pickers(8):
        grid = Grid(n_layers, n_steps)
        layers = [grid.steps(i, device.submit) for i in range(n_layers)]
        run_wave(layers, n_steps, chunk, streams)  # type: ignore[arg-type]
        run_wave(layers, n_steps, chunk, streams, backward=True)  # type: ignore[arg-type]
        device.execute(pick)
        assert grid.forward == whole.forward and grid.backward == whole.backward


def test_the_wave_runs_between_earlier_and_later_work_of_the_current_stream(
    device: FakeDevice,
) -> None:
    for pick in pickers(8):
        order: list[str] = []
        grid = Grid(3, 8)

        def submit_noting(work: Callable[[], None], order: list[str] = order) -> None:
            device.submit(lambda: (order.append("wave"), work()))

        layers = [grid.steps(i, submit_noting) for i in range(3)]
        device.submit(lambda order=order: order.append("before"))
        run_wave(layers, 8, 4, [device.stream() for _ in range(3)])  # type: ignore[arg-type]
        device.submit(lambda order=order: order.append("after"))
        device.execute(pick)
        assert order == ["before", *["wave"] * 6, "after"]


def test_chunks_of_different_layers_may_run_at_the_same_time(device: FakeDevice) -> None:
    """The last layer's first chunk can run before the first layer's last one."""
    order: list[tuple[int, int]] = []

    class Noting:
        def __init__(self, layer: int) -> None:
            self.layer = layer

        def forward(self, start: int, stop: int) -> None:
            device.submit(lambda: order.append((self.layer, start)))

        backward = forward

    streams = [device.stream() for _ in range(3)]
    run_wave([Noting(i) for i in range(3)], 40, 10, streams)  # type: ignore[arg-type]
    device.execute(lambda able: able[-1])
    assert order.index((2, 0)) < order.index((0, 30))


def test_a_missing_event_is_found(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedulers above would notice a wave whose layers do not wait for each other."""
    streams = [device.stream() for _ in range(3)]
    grid = Grid(3, 8)
    layers = [grid.steps(i, device.submit) for i in range(3)]
    monkeypatch.setattr(FakeStream, "wait_event", lambda self, event: None)
    run_wave(layers, 8, 4, streams)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        device.execute(lambda able: able[-1])


def test_after_an_error_the_current_stream_still_waits_for_the_others(device: FakeDevice) -> None:
    class Failing:
        def forward(self, start: int, stop: int) -> None:
            raise ValueError("broken")

        backward = forward

    grid = Grid(2, 8)
    layers = [grid.steps(0, device.submit), Failing()]
    streams = [device.stream() for _ in range(2)]
    with pytest.raises(ValueError, match="broken"):
        run_wave(layers, 8, 4, streams)  # type: ignore[arg-type]
    device.submit(lambda: grid.forward[0].append(None))  # as if the caller freed the buffers
    device.execute(lambda able: able[0])
    assert grid.forward[0][3] is not None and grid.forward[0][-1] is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_streams_give_the_result_of_the_plain_order() -> None:
    class Scan:
        def __init__(self, rows: torch.Tensor, layer: int) -> None:
            self.rows, self.layer = rows, layer

        def forward(self, start: int, stop: int) -> None:
            for p in range(start, stop):
                below = self.rows[self.layer - 1, p + 1] if self.layer else 0.1
                self.rows[self.layer, p + 1] = torch.sin(self.rows[self.layer, p] + below)

        def backward(self, start: int, stop: int) -> None:
            for p in reversed(range(start, stop)):
                self.rows[self.layer, p + 1] = self.rows[self.layer, p + 1].cos()

    results = []
    for streams in (None, [torch.cuda.Stream() for _ in range(4)]):
        rows = torch.zeros(4, 65, 1 << 16, device="cuda")
        layers = [Scan(rows, i) for i in range(4)]
        run_wave(layers, 64, CHUNK, streams)
        run_wave(layers, 64, CHUNK, streams, backward=True)
        results.append(rows.clone())
    assert torch.equal(*results) and results[0][3, 64].ne(0).all()
