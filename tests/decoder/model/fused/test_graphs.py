"""Static buffers and captured functions: keys, memory, leases, and what a failure leads to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from decoder import remarks
from decoder.model.fused import graphs
from decoder.model.fused.graphs import (
    Buffer,
    CudaCapture,
    Function,
    GraphCache,
    Lease,
    bucket,
    fill,
    streams_of,
)
from decoder.remarks import take_remarks

CPU = torch.device("cpu")
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(remarks, "_said", set())
    monkeypatch.setattr(remarks, "_waiting", [])
    yield


class FakeCapture:
    """Captures like a GPU: recording runs nothing, and a replay runs what was recorded."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls = error, []

    def warm_up(self, function: Function) -> None:
        self.calls.append("warm up")
        function()

    def capture(self, function: Function) -> Function:
        self.calls.append("capture")
        if self.error is not None:
            raise self.error

        def replay() -> None:
            self.calls.append("replay")
            function()

        return replay


def layout(n: int) -> dict[str, Buffer]:
    return {
        "x": Buffer((n, 3), torch.float64),
        "flag": Buffer((1,), torch.uint8),
        "y": Buffer((n, 3), torch.float32),
    }


def doubling(buffers: Mapping[str, Tensor]) -> dict[str, Function]:
    """Not repeatable: the input is overwritten, as the gates of a GRU are."""

    def forward() -> None:
        buffers["x"].mul_(2)
        buffers["y"].copy_(buffers["x"])

    def backward() -> None:
        buffers["y"].add_(buffers["x"])

    return {"forward": forward, "backward": backward}


def call(cache: GraphCache, n: int, value: float = 1.0, make: Any = doubling) -> Lease:
    lease = cache.lease(n, layout(n), make)
    fill(lease.buffers["x"], torch.full((n, 3), value))
    lease.run("forward")
    return lease


def once(cache: GraphCache, n: int, value: float = 1.0) -> float:
    """One whole call; the result of backward is four times the value."""
    lease = call(cache, n, value)
    lease.run("backward")
    result = float(lease.buffers["y"].sum()) / (3 * n)
    lease.release()
    return result


@pytest.mark.parametrize(
    ("n_patches", "expected"), [(1, 16), (16, 16), (17, 32), (247, 256), (256, 256)]
)
def test_lengths_are_rounded_up_to_multiples_of_16(n_patches: int, expected: int) -> None:
    assert bucket(n_patches) == expected


def test_a_value_fills_the_start_of_every_axis_and_is_cast() -> None:
    buffer = torch.zeros(3, 4, dtype=torch.float64)
    part = fill(buffer, torch.ones(2, 3))
    assert buffer.sum() == 6 and buffer[:2, :3].eq(1).all()
    assert part.shape == (2, 3) and part.data_ptr() == buffer.data_ptr()


def test_buffers_do_not_overlap_and_have_the_shapes_and_types_asked_for() -> None:
    lease = GraphCache(CPU).lease("key", layout(5), doubling)
    for name, (shape, dtype) in layout(5).items():
        assert lease.buffers[name].shape == shape and lease.buffers[name].dtype == dtype
        assert lease.buffers[name].is_contiguous()
        assert lease.buffers[name].data_ptr() % 16 == 0
    for i, name in enumerate(lease.buffers):
        lease.buffers[name].fill_(i + 1)
    assert [t.unique().tolist() for t in lease.buffers.values()] == [[1], [2], [3]]


@pytest.mark.parametrize("capture", [None, FakeCapture()])
def test_every_call_gives_the_same_result(capture: FakeCapture | None) -> None:
    cache = GraphCache(CPU, capture=capture)
    assert [once(cache, 4, value) for value in (1.0, 1.0, 2.0, 3.0)] == [4, 4, 8, 12]


