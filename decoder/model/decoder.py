"""The decoder over R runs: day layer → patches → recurrent layers → linear head.

By default ``GRUDecoder`` of nejm-brain-to-text (T15), layer for layer and initialisation for
initialisation; with ``bidirectional``, ``h0: zero`` and ``head_init: uniform`` that of
neural_seq_decoder (T12). Every parameter carries a leading axis R, and the runs of a pack start
equal.

Dimensions: R runs, B batch, T bins, P patches, F features, H units, C classes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from decoder.config import ModelConfig
from decoder.model.cells import Kernel, choose_kernel
from decoder.model.day import DayLayer, DaySlice
from decoder.model.dropout import DropoutPlan
from decoder.model.inputs import patch_input
from decoder.model.layers import Head, repeat
from decoder.model.patches import to_blocks
from decoder.model.recurrent import N_GATES, RecurrentLayer, recurrent_states
from decoder.seeding import generator

ParameterGroup = Literal["bias", "day", "weight"]


class Output(NamedTuple):
    """What a decoder says of a batch.

    Attributes:
        logits: (R, P, B, C).
        intermediate: (R, P, B, C) logits of each intermediate head, lowest layer first.
    """

    logits: Tensor
    intermediate: tuple[Tensor, ...] = ()


class PackedDecoder(nn.Module):
    """R decoders of one shape, started from one set of weights.

    Args:
        config: of any run; what may differ by run is given to `forward`.
        n_runs: R.
        n_days: recording days, each with a layer of its own.
        n_features: features a bin.
        n_classes: CTC classes, blank included.
        seed: decides the initial weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_runs: int,
        n_days: int,
        n_features: int,
        n_classes: int,
        seed: int,
    ) -> None:
        super().__init__()
        source = generator(seed, "initial_weights")
        n_units, n_gates = config.n_units, N_GATES["gru"]
        n_outputs = n_units * (1 + config.bidirectional)
        widths = [config.patch_size * n_features] + [n_outputs] * (config.n_layers - 1)
        self.config = config
        self.kernel: Kernel | None = None  # None: the faster one
        self.day_layer = DayLayer(n_runs, n_days, n_features)
        self.layers = nn.ModuleList(
            [
                RecurrentLayer(n_runs, width, n_units, n_gates, config.bidirectional, source)
                for width in widths
            ]
        )
        self.head = Head(n_runs, n_outputs, n_classes, config.head_init, source)
        self.h0: nn.Parameter | None = None  # shared by the layers and directions
        if config.h0 == "learned":
            h0 = nn.init.xavier_uniform_(torch.empty(1, 1, n_units), generator=source)
            self.h0 = repeat(h0[0, 0], n_runs)

    def groups(self) -> dict[str, ParameterGroup]:
        """Each parameter's group, by the module it belongs to and its number of axes.

        As in the official T15 trainer: biases are not decayed, day layers have a schedule and a
        decay of their own, everything else, h0 included, is decayed.
        """
        groups: dict[str, ParameterGroup] = {}
        for name, _ in self.day_layer.named_parameters(prefix="day_layer"):
            groups[name] = "day"
        for prefix, module in (("layers", self.layers), ("head", self.head)):
            for name, parameter in module.named_parameters(prefix=prefix):
                groups[name] = "bias" if parameter.dim() == 2 else "weight"
        if self.h0 is not None:
            groups["h0"] = "weight"
        return groups

    def forward(
        self, x: Tensor, slices: Sequence[DaySlice], dropout: DropoutPlan | None = None
    ) -> Output:
        """Logits of every run for one batch.

        Args:
            x: (R, B, T, F) augmented, smoothed features.
            slices: days of the batch, which is ordered by day.
            dropout: the step's masks; None drops nothing.
        """
        R, B = x.shape[:2]
        kernel = self.kernel or choose_kernel(R, x.device)
        input_factors = None if dropout is None else dropout.factors("input_dropout", *x.shape[1:])
        x = self.day_layer(x, slices, input_factors)
        size, stride = self.config.patch_size, self.config.patch_stride
        source = patch_input(to_blocks(x, size, stride), size, stride)
        h0 = x.new_zeros(R, self.config.n_units) if self.h0 is None else self.h0
        layers = [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]
        states = recurrent_states(layers, source, h0[:, None].expand(R, B, -1), kernel, dropout)
        return Output(self.head(states[-1]))

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Drop every run but those at `rows` of the leading axis, in that order."""
        for parameter in self.parameters():
            parameter.data = parameter.data[list(rows)].clone()
            parameter.grad = None

    def n_parameters(self) -> int:
        """Trainable numbers of one run."""
        return sum(parameter[0].numel() for parameter in self.parameters())
