"""Linear layers, layer norms and post-RNN layers with a leading axis of runs.

Dimensions: R runs, P patches, B batch, D inputs, O outputs, H units.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from decoder.model.dropout import DropoutPlan
from decoder.model.inputs import sequence_input


def repeat(value: Tensor, n_runs: int) -> nn.Parameter:
    """The parameter of `n_runs` runs that all start with `value`: (...) → (R, ...)."""
    return nn.Parameter(value.expand(n_runs, *value.shape).clone())


def uniform(*shape: int, bound: float, source: torch.Generator) -> Tensor:
    """A tensor of uniform draws from -bound to bound."""
    return torch.empty(shape).uniform_(-bound, bound, generator=source)


class Linear(nn.Module):
    """One linear map for each run.

    Args:
        n_runs: R.
        n_inputs: D.
        n_outputs: O.
        source: generator of the initial weights.
        init: ``xavier`` weights, or ``uniform`` weights as in `torch.nn.Linear`. The bias is that
            of `torch.nn.Linear` in both cases.
        bias: whether there is a bias.
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
    """`torch.nn.LayerNorm` over the last axis, with its own scale and shift for each run."""

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
        """x (R, P, B, D) → (R, P, B, O); place is the number of the layer."""
        x = nn.functional.gelu(self.norm(self.linear(x)))
        return drop(x, dropout, "post_rnn_dropout", place)


def drop(x: Tensor, dropout: DropoutPlan | None, rate: str, place: str = "") -> Tensor:
    """Apply dropout to x (R, ...), see `DropoutPlan.factors`; None means no dropout."""
    factors = None if dropout is None else dropout.factors(rate, *x.shape[1:], place=place)
    return x if factors is None else x * factors