def test_the_first_call_runs_the_second_captures_and_later_ones_replay() -> None:
    capture = FakeCapture()
    cache = GraphCache(CPU, capture=capture)
    for expected in (["warm up"], ["capture", "replay"], ["replay"], ["replay"]):
        capture.calls.clear()
        once(cache, 4)
        assert capture.calls == expected[:1] * 2 if len(expected) == 1 else expected * 2


def test_the_functions_of_a_key_are_made_once() -> None:
    made = []

    def make(buffers: Mapping[str, Tensor]) -> dict[str, Function]:
        made.append(len(buffers["x"]))
        return doubling(buffers)

    cache = GraphCache(CPU)
    for n in (4, 3, 4, 3, 2):
        call(cache, n, make=make).release()
    assert made == [4, 3, 2]


def test_keys_share_one_block_of_memory() -> None:
    cache = GraphCache(CPU)
    first = call(cache, 8)
    address = first.buffers["x"].data_ptr()
    first.release()
    small = call(cache, 2)
    assert small.buffers["x"].data_ptr() == address


def test_a_larger_key_moves_the_block_and_drops_what_held_addresses_in_it() -> None:
    capture = FakeCapture()
    cache = GraphCache(CPU, capture=capture)
    for _ in range(2):
        once(cache, 4)
    once(cache, 50)
    assert len(cache) == 1
    capture.calls.clear()
    assert once(cache, 4) == 4
    assert capture.calls == ["warm up", "warm up"]


def test_the_key_used_least_recently_is_dropped() -> None:
    capture = FakeCapture()
    cache = GraphCache(CPU, most=2, capture=capture)
    for n in (9, 8, 9, 7):  # 8 is dropped
        once(cache, n)
    assert len(cache) == 2
    capture.calls.clear()
    once(cache, 9)
    assert capture.calls == ["replay"] * 2
    once(cache, 8)
    assert capture.calls[2:] == ["warm up"] * 2


def test_after_clear_everything_is_made_again() -> None:
    capture = FakeCapture()
    cache = GraphCache(CPU, capture=capture)
    for _ in range(3):
        once(cache, 4)
    cache.clear()
    capture.calls.clear()
    assert len(cache) == 0 and once(cache, 4) == 4
    assert capture.calls == ["warm up"] * 2


def test_a_call_before_the_backward_of_the_last_one_does_not_disturb_it() -> None:
    capture = FakeCapture()
    cache = GraphCache(CPU, capture=capture)
    once(cache, 4)
    first = call(cache, 4, 1.0)
    capture.calls.clear()
    second = call(cache, 4, 5.0)
    third = call(cache, 6, 7.0)
    assert capture.calls == [] and len(cache) == 1
    for lease, expected in ((second, 20), (first, 4), (third, 28)):
        lease.run("backward")
        assert lease.buffers["y"].eq(expected).all()
        lease.release()
    assert once(cache, 4, 2.0) == 8
    assert "replay" in capture.calls


def test_a_lease_that_is_forgotten_is_released() -> None:
    capture = FakeCapture()
    cache = GraphCache(CPU, capture=capture)
    call(cache, 4)
    once(cache, 4)
    assert "capture" in capture.calls


def test_a_second_backward_is_an_error() -> None:
    lease = call(GraphCache(CPU), 4)
    lease.run("backward")
    lease.release()
    assert not lease.is_held
    with pytest.raises(RuntimeError, match="'backward'.*released"):
        lease.run("backward")


def test_accumulated_calls_are_those_of_one_after_the_other() -> None:
    cache = GraphCache(CPU, capture=FakeCapture())
    total = 0.0
    for _ in range(3):  # steps
        total += sum(once(cache, n, value) for n, value in ((4, 1.0), (5, 2.0), (4, 3.0)))
    assert total == 3 * 4 * 6


def test_after_a_failed_capture_functions_are_called_and_the_user_is_told_once() -> None:
    capture = FakeCapture(RuntimeError("operation not permitted\nmore lines"))
    cache = GraphCache(CPU, capture=capture)
    assert [once(cache, n, 2.0) for n in (4, 4, 4, 5, 5)] == [8] * 5
    assert capture.calls.count("capture") == 1
    [text] = take_remarks()
    assert "operation not permitted" in text and "more lines" not in text


