"""Time masking: hides runs of consecutive patches from the decoder during training.

Follows Feghhi et al. 2025, "Time-masked transformers with lightweight test-time adaptation for
neural speech decoding" (``apply_time_mask`` of transformers_with_dietcorp), for any architecture.

Dimensions: R runs, P patches, B batch, D inputs, O outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.host import constant
from decoder.model.inputs import LayerInput
from decoder.sections import AugmentConfig
from decoder.seeding import generator


def draw_patch_mask(
    n_patches: Tensor, longest: int, configs: Sequence[AugmentConfig], seed: int, step: int
) -> Tensor | None:
    """Draw which patches are hidden, in each run.

    The length of a mask is uniform from 0 to the largest share of the trial's patches, its start
    is uniform over the positions where the whole mask fits, and masks may overlap. The runs share
    the draws.

    Args:
        n_patches: (B,) int64 valid patches of each trial.
        longest: P.
        configs: one for each run.
        seed: the pack's seed.
        step: the optimizer step. Seed and step decide every draw.

    Returns:
        (R, P, B) bool, or (1, P, B) if all runs have the same masks; None if nothing is hidden.
    """
    if not any(c.patch_mask_max_share for c in configs):
        return None
    kinds = [(c.patch_mask_max_share, c.patch_mask_count) for c in configs]
    kinds = kinds[:1] if len(set(kinds)) == 1 else kinds
    device = n_patches.device
    share = constant(tuple(share for share, _ in kinds), device)[:, None]
    count = constant(tuple(count for _, count in kinds), device, torch.int64)[:, None]
    most = (share * n_patches).long()  # (R, B)
    patch = torch.arange(longest, device=device)[:, None]  # (P, 1)
    hidden = torch.zeros(len(kinds), longest, len(n_patches), dtype=torch.bool, device=device)
    for i in range(max(count for _, count in kinds)):
        source = generator(seed, f"patch_mask/{i}", step, device.type)
        draws = torch.rand(2, len(n_patches), generator=source, device=device)
        length = (draws[0] * (most + 1)).long() * (i < count)
        start = (draws[1] * (n_patches - length + 1)).long()
        hidden |= (patch >= start[:, None]) & (patch < (start + length)[:, None])
    return hidden


def mask_patches(source: LayerInput, hidden: Tensor, token: Tensor | None) -> LayerInput:
    """The input with `token` in place of hidden patches.

    Args:
        source: the patches of R runs.
        hidden: (R or 1, P, B) bool.
        token: (R, D); None means zeros.
    """
    where = hidden[..., None]

    def dense() -> Tensor:
        x = source.dense()
        value = x.new_zeros(()) if token is None else token[:, None, None].to(x.dtype)
        return torch.where(where, value, x)

    def project(weight: Tensor, bias: Tensor) -> Tensor:
        out = source.project(weight, bias)
        value = bias[:, None]
        if token is not None:
            value = torch.baddbmm(value, token[:, None], weight.transpose(1, 2))  # (R, 1, O)
        return torch.where(where, value[:, None].to(out.dtype), out)

    return LayerInput(dense, project)
