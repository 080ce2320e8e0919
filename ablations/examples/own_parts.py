"""Two parts that no section of a configuration has: an augmentation and an encoder.

`docs/extensions.md` walks through this file. `ablations/own_parts.yaml` asks whether the first one
helps. Try it with

    python -m decoder check-extension ablations/examples/own_parts.py
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from decoder.parts import (
    PER_RUN,
    Parameters,
    PositiveCount,
    Probability,
    Width,
    augmentation,
    encoder,
    metric,
)


class ElectrodeDropout(Parameters):
    """A share of the electrodes is silent in each trial, as after an array has moved.

    Attributes:
        p: the share.
        n_kinds: features of an electrode, such as threshold crossings and spike power; those of
            one kind stand together.
    """

    p: Annotated[Probability, PER_RUN] = 0.1
    n_kinds: PositiveCount = 2


@augmentation("electrode_dropout", ElectrodeDropout)
def electrode_dropout(
    x: Tensor, n_bins: Tensor, runs: Sequence[ElectrodeDropout], generator: torch.Generator
) -> Tensor:
    B, F = x.shape[1], x.shape[-1]
    n_kinds = runs[0].n_kinds
    draws = torch.rand(B, F // n_kinds, generator=generator, device=x.device)  # shared by the runs
    p = torch.tensor([own.p for own in runs], device=x.device)[:, None, None]
    kept = (draws >= p).repeat(1, 1, n_kinds) / (1 - p)  # (R, B, F)
    return x * kept[:, :, None]


class ConvBlocks(Parameters):
    """Residual convolutions along time.

    Attributes:
        width: of the output.
        n_blocks: how many.
        kernel_size: patches that a convolution spans, an odd number.
        dropout: rate after each block.
    """

    width: Width = 64
    n_blocks: PositiveCount = 2
    kernel_size: PositiveCount = 5
    dropout: Annotated[Probability, PER_RUN] = 0.1


@encoder("conv_blocks", ConvBlocks)
class ConvEncoder(nn.Module):
    """A plain module for one run, as it might come from another repository."""

    def __init__(self, n_inputs: int, parameters: ConvBlocks) -> None:
        super().__init__()
        width, size = parameters.width, parameters.kernel_size
        self.project = nn.Linear(n_inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, size, padding="same"),
                nn.GELU(),
                nn.Dropout(parameters.dropout),
            )
            for _ in range(parameters.n_blocks)
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, P, D) → (B, P, H); padding counts as zeros."""
        valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        x = (self.project(x) * valid[..., None]).transpose(1, 2)  # (B, H, P)
        for block in self.blocks:
            x = x + block(x) * valid[:, None]
        return x.transpose(1, 2)


@metric("confidence")
def confidence(
    logits: Tensor, labels: Tensor, n_patches: Tensor, n_labels: Tensor, runs: Sequence[Parameters]
) -> tuple[Tensor, Tensor]:
    """The mean of the highest posterior over the valid patches."""
    valid = torch.arange(logits.shape[1], device=logits.device)[:, None] < n_patches  # (P, B)
    highest = logits.softmax(-1).amax(-1)  # (R, P, B)
    return (highest * valid).sum((1, 2)), valid.sum().float()
