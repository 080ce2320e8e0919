"""The day layer: one affine map and softsign per recording day, and its dropout, over R runs.

Dimensions: R runs, B batch, T bins, F features.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from decoder.model.precision import autocast_inputs


class DaySlice(NamedTuple):
    """Trials ``start`` to ``stop`` of a batch were recorded on `day`."""

    day: int
    start: int
    stop: int


def day_slices(day: Tensor) -> list[DaySlice]:
    """The trials of each day in a batch that is ordered by day.

    Args:
        day: (B,) int64, best on the CPU, because the numbers are read there.
    """
    days, counts = torch.unique_consecutive(day.cpu(), return_counts=True)
    slices, start = [], 0
    for index, count in zip(days.tolist(), counts.tolist(), strict=True):
        slices.append(DaySlice(index, start, start + count))
        start += count
    return slices


class DayLayer(nn.Module):
    """A matrix (initially the identity) and a bias (initially zero) per day, then softsign.

    Each day has its own parameters. A day that is not in the batch gets no gradient and is not
    updated, as in the official T15 decoder.

    Args:
        n_runs: R.
        n_days: number of days.
        n_features: F.
    """

    def __init__(self, n_runs: int, n_days: int, n_features: int) -> None:
        super().__init__()
        eye = torch.eye(n_features).expand(n_runs, -1, -1)
        self.weights = nn.ParameterList([nn.Parameter(eye.clone()) for _ in range(n_days)])
        self.biases = nn.ParameterList(
            [nn.Parameter(torch.zeros(n_runs, 1, n_features)) for _ in range(n_days)]
        )

    def forward(self, x: Tensor, slices: Sequence[DaySlice], dropout: Tensor | None) -> Tensor:
        """Map each trial by the layer of its day.

        Args:
            x: (R, B, T, F) features; they get no gradient.
            slices: days of the batch, in order.
            dropout: (R or 1, B, T, F) factors of the output, 0 or 1 / (1 - rate); None means 1.

        Returns:
            (R, B, T, F), on a GPU in autocast's format if it is on.
        """
        weights = [self.weights[s.day] for s in slices]
        biases = [self.biases[s.day] for s in slices]
        x, *parameters = autocast_inputs(x, *weights, *biases)
        out: Tensor = _AffineSoftsign.apply(x, slices, dropout, *parameters)  # type: ignore[no-untyped-call]
        return out


class _AffineSoftsign(torch.autograd.Function):
    """softsign(x W + b) times dropout, with a hand-written backward that saves memory passes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, slices: Sequence[DaySlice], dropout: Tensor | None, *params: Tensor
    ) -> Tensor:
        R, B, T, F = x.shape
        weights, biases = params[: len(slices)], params[len(slices) :]
        a = x.new_empty(R, B, T, F)
        for s, weight, bias in zip(slices, weights, biases, strict=True):
            rows = x[:, s.start : s.stop].reshape(R, -1, F)  # (R, n T, F)
            torch.baddbmm(bias, rows, weight, out=a[:, s.start : s.stop].view(R, -1, F))
        scale = a.abs().add_(1.0)
        y = a.div_(scale)
        ctx.slices, ctx.shape = slices, x.shape
        ctx.save_for_backward(x, y, dropout)
        if dropout is None:
            return y
        return times(y, dropout) if y.is_cuda else y * dropout

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, dropout = ctx.saved_tensors
        R, _, _, F = x.shape
        slope = y.abs().neg_().add_(1.0).square_()
        da = slope.mul_(grad)
        if dropout is not None:
            da = da.mul_(dropout)
        weight_grads, bias_grads = [], []
        for s in ctx.slices:
            da_rows = da[:, s.start : s.stop].reshape(R, -1, F)
            x_rows = x[:, s.start : s.stop].reshape(R, -1, F)
            weight_grads.append(torch.bmm(x_rows.transpose(1, 2), da_rows))
            bias_grads.append(da_rows.sum(1, keepdim=True))
        return None, None, None, *weight_grads, *bias_grads


def times(y: Tensor, factors: Tensor) -> Tensor:
    """`y` times float32 `factors`, rounded once to the format of `y`.

    ``y * factors`` would be float32, and the next product would round it in the same way. Gradients
    of patches that overlap are then added up in the format of `y`.
    """
    return torch.mul(y, factors, out=torch.empty_like(y))
