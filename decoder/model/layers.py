"""Linear layers and layer norms with a leading axis of runs, and the stack after the recurrent net.

Dimensions: R runs, P patches, B batch, D inputs, O outputs, H units.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from decoder.model.dropout import DropoutPlan
from decoder.model.inputs import sequence_input


def repeat(value: Tensor, n_runs: int) -> nn.Parameter:
    """One run's initial value → the parameter of `n_runs` runs that start equal."""
    return nn.Parameter(value.expand(n_runs, *value.shape).clone())


def uniform(*shape: int, bound: float, source: torch.Generator) -> Tensor:
    """Uniform in ± bound."""
    return torch.empty(shape).uniform_(-bound, bound, generator=source)


class Linear(nn.Module):
    """A linear map of each run.

    Args:
        n_runs: R.
        n_inputs: D.
        n_outputs: O.
        source: of the initial weights.
        init: ``xavier`` weights, or ``uniform`` ones, as `torch.nn.Linear` draws them. The bias
            is `torch.nn.Linear`'s either way.
        bias: whether there is one.
    """

    def __init__(
        self,
        n_runs: int,
        n_inputs: int,
        n_outputs: int,
        source: torch.Generator,
        init: Literal["xavier", "uniform"] = "uniform",
        bias: bool = True,
    ) -> None:
        super().__init__()
        bound = n_inputs**-0.5
        if init == "xavier":
            weight = nn.init.xavier_uniform_(torch.empty(n_outputs, n_inputs), generator=source)
        else:
            weight = uniform(n_outputs, n_inputs, bound=bound, source=source)
        self.weight = repeat(weight, n_runs)
        self.bias = repeat(uniform(n_outputs, bound=bound, source=source), n_runs) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(R, P, B, D) → (R, P, B, O)."""
        if self.bias is None:
            R, P, B, _ = x.shape
            return torch.bmm(x.flatten(1, 2), self.weight.transpose(1, 2)).view(R, P, B, -1)
        return sequence_input(x).project(self.weight, self.bias)


class LayerNorm(nn.Module):
    """`torch.nn.LayerNorm` over the last axis, with a scale and a shift for each run."""

    def __init__(self, n_runs: int, n_units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_runs, n_units))
        self.bias = nn.Parameter(torch.zeros(n_runs, n_units))

    def forward(self, x: Tensor) -> Tensor:
        """(R, P, B, H) → the same shape."""
        x = nn.functional.layer_norm(x, x.shape[-1:])
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class PostRNNLayer(nn.Module):
    """Linear, layer norm, GELU, dropout."""

    def __init__(self, n_runs: int, n_inputs: int, n_outputs: int, source: torch.Generator) -> None:
        super().__init__()
        self.linear = Linear(n_runs, n_inputs, n_outputs, source)
        self.norm = LayerNorm(n_runs, n_outputs)

    def forward(self, x: Tensor, dropout: DropoutPlan | None, place: str) -> Tensor:
        """x (R, P, B, D), place: the layer's number → (R, P, B, O)."""
        x = nn.functional.gelu(self.norm(self.linear(x)))
        return drop(x, dropout, "post_rnn_dropout", place)


def drop(x: Tensor, dropout: DropoutPlan | None, rate: str, place: str = "") -> Tensor:
    """x (R, ...) after dropout at a rate of `DropoutPlan.factors`; None drops nothing."""
    factors = None if dropout is None else dropout.factors(rate, *x.shape[1:], place=place)
    return x if factors is None else x * factors
