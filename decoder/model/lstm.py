"""One LSTM layer over the R runs of a pack, in one or two directions.

It follows `torch.nn.LSTM` and calls PyTorch's own kernels once for each run: oneDNN's on a CPU,
cuDNN's on a GPU. Products batched over runs with a hand-written backward, which make the GRU
faster, were tried for the LSTM and are slower: 0.7 times the speed at the median of 24 sizes (64
and 128 units, 30 and 60 patches, R = 1, 4 and 12, one direction and both; one thread of the CPU
named in benchmarks/README.md).

Dimensions: R runs, P patches, B batch, D inputs, H units, N directions.
"""

from collections.abc import Sequence

import torch
from torch import _VF, Tensor

from decoder.model.cells import CellWeights
from decoder.model.fused.rows import Rows
from decoder.model.inputs import LayerInput
from decoder.model.precision import autocast_inputs


def lstm_layer(
    source: LayerInput,
    directions: Sequence[CellWeights],
    h0: Tensor,
    rows: Rows | None = None,
) -> Tensor:
    """Run one LSTM layer for every run; the cell state starts at zero.

    Args:
        source: the layer's input.
        directions: the weights of the forward direction, and of the backward direction if there is
            one; gates i, f, g, o.
        h0: (R, B, H) initial hidden state of each direction.
        rows: the valid patches of the batch, if the input is (R, V, 1, D), which needs one
            direction; PyTorch's kernels read them as a packed sequence. None means that the input
            is (R, P, B, D).

    Returns:
        (R, P, B, N H) hidden states after each patch, forward units first; (R, V, 1, H) with
        `rows`.
    """
    if rows is not None:
        [only] = directions
        return _packed_layer(source, only, h0, rows)
    n_directions = len(directions)
    x, h0, *flat = autocast_inputs(source.dense(), h0, *[w for d in directions for w in d])
    outputs = []
    for r in range(x.shape[0]):
        h0_r = h0[r].expand(n_directions, -1, -1).contiguous()
        start = [h0_r, torch.zeros_like(h0_r)]
        weights = [weight[r] for weight in flat]
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        out, _, _ = _VF.lstm(x[r], start, weights, True, 1, 0.0, True, n_directions == 2, False)
        outputs.append(out)
    return torch.stack(outputs)


def _packed_layer(source: LayerInput, weights: CellWeights, h0: Tensor, rows: Rows) -> Tensor:
    """One direction over packed rows: (R, V, 1, D) → (R, V, 1, H)."""
    x, h0, *flat = autocast_inputs(source.dense().squeeze(2), rows.sort_trials(h0), *weights)
    if not rows.n_rows:
        return x.new_zeros(len(x), 0, 1, h0.shape[-1])
    h0 = h0[:, : int(rows.batch_sizes[0])]  # trials without patches come last
    outputs = []
    for r in range(x.shape[0]):
        start = [h0[r][None].contiguous(), torch.zeros_like(h0[r][None])]
        of_run = [weight[r] for weight in flat]
        # has_biases, num_layers, dropout, train, bidirectional
        out, _, _ = _VF.lstm(x[r], rows.batch_sizes, start, of_run, True, 1, 0.0, True, False)
        outputs.append(out)
    return torch.stack(outputs).unsqueeze(2)
