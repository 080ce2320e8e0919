"""Steps over static buffers compared with `torch.nn.GRU`, in one go and in chunks.

On a machine without a GPU, Triton's kernels run in its interpreter.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

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

N_SPARE = 2  # rows of the buffers that the batch does not need
HAS_TRITON = importlib.util.find_spec("triton") is not None
Chunks = Sequence[tuple[int, int]]
Found = list[tuple[Tensor, ...]]


class Kernels(NamedTuple):
    steps: StepKernels
    dtype: torch.dtype
    device: torch.device
    rtol: float


def kernels_named(name: str) -> Kernels:
    """``plain``, ``triton`` or ``triton bfloat16``."""
    if name == "plain":
        return Kernels(plain_steps, torch.float64, torch.device("cpu"), 1e-9)
    from decoder.model.fused import triton_steps

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "triton":
        return Kernels(triton_steps, torch.float32, device, 3e-6)
    return Kernels(triton_steps, torch.bfloat16, device, 3e-2)


needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")
TRITON = pytest.param("triton", marks=needs_triton)
BFLOAT16 = pytest.param("triton bfloat16", marks=needs_triton)
EXACT = pytest.mark.parametrize("name", ["plain", TRITON])


def n_first(w: Tensor) -> Tensor:
    """Gates r, z, n of the second axis → n, r, z."""
    return w.roll(w.shape[1] // 3, 1)


class Case:
    """Two layers of R runs: weights as in `torch.nn.GRU`, an input, and an upstream gradient."""

    def __init__(
        self,
        n_runs: int = 2,
        lengths: Sequence[int] = (2, 5, 4),
        n_steps: int = 7,  # two of them without a trial, as in a graph that serves longer batches
        n_inputs: int = 4,
        n_units: int = 5,
        with_dropout: bool = True,
    ) -> None:
        source = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=source, dtype=torch.float64)

        R, P, B, H = n_runs, n_steps, len(lengths), n_units
        self.shape = R, P, B, H
        self.whole: Chunks = [(0, P)]
        self.weights = [
            (
                draw(R, 3 * H, n) / n**0.5,
                draw(R, 3 * H, H) / H**0.5,
                draw(R, 3 * H) / 2,
                draw(R, 3 * H) / 2,
            )
            for n in (n_inputs, H)
        ]
        self.x, self.h0 = draw(R, P, B, n_inputs), draw(R, B, H)
        valid = torch.arange(P)[:, None, None] < torch.tensor(lengths)[:, None]
        self.upstream = draw(2, R, P, B, H) * valid
        self.factors = torch.ones(1, P, B, H, dtype=torch.float64)
        if with_dropout:
            self.factors = (draw(1, P, B, H) > -0.5).double() / 0.7
        self.rows = pack_rows(torch.tensor(lengths), P, torch.device("cpu"))

    def expected(self) -> Found:
        """For each layer states, and gradients of its four weights and of the initial states."""
        R, _, _, H = self.shape
        x, losses, layers = self.x, [], []
        for weights, upstream in zip(self.weights, self.upstream, strict=True):
            n_inputs = weights[0].shape[-1]
            grus = [torch.nn.GRU(n_inputs, H, dtype=torch.float64) for _ in range(R)]
            h0 = self.h0.clone().requires_grad_()
            for r, gru in enumerate(grus):
                for parameter, weight in zip(gru.parameters(), weights, strict=True):
                    parameter.data.copy_(weight[r])
            out = torch.stack([gru(x[r], h0[r][None])[0] for r, gru in enumerate(grus)])
            losses.append((out * upstream).sum())
            layers.append((out, grus, h0))
            x = out * self.factors
        torch.stack(losses).sum().backward()
        found: Found = []
        for out, grus, h0 in layers:
            runs = zip(*[gru.parameters() for gru in grus], strict=True)
            gradients = [torch.stack([p.grad for p in parameters]) for parameters in runs]
            states = self.rows.gather(out.detach())
            found.append((states, *gradients, self.rows.sort_trials(h0.grad)))
        return found

    def steps(self, kernels: Kernels) -> list[GruSteps]:
        """The same layers over buffers, with the first one's input products filled in."""
        R, P, B, H = self.shape
        V, dtype, device = self.rows.n_rows, kernels.dtype, kernels.device
        bounds = self.rows.offsets.to(device), self.rows.n_active.to(device)
        layers: list[GruSteps] = []
        for w_ih, w_hh, b_ih, b_hh in self.weights:
            bias = n_first(b_ih + torch.cat([b_hh[:, : 2 * H], 0 * b_hh[:, 2 * H :]], 1))
            own = empty_buffers(R, P, B, H, V + N_SPARE, dtype, device, bounds)
            own.w_hh.copy_(w_hh)
            own.b_hn.copy_(b_hh[:, 2 * H :])
            own.states[:, :B] = self.rows.sort_trials(self.h0)
            own.gates[:, V:] = own.outputs[:, V:] = own.grad[:, V:] = 7.0
            source = None
            if layers:
                factors = self.rows.gather(self.factors)
                factors = torch.nn.functional.pad(factors, (0, 0, 0, N_SPARE)).to(device)
                below = layers[0].buffers
                weight, bias = n_first(w_ih).to(own.w_hh), bias.to(own.b_hn)
                source = InputBuffers(below.outputs, factors, weight, bias, below.grad)
            else:
                own.gates_in[:, :V] = self.rows.gather(self.x) @ n_first(w_ih).mT + bias[:, None]
            layers.append(GruSteps(own, source, kernels.steps))
        return layers

    def run(self, layers: Sequence[GruSteps], chunks: Chunks) -> Found:
        """What `expected` gives, from the steps."""
        V, H = self.rows.n_rows, self.shape[-1]
        for start, stop in chunks:
            for layer in layers:
                layer.forward(start, stop)
        for layer, upstream in zip(layers, self.upstream, strict=True):
            layer.buffers.grad[:, :V] = self.rows.gather(upstream)
        for start, stop in reversed(chunks):
            for layer in reversed(layers):
                layer.backward(start, stop)
        x, found = self.rows.gather(self.x), list[tuple[Tensor, ...]]()
        for layer in layers:
            own = replace(
                layer.buffers,
                gates=layer.buffers.gates.cpu().double(),
                states=layer.buffers.states.cpu().double(),
            )
            d_w_hh, d_b_hn = hidden_gradients(own.d_hidden, own.states, self.rows)
            d_w_ih, d_bias = input_gradients(own.gates_in[:, :V], x)
            d_w_ih, d_b_ih = d_w_ih.roll(-H, 1), d_bias.roll(-H, 1)
            d_b_hh = torch.cat([d_b_ih[:, : 2 * H], d_b_hn], 1)
            states, d_h0 = own.outputs[:, :V], own.d_h0.cpu().double()
            found.append((states, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_h0))
            x = states * self.rows.gather(self.factors)
        return found


