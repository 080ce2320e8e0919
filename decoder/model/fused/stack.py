"""All layers of a GRU of one direction as one autograd function: a wavefront in CUDA graphs.

Weights, input and dropout factors are copied into static buffers, the layers run over them as a
wavefront of chunks, forward and backward each in a graph, and the gradients of the weights follow
in one product for each layer. Buffers are sized by buckets of patches and of rows, so that a few
graphs serve all batches.

Dimensions: L layers, R runs, P steps (patches), B batch, V rows, H units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from decoder.model.fused.graphs import (
    Buffer,
    Function,
    GraphCache,
    Lease,
    bucket,
    fill,
    streams_of,
)
from decoder.model.fused.rows import Rows
from decoder.model.fused.steps import (
    GruBuffers,
    GruSteps,
    InputBuffers,
    StepKernels,
    hidden_gradients,
    input_gradients,
)
from decoder.model.fused.wave import CHUNK, run_wave

_ROW_BUCKETS = 8  # buffers hold a whole number of eighths of the rows of a full batch


class StackLayer(NamedTuple):
    """The weights of one layer, with gates stacked as in `torch.nn.GRU` unless said otherwise.

    Attributes:
        w_hh: (R, 3H, H).
        b_hn: (R, H), the part of b_hh that the reset gate multiplies.
        w_ih: (R, 3H, H); None for the first layer, whose input products are made before.
        bias: (R, 3H) of the input products in the order n, r, z, with the r and z parts of b_hh;
            None for the first layer.
    """

    w_hh: Tensor
    b_hn: Tensor
    w_ih: Tensor | None
    bias: Tensor | None


def stack_states(
    gates_in: Tensor,
    layers: Sequence[StackLayer],
    h0: Tensor,
    factors: Sequence[Tensor | None],
    rows: Rows,
    kernels: StepKernels,
    cache: GraphCache,
    chunk: int = CHUNK,
) -> tuple[Tensor, ...]:
    """The states of every layer for the rows of a batch.

    Args:
        gates_in: (R, V, 3H) input products of the first layer, in the order n, r, z. Its dtype is
            that of the computation.
        layers: at least one, lowest first.
        h0: (R, B, H) initial states of every layer, with trials in the order of the rows.
        factors: L - 1 times (R or 1, V, H) dropout factors of the states of each layer but the
            last; None means no dropout.
        rows: the rows of the batch.
        kernels: the implementation of the steps.
        cache: holds buffers and graphs.
        chunk: steps of a layer that do not wait for other layers.

    Returns:
        L times (R, V, H), before dropout. If a gradient can follow, they are views of buffers that
        hold them until the gradient has been computed.
    """
    R, V, width = gates_in.shape
    assert len(factors) == len(layers) - 1 and rows.n_rows == V
    needs_gradient = torch.is_grad_enabled() and any(
        t.requires_grad for layer in layers for t in (gates_in, h0, *layer) if t is not None
    )
    n_steps = bucket(rows.n_steps)
    shape = _Shape(
        n_layers=len(layers),
        n_runs=R,
        n_steps=n_steps,
        n_trials=rows.n_trials,
        n_rows=_row_bucket(V, n_steps * rows.n_trials),
        n_units=width // 3,
        dtype=gates_in.dtype,
        n_factors=tuple(0 if f is None else len(f) for f in factors),
        backward=needs_gradient,
    )
    call = _Call(shape, rows, kernels, cache, chunk)
    flat = [t for layer in layers for t in layer if t is not None]
    states = _Stack.apply(call, gates_in, h0, *factors, *flat)  # type: ignore[no-untyped-call]
    return tuple(states)


def _row_bucket(n_rows: int, n_full: int) -> int:
    step = -(-n_full // _ROW_BUCKETS)
    return -(-max(n_rows, 1) // step) * step


class _Shape(NamedTuple):
    """What buffers and graphs depend on; the key of the cache."""

    n_layers: int
    n_runs: int
    n_steps: int  # a bucket
    n_trials: int
    n_rows: int  # a bucket
    n_units: int
    dtype: torch.dtype
    n_factors: tuple[int, ...]  # runs in the dropout factors of each layer but the last, or 0
    backward: bool


@dataclass(frozen=True)
class _Call:
    """The arguments of one call that are no tensors."""

    shape: _Shape
    rows: Rows
    kernels: StepKernels
    cache: GraphCache
    chunk: int

    def lease(self) -> Lease:
        """The buffers of this call and the functions "forward" and "backward" over them."""
        shape, kernels, chunk = self.shape, self.kernels, self.chunk

        def make(buffers: Mapping[str, Tensor]) -> dict[str, Function]:
            steps = [_steps(buffers, i, kernels) for i in range(shape.n_layers)]
            device = buffers["offsets"].device
            streams = None
            if device.type == "cuda":  # the first one is for captures
                streams = streams_of(device, shape.n_layers + 1)[1:]

            def forward() -> None:
                run_wave(steps, shape.n_steps, chunk, streams)

            def backward() -> None:
                run_wave(steps, shape.n_steps, chunk, streams, backward=True)

            return {"forward": forward, "backward": backward}

        return self.cache.lease((shape, kernels, chunk), _layout(shape), make)


def _layout(shape: _Shape) -> dict[str, Buffer]:
    R, V, B, H = shape.n_runs, shape.n_rows, shape.n_trials, shape.n_units
    dtype, wide = shape.dtype, torch.promote_types(shape.dtype, torch.float32)
    layout = {
        "offsets": Buffer((shape.n_steps + 1,), torch.int32),
        "n_active": Buffer((shape.n_steps + 1,), torch.int32),
    }
    for i in range(shape.n_layers):
        layout |= {
            f"gates/{i}": Buffer((R, V, 4 * H), dtype),
            f"states/{i}": Buffer((R, B + V, H), dtype),
            f"w_hh/{i}": Buffer((R, 3 * H, H), dtype),
            f"b_hn/{i}": Buffer((R, H), wide),
            f"grad/{i}": Buffer((R, V if shape.backward else 0, H), dtype),
            f"carried/{i}": Buffer((R, B, H), wide),
            f"d_h0/{i}": Buffer((R, B, H), wide),
        }
        if i:
            layout[f"w_ih/{i}"] = Buffer((R, 3 * H, H), dtype)
            layout[f"bias/{i}"] = Buffer((R, 3 * H), wide)
            if shape.n_factors[i - 1]:
                # Not of the lower precision, which would round 1 / (1 - rate).
                layout[f"factors/{i}"] = Buffer((shape.n_factors[i - 1], V, H), wide)
    return layout


def _steps(buffers: Mapping[str, Tensor], i: int, kernels: StepKernels) -> GruSteps:
    """The steps of layer `i` over the buffers of `_layout`."""
    own, source = _own(buffers, i), None
    if i:
        below = _own(buffers, i - 1)
        source = InputBuffers(
            below=below.outputs,
            factors=buffers.get(f"factors/{i}"),
            w_ih=buffers[f"w_ih/{i}"],
            bias=buffers[f"bias/{i}"],
            d_below=below.grad,
        )
    return GruSteps(own, source, kernels)


def _own(buffers: Mapping[str, Tensor], i: int) -> GruBuffers:
    return GruBuffers(
        gates=buffers[f"gates/{i}"],
        states=buffers[f"states/{i}"],
        w_hh=buffers[f"w_hh/{i}"],
        b_hn=buffers[f"b_hn/{i}"],
        grad=buffers[f"grad/{i}"],
        carried=buffers[f"carried/{i}"],
        d_h0=buffers[f"d_h0/{i}"],
        offsets=buffers["offsets"],
        n_active=buffers["n_active"],
    )


class _Stack(torch.autograd.Function):
    """Tensors: gates_in, h0, L - 1 factors, two weights of the first layer, four of the others."""

    @staticmethod
    def forward(ctx: Any, call: _Call, gates_in: Tensor, h0: Tensor, *rest: Any) -> Any:
        shape, rows = call.shape, call.rows
        factors, weights = rest[: shape.n_layers - 1], rest[shape.n_layers - 1 :]
        V, B, H = rows.n_rows, shape.n_trials, shape.n_units
        lease = call.lease()
        buffers = lease.buffers
        with torch.autocast(gates_in.device.type, enabled=False):
            _fill_rows(buffers, rows)
            for i in range(shape.n_layers):
                w_hh, b_hn, *inputs = weights[:2] if i == 0 else weights[4 * i - 2 : 4 * i + 2]
                buffers[f"states/{i}"][:, :B] = h0
                buffers[f"w_hh/{i}"].copy_(w_hh)
                buffers[f"b_hn/{i}"].copy_(b_hn)
                if i == 0:
                    fill(buffers["gates/0"], gates_in)
                    continue
                w_ih, bias = inputs
                buffers[f"w_ih/{i}"][:, :H] = w_ih[:, 2 * H :]  # r, z, n → n, r, z
                buffers[f"w_ih/{i}"][:, H:] = w_ih[:, : 2 * H]
                buffers[f"bias/{i}"].copy_(bias)
                if factors[i - 1] is not None:
                    fill(buffers[f"factors/{i}"], factors[i - 1])
            lease.run("forward")
        states = [buffers[f"states/{i}"][:, B : B + V] for i in range(shape.n_layers)]
        if not shape.backward:
            states = [state.clone() for state in states]
            lease.release()
        ctx.call, ctx.lease = call, lease
        ctx.set_materialize_grads(False)
        return tuple(states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        shape, lease = ctx.call.shape, ctx.lease
        device = lease.buffers["offsets"].device
        with torch.autocast(device.type, enabled=False):
            if lease.is_held:
                for i, grad in enumerate(grads):
                    buffer = lease.buffers[f"grad/{i}"][:, : ctx.call.rows.n_rows]
                    _ = buffer.zero_() if grad is None else buffer.copy_(grad)
            lease.run("backward")
            d_gates_in, d_h0, d_weights = _gradients(shape, lease.buffers, ctx.call.rows)
        lease.release()
        return None, d_gates_in, d_h0, *[None] * (shape.n_layers - 1), *d_weights


def _fill_rows(buffers: Mapping[str, Tensor], rows: Rows) -> None:
    """Row counts for all steps of the bucket; the steps beyond those of the batch have no rows."""
    offsets, n_active = buffers["offsets"], buffers["n_active"]
    fill(offsets, rows.offsets)
    offsets[rows.n_steps + 1 :] = rows.n_rows
    fill(n_active, rows.n_active)
    n_active[rows.n_steps + 1 :] = 0


def _gradients(
    shape: _Shape, buffers: Mapping[str, Tensor], rows: Rows
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Gradients of gates_in, h0 and the weights, once backward has run over all steps."""
    V, B, H = rows.n_rows, shape.n_trials, shape.n_units
    d_h0 = torch.stack([buffers[f"d_h0/{i}"] for i in range(shape.n_layers)]).sum(0)
    d_weights: list[Tensor] = []
    for i in range(shape.n_layers):
        own = _own(buffers, i)
        d_weights += hidden_gradients(own.d_hidden, own.states, rows)
        if i:
            x = buffers[f"states/{i - 1}"][:, B : B + V]
            if f"factors/{i}" in buffers:
                x = (x * buffers[f"factors/{i}"][:, :V]).to(shape.dtype)
            d_w_ih, d_bias = input_gradients(own.gates_in[:, :V], x)
            d_weights += [d_w_ih.roll(-H, 1), d_bias]  # n, r, z → r, z, n
    return _own(buffers, 0).gates_in[:, :V].clone(), d_h0, d_weights
