"""Results on their way from a GPU to the host, which another thread waits for."""

import torch
from torch import Tensor


def to_host(tensor: Tensor) -> Tensor:
    """Start to copy a tensor to the host, without waiting for it.

    Returns:
        The tensor itself if it is on the host, otherwise page-locked memory that holds it after
        the next event of the current stream.
    """
    if not tensor.is_cuda:
        return tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)


def event_after_now(device: torch.device) -> torch.cuda.Event | None:
    """An event after all that is queued on the current stream of a GPU; None on another device."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)  # who waits for it leaves its core to others
    event.record(torch.cuda.current_stream(device))
    return event