def largest_errors(got: Found, expected: Found) -> Iterator[float]:
    """The norm of each difference, relative to the expected norm."""
    for ours, theirs in zip(got, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            yield float((a - b).norm() / b.norm())


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("name", ["plain", TRITON, BFLOAT16])
def test_two_layers_of_steps_equal_torch_nn_gru(name: str, with_dropout: bool) -> None:
    case, kernels = Case(with_dropout=with_dropout), kernels_named(name)
    got = case.run(case.steps(kernels), case.whole)
    assert max(largest_errors(got, case.expected())) < kernels.rtol


@needs_triton
@pytest.mark.parametrize(
    ("n_runs", "lengths", "n_units"),
    [
        (1, (1,), 1),
        (3, (3, 3, 3), 16),  # no padding
        (1, (4, 1, 0, 2), 33),  # more than one tile of columns
        (1, (2, 3), 70),
        (1, tuple(1 + i % 3 for i in range(70)), 6),  # more than one tile of trials
        (12, (1, 2), 3),  # wide tiles in bfloat16
    ],
)
@pytest.mark.parametrize("name", ["triton", "triton bfloat16"])
def test_kernels_of_any_size_equal_torch_nn_gru(
    n_runs: int, lengths: tuple[int, ...], n_units: int, name: str
) -> None:
    case = Case(n_runs, lengths, max(lengths), 7, n_units)
    kernels = kernels_named(name)
    got = case.run(case.steps(kernels), case.whole)
    assert max(largest_errors(got, case.expected())) < kernels.rtol


@pytest.mark.parametrize("size", [1, 2, 3])
@EXACT
def test_steps_in_chunks_equal_steps_in_one_go(name: str, size: int) -> None:
    case, kernels = Case(), kernels_named(name)
    chunks = [(p, min(p + size, 7)) for p in range(0, 7, size)]
    got = case.run(case.steps(kernels), chunks)
    whole = case.run(case.steps(kernels), case.whole)
    assert max(largest_errors(got, whole)) < kernels.rtol / 10


@EXACT
def test_rows_beyond_the_last_are_not_touched(name: str) -> None:
    case = Case()
    layers = case.steps(kernels_named(name))
    case.run(layers, [(0, 3), (3, 7)])
    V = case.rows.n_rows
    for layer in layers:
        own = layer.buffers
        for tensor in (own.gates, own.outputs, own.grad):
            assert tensor[:, V:].eq(7.0).all()
