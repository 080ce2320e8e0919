"""What a scheduler of layers sees: the steps of one GRU layer over static buffers.

The input side of the gates has the order n, r, z, so that one buffer holds, one after the other,
the gates' inputs (n, r, z), the gates after a step (n, r, z, and the hidden side of n before the
reset gate), and their gradients (the input side of n, r, z, the hidden side of n). The first three
are the gradient of the input side; the last three, in the order of `torch.nn.GRU`, that of the
hidden side.

Dimensions: R runs (N R with N directions), P steps, B batch, V rows, D inputs, H units.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from decoder.model.fused.rows import Rows


class Steps(Protocol):
    """One layer, in chunks of steps. Chunks come in order, and backward in the opposite order."""

    def forward(self, start: int, stop: int) -> None:
        """Steps `start` to `stop`.

        A layer above the first begins with its input products, for which it reads the states of
        the layer below up to `stop`.
        """

    def backward(self, start: int, stop: int) -> None:
        """Steps ``stop - 1`` down to `start`.

        A layer above the first then adds the gradient of its input at these steps to the buffer
        `InputBuffers.d_below`, which the layer below reads.
        """


@dataclass(frozen=True)
class InputBuffers:
    """What a layer above the first reads from the layer below, and what it gives back.

    Attributes:
        below: (R, V, D) states of the layer below, see `GruBuffers.outputs`.
        factors: (R or 1, V, D) dropout factors of the states; None means 1.
        w_ih: (R, 3H, D) in the order n, r, z.
        bias: (R, 3H) float32 in the order n, r, z, with the r and z parts of b_hh.
        d_below: (R, V, D) gradient of `below`, which is added to: `GruBuffers.grad` of the layer
            below.
    """

    below: Tensor
    factors: Tensor | None
    w_ih: Tensor
    bias: Tensor
    d_below: Tensor


@dataclass(frozen=True)
class GruBuffers:
    """The tensors of one layer. Rows of one run beyond the last valid row are never touched.

    Attributes:
        gates: (R, V, 4H) see the module. The first three are an input of the first layer; layers
            above it compute them.
        states: (R, B + V, H) the B initial states, in the order of the rows, then the state of
            each row.
        w_hh: (R, 3H, H) in the order r, z, n.
        b_hn: (R, H) float32.
        grad: (R, V, H) gradient of the states.
        carried: (R, B, H) float32, what a step of backward leaves to the step before it.
        d_h0: (R, B, H) float32 gradient of the initial states, once backward reaches step 0.
        offsets: (P + 1,) int32 of `decoder.model.fused.rows.Rows`.
        n_active: (P + 1,) int32 of `decoder.model.fused.rows.Rows`.
    """

    gates: Tensor
    states: Tensor
    w_hh: Tensor
    b_hn: Tensor
    grad: Tensor
    carried: Tensor
    d_h0: Tensor
    offsets: Tensor
    n_active: Tensor

    @property
    def n_trials(self) -> int:
        """B."""
        return self.carried.shape[1]

    @property
    def gates_in(self) -> Tensor:
        """(R, V, 3H), the input of the first layer before forward, its gradient after backward."""
        return self.gates[..., : 3 * self.states.shape[-1]]

    @property
    def d_hidden(self) -> Tensor:
        """(R, V, 3H) gradient of the hidden side after backward, in the order r, z, n."""
        return self.gates[..., self.states.shape[-1] :]

    @property
    def outputs(self) -> Tensor:
        """(R, V, H), the states without the initial ones."""
        return self.states[:, self.n_trials :]


class StepKernels(Protocol):
    """An implementation of the steps, as functions of a module.

    Every function takes `offsets` and `n_active` of `decoder.model.fused.rows.Rows`, and works on
    the rows of the steps `start` to `stop`. See `GruBuffers` for the other tensors.
    """

    def forward_steps(
        self,
        gates_in: Tensor,
        w_hh: Tensor,
        b_hn: Tensor,
        states: Tensor,
        saved: Tensor,
        offsets: Tensor,
        n_active: Tensor,
        start: int,
        stop: int,
    ) -> None:
        """Compute `states` and the gates `saved` (R, V, 4H) from `gates_in` (R, V, 3H).

        `saved` may be the memory of `gates_in`.
        """

    def backward_steps(
        self,
        grad: Tensor,
        w_hh: Tensor,
        states: Tensor,
        saved: Tensor,
        d_gates: Tensor,
        carried: Tensor,
        d_h0: Tensor,
        offsets: Tensor,
        n_active: Tensor,
        start: int,
        stop: int,
    ) -> None:
        """Compute `d_gates` (R, V, 4H) from `grad` (R, V, H), and `d_h0` if `start` is 0.

        `d_gates` may be the memory of `saved`.
        """

    def multiply_rows(
        self,
        x: Tensor,
        weight: Tensor,
        out: Tensor,
        offsets: Tensor,
        start: int,
        stop: int,
        *,
        n_trials: int,
        bias: Tensor | None = None,
        factors_in: Tensor | None = None,
        factors_out: Tensor | None = None,
        add: bool = False,
    ) -> None:
        """Set rows of out (R, V, O) to ``factors_out * ((factors_in * x) @ weight + bias)``.

        Args:
            x: (R, V, K).
            weight: (R, K, O), of any strides.
            n_trials: B.
            bias: (R, O).
            factors_in: (R or 1, V, K).
            factors_out: (R or 1, V, O).
            add: whether to add to `out`.
        """


class GruSteps:
    """The steps of one GRU layer over its buffers.

    Args:
        buffers: of this layer.
        source: what a layer above the first reads; None for the first layer, whose
            `GruBuffers.gates_in` are filled before.
        kernels: the module that computes.
    """

    def __init__(
        self, buffers: GruBuffers, source: InputBuffers | None, kernels: StepKernels
    ) -> None:
        self.buffers, self.source, self.kernels = buffers, source, kernels

    def forward(self, start: int, stop: int) -> None:
        """See `Steps.forward`."""
        own, source = self.buffers, self.source
        if source is not None:
            self.kernels.multiply_rows(
                source.below,
                source.w_ih.transpose(1, 2),
                own.gates_in,
                own.offsets,
                start,
                stop,
                n_trials=own.n_trials,
                bias=source.bias,
                factors_in=source.factors,
            )
        self.kernels.forward_steps(
            own.gates_in,
            own.w_hh,
            own.b_hn,
            own.states,
            own.gates,
            own.offsets,
            own.n_active,
            start,
            stop,
        )

    def backward(self, start: int, stop: int) -> None:
        """See `Steps.backward`."""
        own, source = self.buffers, self.source
        self.kernels.backward_steps(
            own.grad,
            own.w_hh,
            own.states,
            own.gates,
            own.gates,
            own.carried,
            own.d_h0,
            own.offsets,
            own.n_active,
            start,
            stop,
        )
        if source is not None:
            self.kernels.multiply_rows(
                own.gates_in,
                source.w_ih,
                source.d_below,
                own.offsets,
                start,
                stop,
                n_trials=own.n_trials,
                factors_out=source.factors,
                add=True,
            )


def empty_buffers(
    n_runs: int,
    n_steps: int,
    n_trials: int,
    n_units: int,
    n_rows: int,
    dtype: torch.dtype,
    device: torch.device,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> GruBuffers:
    """Buffers of one layer with memory of their own, zero throughout.

    Args:
        n_runs: R.
        n_steps: P.
        n_trials: B.
        n_units: H.
        n_rows: V; ``n_steps * n_trials`` is enough for every batch.
        dtype: of weights, gates and states. Sums are at least float32.
        device: of the buffers.
        bounds: `offsets` and `n_active`, if the layers share them; None makes new ones.
    """
    R, V, B, H = n_runs, n_rows, n_trials, n_units
    wide = torch.promote_types(dtype, torch.float32)

    def zeros(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    if bounds is None:
        offsets, n_active = (zeros(n_steps + 1, dtype=torch.int32) for _ in range(2))
    else:
        offsets, n_active = bounds
    return GruBuffers(
        gates=zeros(R, V, 4 * H),
        states=zeros(R, B + V, H),
        w_hh=zeros(R, 3 * H, H),
        b_hn=zeros(R, H, dtype=wide),
        grad=zeros(R, V, H),
        carried=zeros(R, B, H, dtype=wide),
        d_h0=zeros(R, B, H, dtype=wide),
        offsets=offsets,
        n_active=n_active,
    )


def hidden_gradients(d_hidden: Tensor, states: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """The gradients of w_hh (R, 3H, H) and b_hn (R, H): one product over all rows.

    Args:
        d_hidden: (R, V or more, 3H), see `GruBuffers.d_hidden`.
        states: (R, B + V or more, H), the initial states first.
        rows: the rows of the batch.
    """
    V, H = rows.n_rows, states.shape[-1]
    d_hidden = d_hidden[:, :V]
    before = states[:, :V] if rows.is_full else states.index_select(1, rows.previous)
    return torch.bmm(d_hidden.mT, before), d_hidden[..., 2 * H :].sum(1)


def input_gradients(d_gates_in: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of w_ih (R, 3H, D) and its bias (R, 3H), both in the order n, r, z.

    Args:
        d_gates_in: (R, V, 3H), see `GruBuffers.gates_in`.
        x: (R, V, D) input of the layer, after dropout.
    """
    return torch.bmm(d_gates_in.mT, x), d_gates_in.sum(1)
