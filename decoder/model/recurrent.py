"""The recurrent layers of a decoder: their parameters, and one layer after the other.

Dimensions: R runs, P patches, B batch, D inputs, H units, N directions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from decoder.model.cells import CellWeights, Kernel
from decoder.model.dropout import DropoutPlan
from decoder.model.gru import gru_layer
from decoder.model.inputs import LayerInput, sequence_input
from decoder.model.layers import repeat, uniform

N_GATES = {"gru": 3}


class RecurrentLayer(nn.Module):
    """One layer's parameters, named as `torch.nn.GRU` names them, without the layer's number.

    Recurrent weights are orthogonal, input weights Xavier, biases `torch.nn.GRU`'s own, in each
    direction, as both official decoders have them.
    """

    def __init__(
        self,
        n_runs: int,
        n_inputs: int,
        n_units: int,
        n_gates: int,
        bidirectional: bool,
        source: torch.Generator,
    ) -> None:
        super().__init__()
        rows, bound = n_gates * n_units, n_units**-0.5
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

    def directions(self) -> list[CellWeights]:
        """The weights of the forward direction, and of the backward one if there is one."""
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
) -> list[Tensor]:
    """The states of every layer, each read by the next one after dropout.

    The backward direction starts at the batch's last patch, padding or not, as in the official
    T12 decoder, which does not pack its sequences. So a trial's states depend on the length of
    the batch it is in; validation batches of like length (`decoder.data.batches`) keep that
    small, and make it the same for every run and every evaluation.

    Args:
        layers: at least one.
        source: the first layer's input.
        h0: (R, B, H) initial state of every layer and direction.
        kernel: which implementation.
        dropout: masks between the layers; None drops nothing.

    Returns:
        For each layer (R, P, B, N H); all but the last after dropout.
    """
    states = []
    for i, layer in enumerate(layers):
        out = gru_layer(source, layer.directions(), h0, kernel)
        if dropout is not None and i < len(layers) - 1:
            factors = dropout.factors("rnn_dropout", *out.shape[1:], place=str(i))
            out = out if factors is None else out * factors
        states.append(out)
        source = sequence_input(out)
    return states
