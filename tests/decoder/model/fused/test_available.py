"""Whether the kernels can be used: here in Triton's interpreter, elsewhere for a named reason."""

import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from decoder.model.fused import available, plain_steps

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    for function in (available.why_not, available._warn_once):
        function.cache_clear()
    yield
    for function in (available.why_not, available._warn_once):
        function.cache_clear()


def pretend_triton(monkeypatch: pytest.MonkeyPatch, interprets: bool) -> None:
    runtime = SimpleNamespace(interpret=interprets)
    triton = SimpleNamespace(knobs=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "triton", triton)


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")


def test_the_interpreter_counts_on_a_cpu() -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the interpreter is off where there is a GPU")
    assert available.why_not(CPU) is None
    assert available.can_fuse(CPU)


def test_without_the_interpreter_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_triton(monkeypatch, interprets=False)
    assert "need a GPU" in str(available.why_not(CPU))


def test_the_interpreter_does_not_count_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_triton(monkeypatch, interprets=True)
    assert "TRITON_INTERPRET" in str(available.why_not(GPU))


def test_the_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECODER_WITHOUT_TRITON", "1")
    for device in (CPU, GPU):
        assert "DECODER_WITHOUT_TRITON" in str(available.why_not(device))


def test_without_triton_the_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "Triton cannot be imported" in str(available.why_not(GPU))


def test_an_old_gpu_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_triton(monkeypatch, interprets=False)
    pretend_gpu(monkeypatch, (7, 5))
    reason = str(available.why_not(GPU))
    assert "8.0" in reason and "Tesla V100 has 7.5" in reason


def test_kernels_that_fail_or_are_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler.\nmore")

    def is_wrong(kernels: object, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.ones(3) if kernels is plain_steps else torch.tensor([1.0, 1.0, 1.2])

    pytest.importorskip("triton")
    monkeypatch.setattr(available, "_small_layer", fails)
    assert "(RuntimeError: Failed to find C compiler.)" in str(available._probe(CPU))
    monkeypatch.setattr(available, "_small_layer", is_wrong)
    assert "relative error 0.12" in str(available._probe(CPU))


def test_the_user_is_told_once_and_the_answer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.warns(UserWarning, match=r"cuda:0: Triton cannot be imported.*cuDNN"):
        assert not available.can_fuse(GPU)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not available.can_fuse(GPU)
