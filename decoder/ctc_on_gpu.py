"""The CTC loss on a GPU without waiting for the host, by the kernels of `decoder.ctc_kernels`.

PyTorch's own CTC copies lengths between host and device several times a step, and the host waits
for each of these copies.

Dimensions: R runs, P patches, B batch, C classes, L labels.
"""

from typing import Any

import torch
from torch import Tensor

from decoder.model.fused.available import COMPILE_OPTIONS
from decoder.phonemes import BLANK


class CTC(torch.autograd.Function):
    """Negative log likelihoods, see `decoder.ctc.ctc_losses`.

    As in PyTorch, the gradient is that of normalised log posteriors: posterior minus occupancy. It
    is 0 for a trial whose infinite loss counts zero.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: Tensor,
        labels: Tensor,
        n_patches: Tensor,
        n_labels: Tensor,
        zero_infinity: bool,
    ) -> Tensor:
        import triton

        from decoder.ctc_kernels import forward

        R, P, B, C = log_probs.shape
        log_probs, labels = log_probs.contiguous(), labels.contiguous()
        n_patches, n_labels = n_patches.contiguous(), n_labels.contiguous()
        n_places = labels.shape[1] + 1
        alphas = log_probs.new_empty(R, B, P, 2, n_places)
        losses = log_probs.new_empty(R, B)
        ctx.options = {"BLANK": BLANK, "PLACES": triton.next_power_of_2(n_places)}
        ctx.sizes = (P, B, C, n_places)
        with torch.cuda.device_of(losses):
            forward[(B, R)](
                *(log_probs, labels, n_patches, n_labels, alphas, losses),
                *ctx.sizes,
                **ctx.options,
                num_warps=1,
                **COMPILE_OPTIONS,
            )
        ctx.zero_infinity = zero_infinity
        ctx.save_for_backward(log_probs, labels, n_patches, n_labels, alphas, losses)
        return losses.masked_fill(losses == float("inf"), 0.0) if zero_infinity else losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        import triton

        from decoder.ctc_kernels import backward

        *saved, losses = ctx.saved_tensors
        gradient = torch.zeros_like(saved[0])
        with torch.cuda.device_of(losses):
            backward[losses.T.shape](
                *(*saved, losses, grad.contiguous(), gradient),
                *ctx.sizes,
                **ctx.options,
                CLASSES=triton.next_power_of_2(ctx.sizes[2]),
                num_warps=4 if ctx.options["PLACES"] <= 128 else 8,
                **COMPILE_OPTIONS,
            )
        if ctx.zero_infinity:
            gradient.masked_fill_((losses == float("inf"))[:, None, :, None], 0.0)
        return gradient, None, None, None, None
