"""Number formats: the autocast context of a precision, and casts for hand-written layers."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor


def autocast_inputs(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast the tensors to autocast's format if it is on for their device.

    Autocast does not act on the inputs of a custom autograd function. Casting them first makes the
    function compute in the same format as its neighbours, and the backward of the cast returns
    gradients in the format of the parameters.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) for tensor in tensors)


def computed_dtype(x: Tensor) -> torch.dtype:
    """The format in which a layer computes with `x`."""
    is_on = torch.is_autocast_enabled(x.device.type)
    return torch.get_autocast_dtype(x.device.type) if is_on else x.dtype


def autocast(
    precision: Literal["float32", "bfloat16"], device: torch.device
) -> AbstractContextManager[Any]:
    """The context for computing with a precision on `device`."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
