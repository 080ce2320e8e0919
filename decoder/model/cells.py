"""The parts that GRU and LSTM layers share: weights and the two directions.

Dimensions: R runs, P patches, B batch, D inputs, G gates, H units, N directions.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from decoder.model.inputs import LayerInput

Kernel = Literal["torch", "batched", "rows", "fused"]


class CellWeights(NamedTuple):
    """The weights of one direction, with gates stacked as in `torch.nn.GRU` and `torch.nn.LSTM`.

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


def join_directions(source: LayerInput, w_ih: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The input side of the gates, with directions stacked on the axis of runs.

    Args:
        source: the layer's input.
        w_ih: for each direction (R, G H, D), forward first.
        biases: for each direction (R, G H).

    Returns:
        (N R, P, B, G H): the runs of the forward direction, then those of the backward direction
        with their patches in reverse order.
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
    """The inverse of `join_directions`: (N R, P, B, H) → (R, P, B, N H), with patches in order."""
    if n_directions == 1:
        return states
    forward, backward = states.chunk(2)
    return torch.cat([forward, backward.flip(1)], dim=-1)
