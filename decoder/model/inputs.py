"""The input of a layer: a plain sequence, or the patches of a trial without building them.

Dimensions: R runs, P patches, B batch, D inputs, O outputs, N blocks, S stride, F features.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.model.patches import build_patches, project_patches
from decoder.model.precision import autocast_inputs


class LayerInput(NamedTuple):
    """The input of a layer, in the form that the implementation of the layer asks for.

    Attributes:
        dense: builds the (R, P, B, D) input.
        project: (weight (R, O, D), bias (R, O)) → (R, P, B, O), the linear map of the input.
    """

    dense: Callable[[], Tensor]
    project: Callable[[Tensor, Tensor], Tensor]


def sequence_input(x: Tensor) -> LayerInput:
    """The input of a layer that reads a plain sequence x (R, P, B, D)."""

    def project(weight: Tensor, bias: Tensor) -> Tensor:
        x_, weight, bias = autocast_inputs(x, weight, bias)
        R, P, B, D = x_.shape
        rows = x_.reshape(R, P * B, D)
        out = torch.baddbmm(bias[:, None], rows, weight.transpose(1, 2))
        return out.view(R, P, B, weight.shape[1])

    return LayerInput(dense=lambda: x, project=project)


def patch_input(blocks: Tensor, patch_size: int, patch_stride: int) -> LayerInput:
    """The input of a layer that reads patches.

    Args:
        blocks: (R, N, B, S F) from `decoder.model.patches.to_blocks`.
        patch_size: bins a patch spans.
        patch_stride: bins from one patch to the next.
    """
    return LayerInput(
        dense=lambda: build_patches(blocks, patch_size, patch_stride),
        project=lambda weight, bias: project_patches(
            blocks, weight, bias, patch_size, patch_stride
        ),
    )
