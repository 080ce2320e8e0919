"""Whether Triton kernels run on a device."""

import functools
import importlib.util
import os

import torch

# Compute capability 8.0, the first with bfloat16 matrix units.
OLDEST = (8, 0)


@functools.cache
def why_not(device: torch.device) -> str | None:
    """Why Triton kernels do not run on `device`, in a sentence; None if they do.

    On a CPU they run in Triton's interpreter, if ``TRITON_INTERPRET`` asks for it.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with PyTorch's CUDA builds for Linux"
    if device.type == "cpu":
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        return None if interpreted else "the device is a CPU"
    if device.type != "cuda":
        return f"the device is {device.type}, not an NVIDIA GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        return f"the GPU has compute capability {capability[0]}.{capability[1]}, below 8.0"
    return None
