"""What GRU and LSTM layers share: their weights' form, the two directions, which kernel to take.

Dimensions: R runs, P patches, B batch, D inputs, G gates, H units, N directions.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from decoder.model.inputs import LayerInput

Kernel = Literal["torch", "batched"]


class CellWeights(NamedTuple):
    """One direction's weights, its gates stacked as `torch.nn.GRU` and `torch.nn.LSTM` do.

    Attributes:
        w_ih: (R, G H, D).
        w_hh: (R, G H, H).
        b_ih: (R, G H).
        b_hh: (R, G H).
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


def choose_kernel(n_runs: int, device: torch.device) -> Kernel:
    """The faster implementation for a pack of `n_runs` on `device` (benchmarks/README.md).

    On CPU the batched one is faster at every size measured, R = 1 included. On a GPU neither has
    been measured yet: cuDNN's kernels are the safe choice, and the place to change it is here.
    """
    return "batched" if device.type == "cpu" else "torch"


def join_directions(source: LayerInput, w_ih: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The input side of the gates, the directions as if they were runs of their own.

    Args:
        source: the layer's input.
        w_ih: (R, G H, D), of the forward direction and perhaps of the backward one.
        biases: (R, G H), likewise.

    Returns:
        (N R, P, B, G H): the forward direction's runs, then the backward direction's, whose
        patches are in reverse order.
    """
    if len(w_ih) == 1:
        return source.project(w_ih[0], biases[0])
    gates = source.project(torch.cat(list(w_ih), 1), torch.cat(list(biases), 1))
    forward, backward = gates.chunk(2, dim=-1)  # each (R, P, B, G H)
    return torch.cat([forward, backward.flip(1)])


def stack_directions(tensors: Sequence[Tensor]) -> Tensor:
    """Each direction's (R, ...) → (N R, ...), in the order of `join_directions`."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def part_directions(states: Tensor, n_directions: int) -> Tensor:
    """(N R, P, B, H) as `join_directions` orders them → (R, P, B, N H), patches in order."""
    if n_directions == 1:
        return states
    forward, backward = states.chunk(2)
    return torch.cat([forward, backward.flip(1)], dim=-1)
