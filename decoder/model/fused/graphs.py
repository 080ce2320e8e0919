"""Functions over static buffers, captured in CUDA graphs by key and replayed.

A graph holds addresses. So everything that a captured function reads or writes lies in buffers that
stay in place, and inputs, weights among them, are copied into these before it runs: parameters may
move as they like. All keys share one block of memory for their buffers and one pool for what the
functions allocate while they run, so that only one call can be under way: from `GraphCache.lease`
until `Lease.release`, as from the forward of an autograd function until its backward. A second
call meanwhile gets buffers of its own and is not captured.

A cache belongs to one thread and its current stream; the backward threads of autograd, for which
that thread waits, may use it. Other threads may call CUDA at any time, even while a graph is
captured ("thread_local"), but must not launch work on the streams of `streams_of`.
"""

import functools
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from decoder.remarks import remark

# T15 has 12 buckets of patches in training and as many in validation, and some of them come with
# two buckets of rows.
MOST_KEYS = 64
_BUCKET = 16
_ALIGNMENT = 256  # bytes

Function = Callable[[], None]


class Buffer(NamedTuple):
    """What a buffer holds."""

    shape: tuple[int, ...]
    dtype: torch.dtype


Make = Callable[[Mapping[str, Tensor]], Mapping[str, Function]]


class Capture(Protocol):
    """How functions are captured; `CudaCapture` unless a test says otherwise."""

    def warm_up(self, function: Function) -> None:
        """Run the function as it will be captured, which compiles and allocates what it needs."""

    def capture(self, function: Function) -> Function:
        """Record the function without running it; what comes back runs the recording."""


