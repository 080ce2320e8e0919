"""Parameters with a leading axis R, the same in every run at first, and the linear head.

Dimensions: R runs, P patches, B batch, H units, C classes.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from decoder.model.inputs import sequence_input


def repeat(value: Tensor, n_runs: int) -> nn.Parameter:
    """One run's initial value → the parameter of `n_runs` runs that start equal."""
    return nn.Parameter(value.expand(n_runs, *value.shape).clone())


def uniform(*shape: int, bound: float, source: torch.Generator) -> Tensor:
    """Uniform in ± bound; for biases and weights as `torch.nn.Linear` draws them."""
    return torch.empty(shape).uniform_(-bound, bound, generator=source)


class Head(nn.Module):
    """The linear map from the last layer's units to the classes."""

    def __init__(
        self,
        n_runs: int,
        n_inputs: int,
        n_classes: int,
        init: Literal["xavier", "uniform"],
        source: torch.Generator,
    ) -> None:
        super().__init__()
        bound = n_inputs**-0.5
        if init == "xavier":
            weight = nn.init.xavier_uniform_(torch.empty(n_classes, n_inputs), generator=source)
        else:
            weight = uniform(n_classes, n_inputs, bound=bound, source=source)
        bias = uniform(n_classes, bound=bound, source=source)
        self.weight = repeat(weight, n_runs)
        self.bias = repeat(bias, n_runs)

    def forward(self, x: Tensor) -> Tensor:
        """(R, P, B, H) → (R, P, B, C)."""
        return sequence_input(x).project(self.weight, self.bias)
