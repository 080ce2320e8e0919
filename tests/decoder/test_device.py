"""Names, drivers and peak memory of devices."""

from pathlib import Path

import pytest
import torch

from decoder import device
from decoder.device import device_name, driver_version, peak_memory_bytes, start_peak_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda")
OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs)\n"
    "GCC version:  gcc version 11.4.0\n"
)


def test_a_cpu_has_a_name_and_no_driver() -> None:
    assert device_name(CPU) == "cpu"
    assert driver_version(CPU) == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [(OPEN_MODULE, "570.86.15, CUDA 12.8"), ("", "CUDA 12.8"), (None, "CUDA 12.8")],
)
def test_the_driver_of_a_gpu_is_that_of_the_system_and_its_newest_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, expected: str
) -> None:
    path = tmp_path / "version"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(device, "_KERNEL_MODULE", path)
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12080, raising=False)
    assert driver_version(GPU) == expected


def test_the_peak_of_a_gpu_is_that_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {GPU: 7}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda d: peaks.update({d: 0}))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda d: peaks[d])
    assert peak_memory_bytes(GPU) == 7
    start_peak_memory(GPU)
    assert peak_memory_bytes(GPU) == 0


def test_the_peak_of_a_process_starts_anew_where_the_system_allows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    size = 200 * 2**20
    start_peak_memory(CPU)
    before = peak_memory_bytes(CPU)
    block = torch.ones(size, dtype=torch.uint8)
    assert peak_memory_bytes(CPU) >= before + size // 2
    del block
    with monkeypatch.context() as closed:
        closed.setattr(device, "_RESET_PEAK", tmp_path / "missing" / "clear_refs")
        start_peak_memory(CPU)
        assert peak_memory_bytes(CPU) >= before + size // 2
    if Path("/proc/self/clear_refs").exists():
        start_peak_memory(CPU)
        assert peak_memory_bytes(CPU) < before + size // 2