def bucket(n_patches: int) -> int:
    """The number of steps of the graph for batches of `n_patches`: the next multiple of 16."""
    return -(-n_patches // _BUCKET) * _BUCKET


def fill(buffer: Tensor, value: Tensor) -> Tensor:
    """Copy `value` to the start of every axis of a buffer, cast to its type.

    Returns:
        The part of the buffer that was written.
    """
    return buffer[tuple(slice(n) for n in value.shape)].copy_(value)


@functools.cache
def streams_of(device: torch.device, n: int) -> tuple[torch.cuda.Stream, ...]:
    """The first `n` of the streams that captured work may run on, the same for all caches.

    PyTorch hands out streams of normal priority from a ring of 32. These have a high priority, so
    that no other thread can hold one of them while it is captured.
    """
    before = streams_of(device, n - 1) if n > 1 else ()
    return (*before, torch.cuda.Stream(device, priority=-1))


class CudaCapture:
    """Captures functions in CUDA graphs with one pool of memory.

    Results that outlive a replay must lie in static buffers, as the next replay of any graph may
    reuse the pool.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = streams_of(device, 1)[0]
        self._alive: list[weakref.ref[torch.cuda.CUDAGraph]] = []
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Function) -> None:
        """Run the function on the stream of the captures."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                function()
        finally:
            current.wait_stream(self._stream)

    def capture(self, function: Function) -> Function:
        """Record the function in a graph and return its replay on the current stream."""
        self._alive = [ref for ref in self._alive if ref() is not None]
        if not self._alive:  # PyTorch gives up a pool with its last graph
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # The outer context restores the current stream if the capture fails; `graph` does not.
        with (
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"),
        ):
            function()
        self._alive.append(weakref.ref(graph))
        return graph.replay


class _Entry:
    """The buffers and functions of a key, and what was captured of them."""

    def __init__(self, buffers: Mapping[str, Tensor], functions: Mapping[str, Function]) -> None:
        self.buffers, self.functions = buffers, functions
        self.is_warm: set[str] = set()
        self.replays: dict[str, Function] = {}


class Lease:
    """The right to use the buffers of a key until `release`; from `GraphCache.lease`.

    Attributes:
        buffers: name → tensor. What they held before is lost.
    """

    def __init__(self, entry: _Entry, run: Callable[[_Entry, str], None]) -> None:
        self.buffers = entry.buffers
        self._entry: _Entry | None = entry
        self._run = run

    @property
    def is_held(self) -> bool:
        """Whether it was not released yet."""
        return self._entry is not None

    def run(self, name: str) -> None:
        """Run the function with this name on what the buffers hold.

        Raises:
            RuntimeError: the buffers were released, and may hold those of another call.
        """
        if self._entry is None:
            raise RuntimeError(
                f"'{name}' was asked for after the buffers of this call were released: a backward "
                "runs once for each forward; call the model again instead of keeping its graph"
            )
        self._run(self._entry, name)

    def release(self) -> None:
        """Give the buffers back; their content must not be read any more."""
        self._entry = None


class GraphCache:
    """Functions over static buffers by key, captured on a GPU and called as they are elsewhere.

    The first call of a function runs it, the second captures it, and this and later ones replay
    it. After a capture that fails, functions are called from then on, and the user is told.

    Args:
        device: of the buffers.
        most: keys to keep; those used least recently are dropped.
        capture: how functions are captured; None means CUDA graphs on a GPU, and not at all on
            other devices.
    """

    def __init__(
        self, device: torch.device, most: int = MOST_KEYS, capture: Capture | None = None
    ) -> None:
        if capture is None and device.type == "cuda":
            capture = CudaCapture(device)
        self._device, self._most, self._capture = device, most, capture
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._memory = torch.empty(0, dtype=torch.uint8, device=device)
        self._holder: weakref.ref[Lease] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @torch.inference_mode(False)  # buffers made in inference mode could not be used in training
    def lease(self, key: Hashable, layout: Mapping[str, Buffer], make: Make) -> Lease:
        """The buffers and functions of a key, made if they are new.

        If the last lease is still held, as when a model is called again before the backward of its
        first call, this one gets memory of its own and its functions are not captured.

        Args:
            key: everything that `layout` and `make` depend on.
            layout: the buffers, by name. What is in them is lost from one lease to the next.
            make: buffers → functions by name, which read and write nothing but the buffers.
        """
        holder = self._holder() if self._holder is not None else None
        if holder is not None and holder.is_held:
            memory = torch.empty(_n_bytes(layout), dtype=torch.uint8, device=self._device)
            buffers = _cut(memory, layout)
            return Lease(_Entry(buffers, make(buffers)), lambda e, name: e.functions[name]())
        lease = Lease(self._entry(key, layout, make), self._run)
        self._holder = weakref.ref(lease)
        return lease

    def clear(self) -> None:
        """Drop all graphs and buffers, as when runs leave the pack and no old key comes again."""
        if any(entry.replays for entry in self._entries.values()) and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # a graph may still run
        self._entries.clear()
        self._memory = self._memory.new_empty(0)

    def _entry(self, key: Hashable, layout: Mapping[str, Buffer], make: Make) -> _Entry:
        if key not in self._entries:
            n_bytes = _n_bytes(layout)
            if n_bytes > len(self._memory):  # the graphs hold addresses in the old block
                self.clear()
                self._memory = torch.empty(n_bytes, dtype=torch.uint8, device=self._device)
            while len(self._entries) >= self._most:
                self._drop_oldest()
            buffers = _cut(self._memory, layout)
            self._entries[key] = _Entry(buffers, make(buffers))
        self._entries.move_to_end(key)
        return self._entries[key]

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        if entry.replays and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _run(self, entry: _Entry, name: str) -> None:
        function = entry.functions[name]
        if self._capture is None or _is_captured_already(self._device):
            function()
        elif name in entry.replays:
            entry.replays[name]()
        elif name not in entry.is_warm:
            self._capture.warm_up(function)
            entry.is_warm.add(name)
        else:
            try:
                entry.replays[name] = self._capture.capture(function)
            except RuntimeError as error:  # nothing ran yet, and the buffers are as they were
                self._capture = None
                cause = error.__context__ or error  # ending the capture fails too, and says less
                remark(
                    f"{self._device}: a CUDA graph could not be captured "
                    f"({str(cause).splitlines()[0]}); training goes on without graphs, slower"
                )
                function()
            else:
                entry.replays[name]()


class GraphCaches:
    """A cache for each place of a model; different places hold their buffers at the same time."""

    def __init__(self) -> None:
        self._caches: dict[tuple[int, torch.device], GraphCache] = {}

    def at(self, place: int, device: torch.device) -> GraphCache:
        """The cache of a place, such as the number of a layer, for buffers on `device`."""
        if (place, device) not in self._caches:
            self._caches[place, device] = GraphCache(device)
        return self._caches[place, device]

    def clear(self) -> None:
        """Drop all graphs and buffers, as when runs leave the pack and no old key comes again."""
        for cache in self._caches.values():
            cache.clear()

    def __deepcopy__(self, memo: object) -> "GraphCaches":
        return GraphCaches()  # graphs hold addresses, and a copied model makes its own


def _is_captured_already(device: torch.device) -> bool:
    """Whether the caller is being captured in a graph of its own."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _n_bytes(layout: Mapping[str, Buffer]) -> int:
    return sum(_room(buffer) for buffer in layout.values())


def _room(buffer: Buffer) -> int:
    n_bytes = math.prod(buffer.shape) * buffer.dtype.itemsize
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _cut(memory: Tensor, layout: Mapping[str, Buffer]) -> dict[str, Tensor]:
    """The buffers of a layout in a block of memory, one after the other."""
    buffers, start = {}, 0
    for name, buffer in layout.items():
        n_bytes = math.prod(buffer.shape) * buffer.dtype.itemsize
        part = memory[start : start + n_bytes]
        buffers[name] = part.view(buffer.dtype).view(buffer.shape)
        start += _room(buffer)
    return buffers
