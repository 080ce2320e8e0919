"""The GRU decoder over R runs: day layer → patches → GRU layers → linear head.

Follows ``GRUDecoder`` of nejm-brain-to-text, layer for layer and initialisation for
initialisation; every parameter carries a leading axis R, and the runs of a pack start equal.

Dimensions: R runs, B batch, T bins, P patches, F features, H units, C classes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from decoder.config import ModelConfig
from decoder.data.alignment import n_patches
from decoder.model.day import DayLayer, DaySlice
from decoder.model.patches import build_patches, project_patches, to_blocks
from decoder.model.recurrent import (
    GRUWeights,
    Kernel,
    LayerInput,
    choose_kernel,
    gru_layer,
    sequence_input,
)
from decoder.seeding import generator

ParameterGroup = Literal["bias", "day", "weight"]


class GRULayer(nn.Module):
    """The parameters of one GRU layer, named as `torch.nn.GRU` names them."""

    def __init__(self, n_runs: int, n_inputs: int, n_units: int, source: torch.Generator) -> None:
        super().__init__()
        weight_ih = torch.empty(3 * n_units, n_inputs)
        nn.init.xavier_uniform_(weight_ih, generator=source)
        weight_hh = torch.empty(3 * n_units, n_units)
        nn.init.orthogonal_(weight_hh, generator=source)
        bound = n_units**-0.5
        bias_ih = torch.empty(3 * n_units).uniform_(-bound, bound, generator=source)
        bias_hh = torch.empty(3 * n_units).uniform_(-bound, bound, generator=source)
        self.weight_ih = _repeat(weight_ih, n_runs)
        self.weight_hh = _repeat(weight_hh, n_runs)
        self.bias_ih = _repeat(bias_ih, n_runs)
        self.bias_hh = _repeat(bias_hh, n_runs)

    def weights(self) -> GRUWeights:
        return GRUWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class Head(nn.Module):
    """The linear map from the last layer's units to the classes."""

    def __init__(self, n_runs: int, n_units: int, n_classes: int, source: torch.Generator) -> None:
        super().__init__()
        weight = nn.init.xavier_uniform_(torch.empty(n_classes, n_units), generator=source)
        bound = n_units**-0.5
        bias = torch.empty(n_classes).uniform_(-bound, bound, generator=source)
        self.weight = _repeat(weight, n_runs)
        self.bias = _repeat(bias, n_runs)

    def forward(self, x: Tensor) -> Tensor:
        """(R, P, B, H) → (R, P, B, C)."""
        return sequence_input(x).project(self.weight, self.bias)


class PackedDecoder(nn.Module):
    """R decoders of one shape, started from one set of weights.

    Args:
        config: sizes; dropout rates are given to `forward`, since they may differ by run.
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
        n_inputs = config.patch_size * n_features
        widths = [n_inputs] + [config.n_units] * (config.n_layers - 1)
        self.config = config
        self.kernel: Kernel | None = None  # None: the faster one
        self.day_layer = DayLayer(n_runs, n_days, n_features)
        self.layers = nn.ModuleList(
            [GRULayer(n_runs, width, config.n_units, source) for width in widths]
        )
        self.head = Head(n_runs, config.n_units, n_classes, source)
        h0 = nn.init.xavier_uniform_(torch.empty(1, 1, config.n_units), generator=source)
        self.h0 = _repeat(h0[0, 0], n_runs)

    def groups(self) -> dict[str, ParameterGroup]:
        """Each parameter's group, by the module it belongs to and its number of axes.

        As in the official trainer: biases of the GRU and the head are not decayed, day layers
        have a schedule and a decay of their own, everything else, h0 included, is decayed.
        """
        groups: dict[str, ParameterGroup] = {"h0": "weight"}
        for name, _ in self.day_layer.named_parameters(prefix="day_layer"):
            groups[name] = "day"
        for prefix, module in (("layers", self.layers), ("head", self.head)):
            for name, parameter in module.named_parameters(prefix=prefix):
                groups[name] = "bias" if parameter.dim() == 2 else "weight"
        return groups

    def forward(
        self,
        x: Tensor,
        slices: Sequence[DaySlice],
        input_dropout: Tensor | None = None,
        rnn_dropout: Sequence[Tensor] = (),
    ) -> Tensor:
        """Logits of every run for one batch.

        Args:
            x: (R, B, T, F) augmented, smoothed features.
            slices: days of the batch, which is ordered by day.
            input_dropout: (R or 1, B, T, F) factors after the day layer; None drops nothing.
            rnn_dropout: for each layer but the last, (R or 1, P, B, H) factors; empty drops
                nothing.

        Returns:
            (R, P, B, C).
        """
        size, stride = self.config.patch_size, self.config.patch_stride
        R, B = x.shape[:2]
        kernel = self.kernel or choose_kernel(R, x.device)
        blocks = to_blocks(self.day_layer(x, slices, input_dropout), size, stride)
        source = LayerInput(
            dense=lambda: build_patches(blocks, size, stride),
            project=lambda weight, bias: project_patches(blocks, weight, bias, size, stride),
        )
        h0 = self.h0[:, None].expand(R, B, -1)
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, GRULayer)
            out = gru_layer(source, layer.weights(), h0, kernel)
            if i < len(rnn_dropout):
                out = out * rnn_dropout[i]
            source = sequence_input(out)
        logits: Tensor = self.head(out)
        return logits

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Drop every run but those at `rows` of the leading axis, in that order."""
        for parameter in self.parameters():
            parameter.data = parameter.data[list(rows)].clone()
            parameter.grad = None

    def n_parameters(self) -> int:
        """Trainable numbers of one run."""
        return sum(parameter[0].numel() for parameter in self.parameters())


class DropoutPlan:
    """Dropout masks of one step, drawn once and shared by the runs of a pack.

    A run with a higher rate drops what a run with a lower rate drops, and more.
    """

    def __init__(self, seed: int, step: int, device: torch.device) -> None:
        self._seed, self._step, self._device = seed, step, device

    def factors(self, purpose: str, rates: Sequence[float], *shape: int) -> Tensor | None:
        """Factors 0 or 1 / (1 - rate), (R, *shape), or (1, *shape) where all rates are equal.

        None where every rate is 0.
        """
        if not any(rates):
            return None
        source = generator(self._seed, purpose, self._step, self._device.type)
        draws = torch.rand(shape, generator=source, device=self._device)
        distinct = [rates[0]] if len(set(rates)) == 1 else rates
        rate = torch.tensor(distinct, device=self._device).view(-1, *[1] * len(shape))
        return (draws >= rate).to(draws.dtype).div_(1 - rate)


def patches_of(n_bins: Tensor, config: ModelConfig) -> Tensor:
    """Valid patches of trials with `n_bins` valid bins. (B,) → (B,)."""
    return n_patches(n_bins, config.patch_size, config.patch_stride)


def _repeat(value: Tensor, n_runs: int) -> nn.Parameter:
    return nn.Parameter(value.expand(n_runs, *value.shape).clone())
