"""Numbers on their way between host and device, without making the host wait for the device.

On a GPU, a tensor that is made of Python numbers, or read back as such, makes the host wait until
all work queued so far is done. Numbers that do not change are therefore sent once, those of a step
from pinned memory, and flags are read after more work has been queued.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


@functools.lru_cache(maxsize=512)
def constant(
    values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A tensor of numbers that are the same at every step, sent to the device once.

    Args:
        values: the numbers.
        device, dtype: of the tensor.

    Returns:
        (len(values),). All callers with the same values share it, so it must not be changed.
    """
    return torch.tensor(values, dtype=dtype, device=device)


def send(values: Sequence[float] | Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """A tensor of the numbers of one step, with the type and device of `like`."""
    here = torch.tensor(values, dtype=like.dtype, pin_memory=like.is_cuda)
    return here.to(like.device, non_blocking=True)  # PyTorch keeps pinned memory until it is read


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


class Flags:
    """Flags that travel to the host while other work goes on.

    Args:
        flags: (N,) bool.
    """

    def __init__(self, flags: Tensor) -> None:
        self._host, self._arrived = to_host(flags), None
        if flags.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[bool]:
        """The flags; waits for the work that was queued before they were sent, and no other."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values: list[bool] = self._host.tolist()
        return values
