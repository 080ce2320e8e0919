"""The choice of a kernel: by time, once for each workload, and without those that fail."""

import time
from collections.abc import Callable

import pytest
import torch

from decoder import remarks
from decoder.model import decoder, kernel_choice
from decoder.model.cells import Kernel
from decoder.model.day import DaySlice
from decoder.model.decoder import PackedDecoder
from decoder.model.fused import available
from decoder.model.fused.available import why_not
from decoder.model.kernel_choice import (
    Workload,
    candidate_kernels,
    choose_kernel,
    default_kernel,
    fastest_kernel,
    resumed_kernel,
)
from decoder.remarks import take_remarks
from decoder.sections import ModelConfig

KERNELS: list[Kernel] = ["torch", "batched", "fused"]
META = torch.device("meta")  # stands for a GPU: nothing is synchronised
WORK = Workload(META, "gru", 4, 64, 256, 768, 5, 1, torch.bfloat16)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    monkeypatch.setattr(kernel_choice, "why_not", lambda device: None)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    monkeypatch.setattr(remarks, "_said", set())
    monkeypatch.setattr(remarks, "_waiting", [])


def times(**seconds: float | Exception) -> Callable[[Kernel], float]:
    def measure(kernel: Kernel) -> float:
        value = seconds[kernel]
        if isinstance(value, Exception):
            raise value
        return value

    return measure


@pytest.mark.parametrize("best", KERNELS)
def test_the_kernel_that_takes_least_time_is_chosen(best: Kernel) -> None:
    seconds = {kernel: 0.5 if kernel == best else 0.6 for kernel in KERNELS}
    assert fastest_kernel(KERNELS, times(**seconds)) == best
    assert take_remarks() == ()


def test_a_kernel_that_fails_is_left_out_and_the_user_is_told() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory\nand a table")
    assert fastest_kernel(KERNELS, times(torch=0.5, batched=0.4, fused=error)) == "batched"
    [text] = take_remarks()
    assert "'fused'" in text and "CUDA out of memory" in text and "a table" not in text


def test_if_every_kernel_fails_the_last_error_is_raised() -> None:
    broken = {kernel: ValueError(kernel) for kernel in KERNELS}
    with pytest.raises(ValueError, match="fused"):
        fastest_kernel(KERNELS, times(**broken))


def test_a_cpu_measures_nothing() -> None:
    def run(kernel: Kernel) -> None:
        raise AssertionError("measured")

    assert choose_kernel(WORK._replace(device=torch.device("cpu")), run) == "batched"


def test_each_workload_is_measured_once_with_real_calls() -> None:
    calls: list[Kernel] = []

    def run(kernel: Kernel) -> None:
        calls.append(kernel)
        time.sleep({"torch": 0.004, "batched": 0.001, "fused": 0.004}[kernel])

    assert choose_kernel(WORK, run) == "batched"
    n_calls = len(calls)
    assert set(calls) == set(KERNELS) and n_calls == 15
    assert choose_kernel(WORK, run) == "batched" and len(calls) == n_calls
    choose_kernel(WORK._replace(n_runs=3), run)
    assert len(calls) == 2 * n_calls


def test_calls_that_only_the_start_makes_slow_do_not_count() -> None:
    calls: list[Kernel] = []

    def run(kernel: Kernel) -> None:  # compiling, then capturing a graph
        calls.append(kernel)
        if kernel == "fused":
            time.sleep(0.02 if calls.count("fused") <= 2 else 0.0)
        else:
            time.sleep(0.004)

    assert choose_kernel(WORK, run) == "fused"


def test_without_triton_the_fused_kernel_is_no_candidate_and_the_user_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_choice, "why_not", lambda device: "Triton cannot be imported.")
    for _ in range(2):
        assert candidate_kernels(META) == ["torch", "batched"]
    [text] = take_remarks()
    assert "Triton cannot be imported." in text


