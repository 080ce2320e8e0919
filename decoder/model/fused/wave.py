"""The order of the steps of stacked layers: a wavefront of chunks, with a stream for each layer.

A layer needs a step of the layer below before its own, so chunk c of layer l can run beside chunk
c + 1 of layer l - 1. On a GPU that overlaps layers whose steps are each too small to fill it.

Dimensions: L layers, P patches (steps).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from decoder.model.fused.steps import Steps

# Steps in a chunk. A longer chunk delays the last layer by more steps, (L - 1) * CHUNK of them, in
# which the GPU is not full. A shorter one makes the input products of a chunk smaller and adds
# waits between streams. On an H100, five layers of 247 steps took 67 ms in chunks of 13 to 31 steps
# and 84 ms layer after layer (16 runs). 16 itself was not measured; it divides every bucket of
# patches (`decoder.model.fused.graphs.bucket`), so that all chunks are equally long.
CHUNK = 16


class Task(NamedTuple):
    """Steps `start` to `stop` of a layer; they follow those of the same chunk one layer before.

    Attributes:
        place: of the layer in the order of computation; 0 depends on no other layer.
        layer: its index in the stack.
        chunk: in the order of computation; it follows the chunk before it in the same layer.
        start: the first step.
        stop: the step after the last.
    """

    place: int
    layer: int
    chunk: int
    start: int
    stop: int


def wave_tasks(n_layers: int, n_steps: int, chunk: int, backward: bool = False) -> list[Task]:
    """Every chunk of every layer, diagonal by diagonal: each task after those it depends on.

    The order is also the best one for launching on streams: a layer's next chunk is launched
    before the layers after it are waited for.

    Args:
        n_layers: L.
        n_steps: P.
        chunk: the most steps in a task.
        backward: start at the top layer and at the last steps.
    """
    assert chunk > 0, chunk
    spans = [(start, min(start + chunk, n_steps)) for start in range(0, n_steps, chunk)]
    if backward:
        spans.reverse()
    tasks = []
    for diagonal in range(n_layers + len(spans) - 1):
        for place in range(n_layers):
            c = diagonal - place
            if 0 <= c < len(spans):
                layer = n_layers - 1 - place if backward else place
                tasks.append(Task(place, layer, c, *spans[c]))
    return tasks


def run_wave(
    layers: Sequence[Steps],
    n_steps: int,
    chunk: int,
    streams: Sequence[torch.cuda.Stream] | None,
    backward: bool = False,
) -> None:
    """Run all steps of all layers, forward or backward, in an order that their dependencies allow.

    On streams, the work starts after what the current stream holds and the current stream waits
    for its end, so that a CUDA graph that is captured on the current stream takes all of it in.

    Args:
        layers: lowest first.
        n_steps: P.
        chunk: steps of a layer that run without waiting for other layers.
        streams: one for each layer, of one device; None runs the same tasks one after another.
        backward: run the backward steps, from the top layer and the last step.
    """
    tasks = wave_tasks(len(layers), n_steps, chunk, backward)
    if streams is None:
        for task in tasks:
            _run(layers, task, backward)
        return
    assert len(streams) == len(layers), (len(streams), len(layers))
    current = torch.cuda.current_stream(streams[0].device)
    started = current.record_event()
    for stream in streams:
        stream.wait_event(started)
    done: dict[tuple[int, int], torch.cuda.Event] = {}  # (place, chunk) → its end
    try:
        for task in tasks:
            stream = streams[task.layer]
            if task.place:
                stream.wait_event(done.pop((task.place - 1, task.chunk)))
            with torch.cuda.stream(stream):
                _run(layers, task, backward)
            if task.place < len(layers) - 1:
                done[task.place, task.chunk] = stream.record_event()
    finally:  # after an error too, as the caller may free what the streams still use
        for stream in streams:
            current.wait_event(stream.record_event())


def _run(layers: Sequence[Steps], task: Task, backward: bool) -> None:
    steps = layers[task.layer]
    (steps.backward if backward else steps.forward)(task.start, task.stop)