def test_an_error_of_the_function_itself_is_raised() -> None:
    def make(buffers: Mapping[str, Tensor]) -> dict[str, Function]:
        def forward() -> None:
            raise ValueError("broken")

        return {"forward": forward}

    for capture in (None, FakeCapture()):
        lease = GraphCache(CPU, capture=capture).lease("key", layout(2), make)
        with pytest.raises(ValueError, match="broken"):
            lease.run("forward")


def test_buffers_made_in_inference_mode_can_be_used_in_training() -> None:
    cache = GraphCache(CPU)
    with torch.inference_mode():
        assert once(cache, 4) == 4
    assert once(cache, 4) == 4


class FakeCuda:
    """The calls of `torch.cuda` that a capture makes, in order, on streams that do nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        self.stack: list[str] = ["main"]
        self.n_pools = 0
        for name in ("current_stream", "stream", "graph", "graph_pool_handle", "CUDAGraph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(graphs, "streams_of", lambda device, n: [FakeStream("side", self)] * n)

    def current_stream(self, device: Any = None) -> "FakeStream":
        return FakeStream(self.stack[-1], self)

    @contextmanager
    def stream(self, stream: "FakeStream") -> Iterator[None]:
        before = list(self.stack)
        self.stack.append(stream.name)
        try:
            yield
        finally:  # as in PyTorch, the stream that was current, whatever happened meanwhile
            self.stack[:] = before

    @contextmanager
    def graph(
        self, graph: Any, pool: Any, stream: "FakeStream", capture_error_mode: str
    ) -> Iterator[None]:
        self.stack.append(stream.name)  # as in PyTorch, it stays if the capture fails
        self.calls.append(("begin", pool, stream.name, capture_error_mode))
        yield
        self.calls.append("end")
        self.stack.pop()

    def graph_pool_handle(self) -> int:
        self.n_pools += 1
        return self.n_pools

    def CUDAGraph(self) -> "FakeGraph":
        return FakeGraph(self)


class FakeGraph:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.calls.append(("replay", self.cuda.stack[-1]))


class FakeStream:
    def __init__(self, name: str, cuda: FakeCuda) -> None:
        self.name, self.cuda = name, cuda

    def wait_stream(self, other: "FakeStream") -> None:
        self.cuda.calls.append((self.name, "waits for", other.name))


def test_a_warm_up_runs_on_the_stream_of_the_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    CudaCapture(CPU).warm_up(lambda: cuda.calls.append(cuda.stack[-1]))
    assert cuda.calls == [("side", "waits for", "main"), "side", ("main", "waits for", "side")]


def test_captures_share_a_pool_as_long_as_one_of_them_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    capture = CudaCapture(CPU)
    first = capture.capture(lambda: cuda.calls.append(cuda.stack[-1]))
    begin = cuda.calls[0]
    assert cuda.calls == [("begin", begin[1], "side", "thread_local"), "side", "end"]
    first()
    assert cuda.calls[-1] == ("replay", "main")

    def pool() -> int:
        cuda.calls.clear()
        held.append(capture.capture(lambda: None))
        return cuda.calls[0][1]

    held: list[Function] = []
    assert pool() == begin[1]
    del first
    assert pool() == begin[1]
    held.clear()
    assert pool() != begin[1]


def test_a_failed_capture_leaves_the_current_stream_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)

    def fail() -> None:
        raise RuntimeError("not permitted")

    before = list(cuda.stack)
    capture = CudaCapture(CPU)
    with pytest.raises(RuntimeError, match="not permitted"):
        capture.capture(fail)
    assert cuda.stack == before


# On a GPU


def product_of(buffers: Mapping[str, Tensor]) -> dict[str, Function]:
    """Allocates while it runs, and uses another stream."""
    device = buffers["x"].device
    side = streams_of(device, 2)[1] if device.type == "cuda" else None

    def forward() -> None:
        x = buffers["x"]
        if side is None:
            buffers["y"].copy_((x @ x.T).tanh() @ x)
            return
        current = torch.cuda.current_stream(device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            buffers["y"].copy_((x @ x.T).tanh() @ x)
        current.wait_stream(side)
        buffers["x"].zero_()

    def backward() -> None:
        buffers["y"].mul_(2)

    return {"forward": forward, "backward": backward}


def product(cache: GraphCache, value: Tensor) -> Tensor:
    lease = cache.lease(len(value), layout(len(value)), product_of)
    fill(lease.buffers["x"], value)
    lease.run("forward")
    lease.run("backward")
    result = lease.buffers["y"].clone()
    lease.release()
    return result


@no_gpu
def test_replays_on_a_gpu_give_what_the_functions_give() -> None:
    device = torch.device("cuda")
    captured, plain = GraphCache(device), GraphCache(CPU)
    source = torch.Generator().manual_seed(0)
    for n in (40, 16, 40, 16, 40, 64, 64, 40, 40, 16, 16):
        value = torch.randn(n, 3, generator=source, dtype=torch.float64)
        torch.testing.assert_close(product(captured, value.to(device)).cpu(), product(plain, value))
    assert take_remarks() == ()
    entries = captured._entries.values()
    assert all(set(entry.replays) == {"forward", "backward"} for entry in entries)


@no_gpu
def test_a_pool_is_made_anew_when_its_last_graph_is_gone() -> None:
    device = torch.device("cuda")
    cache = GraphCache(device, most=1)
    for n in (8, 8, 8, 6, 6, 8, 8, 8):
        value = torch.full((n, 3), 0.5, device=device)
        assert product(cache, value).isfinite().all()
    cache.clear()
    for _ in range(3):
        product(cache, torch.ones(8, 3, device=device))
    assert take_remarks() == ()


@no_gpu
def test_a_function_that_cannot_be_captured_runs_all_the_same() -> None:
    device = torch.device("cuda")

    def make(buffers: Mapping[str, Tensor]) -> dict[str, Function]:
        def forward() -> None:
            buffers["x"].mul_(2 + int(buffers["flag"].item()))  # waits for the GPU

        return {"forward": forward}

    cache = GraphCache(device)
    stream = torch.cuda.current_stream()
    for _ in range(4):
        lease = cache.lease("key", layout(4), make)
        fill(lease.buffers["x"], torch.ones(4, 3, device=device))
        lease.buffers["flag"].zero_()
        lease.run("forward")
        assert lease.buffers["x"].eq(2).all()
        assert torch.cuda.current_stream() == stream
        lease.release()
    assert len(take_remarks()) == 1


@no_gpu
def test_another_thread_may_use_cuda_while_a_graph_is_captured() -> None:
    import threading

    device = torch.device("cuda")
    stop = threading.Event()

    def load() -> None:
        stream = torch.cuda.Stream()
        while not stop.is_set():
            with torch.cuda.stream(stream):
                torch.empty(1 << 20).pin_memory().to(device, non_blocking=True)
                torch.empty(1 << 22, device=device)
            stream.synchronize()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for n in range(3, 40):
            cache = GraphCache(device)
            results = [product(cache, torch.full((n, 3), 0.1, device=device)) for _ in range(3)]
            assert torch.equal(results[0], results[2])
    finally:
        stop.set()
        thread.join()
    assert take_remarks() == ()


@no_gpu
def test_functions_are_called_within_a_capture_of_the_caller() -> None:
    device = torch.device("cuda")
    cache = GraphCache(device)
    value = torch.full((4, 3), 0.5, device=device)
    expected = product(cache, value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = product(cache, value)
    graph.replay()
    torch.testing.assert_close(result, expected)
    assert all(not entry.replays for entry in cache._entries.values())
