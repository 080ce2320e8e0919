"""The recurrent layers of a decoder: their parameters and their outputs.

Dimensions: R runs, P patches, B batch, D inputs, H units, N directions.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from decoder.model.cells import CellWeights, Kernel
from decoder.model.dropout import DropoutPlan
from decoder.model.fused.graphs import GraphCaches
from decoder.model.fused.layer import packed_stack, step_kernels
from decoder.model.fused.rows import Rows
from decoder.model.gru import gru_layer
from decoder.model.inputs import LayerInput, sequence_input
from decoder.model.layers import LayerNorm, drop, repeat, uniform
from decoder.model.lstm import lstm_layer

Cell = Literal["gru", "lstm"]
N_GATES: dict[Cell, int] = {"gru": 3, "lstm": 4}


class RecurrentLayer(nn.Module):
    """The parameters of one layer, with the names of `torch.nn.GRU` without the layer's number.

    As in both official decoders, initial recurrent weights are orthogonal, input weights Xavier,
    and biases those of `torch.nn.GRU`, in each direction.

    Args:
        n_runs: R.
        n_inputs: D.
        n_units: H.
        cell: GRU or LSTM.
        bidirectional: whether there is a backward direction.
        layer_norm: whether to normalise the output.
        source: generator of the initial weights.
    """

    def __init__(
        self,
        n_runs: int,
        n_inputs: int,
        n_units: int,
        cell: Cell,
        bidirectional: bool,
        layer_norm: bool,
        source: torch.Generator,
    ) -> None:
        super().__init__()
        rows, bound = N_GATES[cell] * n_units, n_units**-0.5
        self.cell = cell
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        for suffix in self.suffixes:
            weight_ih = nn.init.xavier_uniform_(torch.empty(rows, n_inputs), generator=source)
            weight_hh = nn.init.orthogonal_(torch.empty(rows, n_units), generator=source)
            bias_ih = uniform(rows, bound=bound, source=source)
            bias_hh = uniform(rows, bound=bound, source=source)
            self.register_parameter(f"weight_ih{suffix}", repeat(weight_ih, n_runs))
            self.register_parameter(f"weight_hh{suffix}", repeat(weight_hh, n_runs))
            self.register_parameter(f"bias_ih{suffix}", repeat(bias_ih, n_runs))
            self.register_parameter(f"bias_hh{suffix}", repeat(bias_hh, n_runs))

        self.norm = LayerNorm(n_runs, len(self.suffixes) * n_units) if layer_norm else None

    def directions(self) -> list[CellWeights]:
        """The weights of the forward direction, and of the backward direction if there is one."""
        return [
            CellWeights(
                *[
                    self.get_parameter(name + suffix)
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                ]
            )
            for suffix in self.suffixes
        ]


def recurrent_states(
    layers: Sequence[RecurrentLayer],
    source: LayerInput,
    h0: Tensor,
    kernel: Kernel,
    dropout: DropoutPlan | None,
    rows: Rows | None = None,
    graphs: GraphCaches | None = None,
) -> list[Tensor]:
    """The output of every layer. The next layer reads it after dropout.

    The backward direction starts at the batch's last patch, even if that is padding, as in the
    official T12 decoder, which does not pack its sequences. The states of a trial therefore depend
    on the length of its batch. Validation batches of trials of similar length
    (`decoder.data.batches`) keep the effect small and equal for all runs and evaluations.

    Args:
        layers: at least one.
        source: the input of the first layer.
        h0: (R, B, H) initial state of every layer and direction.
        kernel: the implementation of the GRU. An LSTM has one.
        dropout: masks between the layers; None means no dropout.
        rows: the valid patches of the batch, if the input is (R, V, 1, D); needs one direction, and
            for a GRU the kernel ``rows`` or ``fused``. None means that the input is (R, P, B, D).
        graphs: buffers and graphs of the ``fused`` kernel of a GRU; None runs it without. With
            them, layers of one direction without norms run as a wavefront.

    Returns:
        For each layer (R, P, B, N H), before dropout; (R, V, 1, H) with `rows`.
    """
    graphs = graphs if kernel == "fused" else None
    if graphs is not None and all(map(_can_stack, layers)):
        weights = [layer.directions()[0] for layer in layers]
        kernels, cache = step_kernels("fused"), graphs.at(0, h0.device)
        return packed_stack(source, weights, h0, dropout, rows, kernels, cache)
    states = []
    for i, layer in enumerate(layers):
        if layer.cell == "gru":
            own = None if graphs is None else graphs.at(i, h0.device)
            out = gru_layer(source, layer.directions(), h0, kernel, rows, own)
        else:
            out = lstm_layer(source, layer.directions(), h0, rows)
        out = out if layer.norm is None else layer.norm(out)
        states.append(out)
        if i < len(layers) - 1:
            source = sequence_input(drop(out, dropout, "rnn_dropout", str(i)))
    return states


def _can_stack(layer: RecurrentLayer) -> bool:
    """Whether nothing but dropout lies between a layer and the next."""
    return layer.cell == "gru" and layer.norm is None and len(layer.suffixes) == 1
