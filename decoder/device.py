"""Facts about the device that trains: its name, its driver, and the most memory it has used."""

import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from decoder.errors import ConfigError

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


def device_name(device: torch.device) -> str:
    """The name of a GPU, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def compare_devices(
    folder: Path, made_with: Mapping[str, str], present: Mapping[str, str]
) -> list[str]:
    """Remarks if a checkpoint was made with another GPU; older ones do not say.

    Args:
        folder: of the checkpoint.
        made_with: ``type`` and ``name`` of the device that made it; empty if it does not say.
        present: the same of the device that continues.

    Raises:
        ConfigError: it was made on another kind of device, which draws other random numbers.
    """
    if made_with.get("type", present["type"]) != present["type"]:
        raise ConfigError(
            f"{folder}: its checkpoint was made on {made_with['name']}, and the random numbers "
            f"of {present['name']} are others, so the pack cannot be continued here; train "
            f"with --device {made_with['type']}, or remove the folder to start the pack anew"
        )
    name = made_with.get("name", present["name"])
    if name == present["name"]:
        return []
    return [
        f"{folder}: its checkpoint was made with {name} and continues with {present['name']}; "
        "the figures agree to rounding only"
    ]


def driver_version(device: torch.device) -> str:
    """The driver of a GPU and the newest CUDA that it supports, such as ``570.86.15, CUDA 12.8``.

    Empty for another device.
    """
    if device.type != "cuda":
        return ""
    number = torch._C._cuda_getDriverVersion()  # type: ignore[attr-defined]
    return ", ".join([*_kernel_module(), f"CUDA {number // 1000}.{number % 1000 // 10}"])


def _kernel_module() -> list[str]:
    """The version of NVIDIA's kernel module, if the system shows it."""
    try:
        first = _KERNEL_MODULE.read_text(encoding="utf-8").splitlines()[0].split()
    except (OSError, IndexError):
        return []
    return [word for word in first if word[0].isdigit() and word.count(".") >= 1][:1]


def start_peak_memory(device: torch.device) -> None:
    """Measure `peak_memory_bytes` from now on, where the system allows it.

    A process that trains several packs then reports the memory of each, not of the largest so far.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _RESET_PEAK.write_text("5")  # Linux: the largest resident size becomes the present one
    except OSError:
        return


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory since `start_peak_memory`: allocated on a GPU, else resident in the process.

    The resident memory includes what Python and the libraries have written, but not the pages of
    mapped files (libraries, packed recordings), which the system can drop, if it tells them apart.
    It is that of all of the process's life if the system cannot start anew.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - _file_pages()


def _file_pages() -> int:
    """Bytes of mapped files that are resident now; 0 if the system does not say."""
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile:")]
    return sum(sizes)