def test_a_resumed_pack_keeps_its_kernel_if_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in KERNELS:
        assert resumed_kernel(kernel, META) == (kernel, "")
    monkeypatch.setattr(kernel_choice, "why_not", lambda device: "Triton cannot be imported.")
    assert resumed_kernel("torch", META) == ("torch", "")
    kernel, text = resumed_kernel("fused", META)
    assert kernel is None and "Triton cannot be imported." in text


def test_without_training_a_cpu_uses_the_batched_kernel() -> None:
    assert default_kernel(torch.device("cpu")) == "batched"


def test_without_training_a_gpu_uses_the_fused_kernel_if_it_works_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(available, "why_not", lambda device: None)
    assert default_kernel(gpu) == "fused"
    monkeypatch.setattr(available, "why_not", lambda device: "it is too old.")
    available._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="cuda:0: it is too old. Recurrent layers use cuDNN"):
        assert default_kernel(gpu) == "torch"


# The choice of a decoder


def make_decoder(**changes: object) -> PackedDecoder:
    settings = {"n_units": 6, "n_layers": 2, "patch_size": 5, "patch_stride": 2, **changes}
    return PackedDecoder(ModelConfig.model_validate(settings), 2, 1, 4, 7, seed=0)


X = torch.randn(2, 3, 21, 4, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([9, 4, 7])


def logits_of(model: PackedDecoder) -> torch.Tensor:
    return model(X, [DaySlice(0, 0, 3)], n_patches=LENGTHS).logits


def test_training_fixes_the_kernel_and_evaluation_does_not() -> None:
    model = make_decoder()
    with torch.no_grad():
        logits_of(model)
    assert model.kernel is None
    logits_of(model)
    assert model.kernel == "batched"


def test_a_transformer_has_no_kernel_to_choose() -> None:
    model = make_decoder(architecture="transformer")
    logits_of(model)
    assert model.kernel is None


def test_a_kernel_that_was_set_is_used_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "choose_kernel", lambda *_: 1 / 0)
    model = make_decoder()
    model.kernel = "torch"
    logits_of(model)
    assert model.kernel == "torch"


@pytest.mark.parametrize("best", ["batched", "rows", "fused"])
def test_measuring_on_the_first_batch_changes_nothing_but_the_kernel(
    best: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if best == "fused" and (reason := why_not(torch.device("cpu"))) is not None:
        pytest.skip(reason)
    plain = make_decoder()
    plain.kernel = best
    expected = logits_of(plain)
    expected.square().sum().backward()
    seen: list[Workload] = []

    def measure(workload: Workload, run: Callable[[Kernel], object]) -> Kernel:
        seen.append(workload)
        for kernel in ("torch", "batched", best):
            run(kernel)
        return best

    monkeypatch.setattr(decoder, "choose_kernel", measure)
    model = make_decoder()
    got = logits_of(model)
    assert all(parameter.grad is None for parameter in model.parameters())
    got.square().sum().backward()
    assert model.kernel == best and torch.equal(got, expected)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    logits_of(model)
    cpu = torch.device("cpu")
    assert seen == [Workload(cpu, "gru", 2, 3, 16, 6, 2, 1, torch.float32)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_training_measures_once_and_goes_on_with_what_it_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    monkeypatch.setattr(remarks, "_waiting", [])
    expected = logits_of(make_decoder()).detach()
    for _ in range(2):
        model = make_decoder().cuda()
        for _ in range(4):
            logits = model(X.cuda(), [DaySlice(0, 0, 3)], n_patches=LENGTHS).logits
            logits.sum().backward()
            valid = torch.arange(logits.shape[1])[:, None] < LENGTHS
            torch.testing.assert_close(logits.cpu()[:, valid], expected[:, valid])
    assert len(kernel_choice._chosen) == 1
    assert model.kernel == next(iter(kernel_choice._chosen.values()))
    assert not any("cannot be used" in text for text in take_remarks())
