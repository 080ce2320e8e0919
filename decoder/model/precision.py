"""Number formats: the context of a precision, and how layers written by hand follow it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor


def autocast_inputs(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in autocast's format where it is on for their device, else as they are.

    A custom autograd function sees its inputs as they are given, whatever autocast says. Casting
    them first makes it compute in the format its neighbours do, and the cast's own backward
    brings gradients back to the format of the parameters.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) for tensor in tensors)


def autocast(
    precision: Literal["float32", "bfloat16"], device: torch.device
) -> AbstractContextManager[Any]:
    """The context in which a model of the given precision computes on `device`."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
