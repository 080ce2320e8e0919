"""Whether Triton's kernels can be used on a device, and if not, why."""

import functools
import os
import warnings

import torch
from torch import Tensor

from decoder.model.fused import plain_steps
from decoder.model.fused.rows import pack_rows
from decoder.model.fused.steps import GruSteps, StepKernels, empty_buffers

# Ampere; older GPUs have no tensor cores for bfloat16.
MIN_CAPABILITY = (8, 0)
# An environment variable; set to anything, PyTorch's own kernels are used instead.
SWITCH = "DECODER_WITHOUT_TRITON"
# How all kernels are compiled. Triton 3.10 changes this default, and 3.9 warns of it.
COMPILE_OPTIONS = {"enable_fp_fusion": True}
# How far a small layer in bfloat16 may be from the same layer in float64.
PROBE_TOLERANCE = 0.02


def can_fuse(device: torch.device) -> bool:
    """Whether the kernels can be used; the first time they cannot, a warning says why."""
    reason = why_not(device)
    if reason is not None:
        _warn_once(f"{device}: {reason}")
    return reason is None


@functools.cache
def why_not(device: torch.device) -> str | None:
    """Why the kernels cannot be used on `device`, in a sentence; None if they can.

    On a CPU they can be used in Triton's interpreter, which is for tests. The answer is kept for as
    long as the process lives.
    """
    if os.environ.get(SWITCH):
        return f"{SWITCH} is set."
    try:
        import triton
    except ImportError as error:
        return f"Triton cannot be imported ({error}); PyTorch's CUDA builds for Linux bring it."
    interprets = bool(triton.knobs.runtime.interpret)
    if device.type == "cpu":
        return _probe(device) if interprets else "Triton's kernels need a GPU."
    if device.type != "cuda" or torch.version.hip:
        return "Triton's kernels need an NVIDIA GPU."
    if interprets:
        return "TRITON_INTERPRET is set, so Triton's kernels would run on the CPU; unset it."
    capability = torch.cuda.get_device_capability(device)
    if capability < MIN_CAPABILITY:
        needed, got = (".".join(map(str, c)) for c in (MIN_CAPABILITY, capability))
        name = torch.cuda.get_device_name(device)
        return f"Triton's kernels need compute capability {needed}, and {name} has {got}."
    return _probe(device)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(
        f"{message} Recurrent layers use cuDNN's kernels instead: the results are the same to "
        "rounding, and packs train more slowly.",
        stacklevel=3,
    )


def _probe(device: torch.device) -> str | None:
    """Compile and run a small layer, and compare it with plain torch."""
    try:
        from decoder.model.fused import triton_steps

        got = _small_layer(triton_steps, torch.bfloat16, device)
    except Exception as error:  # compilers and drivers fail in many ways, and none may stop a run
        what = (str(error).splitlines() or [""])[0]
        return f"Triton's kernels fail here ({type(error).__name__}: {what})."
    expected = _small_layer(plain_steps, torch.float64, torch.device("cpu"))
    far = float((got - expected).norm() / expected.norm())
    if far < PROBE_TOLERANCE:
        return None
    return f"Triton's kernels give wrong results here (relative error {far:.2g})."


def _small_layer(kernels: StepKernels, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The states of three trials, and the gradients of the gates and initial states."""
    R, P, B, H = 2, 3, 3, 16
    source = torch.Generator().manual_seed(0)
    rows = pack_rows(torch.tensor([2, 3, 1]), P, device)
    own = empty_buffers(
        R, P, B, H, rows.n_rows, dtype, device, bounds=(rows.offsets, rows.n_active)
    )
    for buffer in (own.gates_in, own.states, own.w_hh, own.b_hn, own.grad):
        buffer.copy_(0.3 * torch.randn(buffer.shape, generator=source))
    steps = GruSteps(own, None, kernels)
    steps.forward(0, P)
    steps.backward(0, P)
    return torch.cat([t.double().flatten().cpu() for t in (own.states, own.gates, own.d_h0)])
