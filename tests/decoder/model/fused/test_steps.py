"""Steps over static buffers compared with `torch.nn.GRU`, in one go and in chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decoder.model.fused import plain_steps
from decoder.model.fused.rows import pack_rows
from decoder.model.fused.steps import (
    GruSteps,
    InputBuffers,
    StepKernels,
    empty_buffers,
    hidden_gradients,
    input_gradients,
)

R, B, D, H = 2, 3, 4, 5
LENGTHS = torch.tensor([2, 5, 4])
N_STEPS = 7  # two of them without a trial, as in a graph that serves longer batches
SPARE = 2  # rows of the buffers that the batch does not need
ROWS = pack_rows(LENGTHS, N_STEPS, torch.device("cpu"))
V = ROWS.n_rows


def n_first(w: Tensor) -> Tensor:
    """Gates r, z, n of the second axis → n, r, z."""
    return w.roll(w.shape[1] // 3, 1)


class Case:
    """Two layers of R runs: weights as in `torch.nn.GRU`, an input, and an upstream gradient."""

    def __init__(self, with_dropout: bool) -> None:
        source = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return 0.5 * torch.randn(shape, generator=source, dtype=torch.float64)

        self.weights = [
            (draw(R, 3 * H, n), draw(R, 3 * H, H), draw(R, 3 * H), draw(R, 3 * H)) for n in (D, H)
        ]
        self.x, self.h0 = draw(R, N_STEPS, B, D), draw(R, B, H)
        valid = torch.arange(N_STEPS)[:, None, None] < LENGTHS[:, None]
        self.upstream = draw(2, R, N_STEPS, B, H) * valid
        self.factors = torch.ones(1, N_STEPS, B, H, dtype=torch.float64)
        if with_dropout:
            self.factors = (draw(1, N_STEPS, B, H) > -0.3).double() / 0.7

    def expected(self) -> Iterator[tuple[Tensor, ...]]:
        """For each layer states, and gradients of its four weights and of the initial states."""
        x, losses, found = self.x, [], []
        for weights, upstream in zip(self.weights, self.upstream, strict=True):
            n_inputs = weights[0].shape[-1]
            grus = [torch.nn.GRU(n_inputs, H, dtype=torch.float64) for _ in range(R)]
            h0 = self.h0.clone().requires_grad_()
            for r, gru in enumerate(grus):
                for parameter, weight in zip(gru.parameters(), weights, strict=True):
                    parameter.data.copy_(weight[r])
            out = torch.stack([gru(x[r], h0[r][None])[0] for r, gru in enumerate(grus)])
            losses.append((out * upstream).sum())
            found.append((out, grus, h0))
            x = out * self.factors
        torch.stack(losses).sum().backward()
        for out, grus, h0 in found:
            runs = zip(*[gru.parameters() for gru in grus], strict=True)
            gradients = [torch.stack([p.grad for p in parameters]) for parameters in runs]
            yield ROWS.gather(out.detach()), *gradients, ROWS.sort_trials(h0.grad)

    def steps(self, kernels: StepKernels, dtype: torch.dtype) -> list[GruSteps]:
        """The same layers over buffers, with the first one's input products filled in."""
        layers: list[GruSteps] = []
        for w_ih, w_hh, b_ih, b_hh in self.weights:
            bias = n_first(b_ih + torch.cat([b_hh[:, : 2 * H], 0 * b_hh[:, 2 * H :]], 1))
            bounds = (ROWS.offsets, ROWS.n_active)
            own = empty_buffers(R, N_STEPS, B, H, V + SPARE, dtype, CPU, bounds)
            own = replace(own, w_hh=w_hh.to(dtype), b_hn=b_hh[:, 2 * H :].to(own.b_hn.dtype))
            own.states[:, :B] = ROWS.sort_trials(self.h0)
            own.gates[:, V:] = own.outputs[:, V:] = own.grad[:, V:] = 7.0
            source = None
            if layers:
                factors = torch.nn.functional.pad(ROWS.gather(self.factors), (0, 0, 0, SPARE))
                below = layers[0].buffers
                weight = n_first(w_ih).to(dtype)
                bias = bias.to(own.b_hn.dtype)
                source = InputBuffers(below.outputs, factors, weight, bias, below.grad)
            else:
                own.gates_in[:, :V] = ROWS.gather(self.x) @ n_first(w_ih).mT + bias[:, None]
            layers.append(GruSteps(own, source, kernels))
        return layers

    def run(
        self, layers: Sequence[GruSteps], chunks: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Tensor, ...]]:
        """What `expected` gives, from the steps."""
        for start, stop in chunks:
            for layer in layers:
                layer.forward(start, stop)
        for layer, upstream in zip(layers, self.upstream, strict=True):
            layer.buffers.grad[:, :V] = ROWS.gather(upstream)
        for start, stop in reversed(chunks):
            for layer in reversed(layers):
                layer.backward(start, stop)
        x = ROWS.gather(self.x)
        for layer in layers:
            own = layer.buffers
            d_w_hh, d_b_hn = hidden_gradients(own.d_hidden, own.states, ROWS)
            d_gates_in = own.gates_in[:, :V]
            d_w_ih, d_bias = input_gradients(d_gates_in, x.to(d_gates_in.dtype))
            d_w_ih, d_b_ih = d_w_ih.roll(-H, 1), d_bias.roll(-H, 1)
            d_b_hh = torch.cat([d_b_ih[:, : 2 * H], d_b_hn], 1)
            yield own.outputs[:, :V].clone(), d_w_ih, d_w_hh, d_b_ih, d_b_hh, own.d_h0
            x = own.outputs[:, :V] * ROWS.gather(self.factors)


CPU = torch.device("cpu")
WHOLE = [(0, N_STEPS)]


@pytest.mark.parametrize("with_dropout", [False, True])
def test_two_layers_of_steps_equal_torch_nn_gru(with_dropout: bool) -> None:
    case = Case(with_dropout)
    got = case.run(case.steps(plain_steps, torch.float64), WHOLE)
    for ours, expected in zip(got, case.expected(), strict=True):
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_steps_in_chunks_equal_steps_in_one_go(size: int) -> None:
    case = Case(True)
    chunks = [(p, min(p + size, N_STEPS)) for p in range(0, N_STEPS, size)]
    got = case.run(case.steps(plain_steps, torch.float64), chunks)
    whole = case.run(case.steps(plain_steps, torch.float64), WHOLE)
    for ours, expected in zip(got, whole, strict=True):
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_rows_beyond_the_last_are_not_touched() -> None:
    case = Case(True)
    layers = case.steps(plain_steps, torch.float64)
    list(case.run(layers, [(0, 3), (3, N_STEPS)]))
    for layer in layers:
        own = layer.buffers
        for tensor in (own.gates, own.outputs, own.grad):
            assert tensor[:, V:].eq(7.0).all()
