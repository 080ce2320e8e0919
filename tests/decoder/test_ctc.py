"""CTC losses compared with torch's module, greedy decoding and edit distances by hand."""

import pytest
import torch

from decoder import ctc
from decoder.ctc import ctc_losses, edit_distance, greedy_decode, reduce_losses


def decode(*best: int) -> list[int]:
    return greedy_decode(torch.tensor([best]), torch.tensor([len(best)]))[0]


def test_repeats_are_merged() -> None:
    assert decode(3, 3, 0, 5, 5, 5) == [3, 5]


def test_a_blank_between_repeats_keeps_both() -> None:
    assert decode(3, 0, 3) == [3, 3]


def test_all_blank_decodes_to_nothing() -> None:
    assert decode(0, 0, 0) == []


def test_frames_after_the_end_are_ignored() -> None:
    best = torch.tensor([[1, 2, 2], [1, 2, 3]])
    assert greedy_decode(best, torch.tensor([1, 3])) == [[1], [1, 2, 3]]


def test_edit_distance_by_hand() -> None:
    assert edit_distance([1, 2, 3], [1, 3]) == 1
    assert edit_distance([], [4, 5]) == 2
    assert edit_distance([1, 2, 3, 4], [2, 3, 4, 5]) == 2
    assert edit_distance([7], [7]) == 0


def make_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    log_probs = torch.randn(2, 12, 3, 6, generator=source).log_softmax(-1)
    labels = torch.tensor([[1, 2, 2, 0], [5, 0, 0, 0], [3, 1, 4, 1]])
    return log_probs, labels, torch.tensor([12, 5, 10]), torch.tensor([3, 1, 4])


def test_both_reductions_are_those_of_torch_for_each_run() -> None:
    log_probs, labels, n_patches, n_labels = make_batch()
    losses = ctc_losses(log_probs, labels, n_patches, n_labels, zero_infinity=False)
    assert losses.shape == (2, 3)
    mean = reduce_losses(losses, n_labels, ["mean", "mean"])
    summed = reduce_losses(losses, n_labels, ["none_then_mean", "none_then_mean"])
    mixed = reduce_losses(losses, n_labels, ["mean", "none_then_mean"])
    for row in range(2):
        arguments = (log_probs[row], labels, n_patches, n_labels)
        torch.testing.assert_close(mean[row], torch.nn.CTCLoss(reduction="mean")(*arguments))
        torch.testing.assert_close(
            summed[row], torch.nn.CTCLoss(reduction="none")(*arguments).mean()
        )
    assert mixed.tolist() == [mean[0].item(), summed[1].item()]


def test_an_impossible_alignment_is_infinite_or_zero_as_configured() -> None:
    log_probs = torch.zeros(1, 2, 1, 4).log_softmax(-1)
    labels, n_patches, n_labels = torch.tensor([[1, 2, 3]]), torch.tensor([2]), torch.tensor([3])
    assert ctc_losses(log_probs, labels, n_patches, n_labels, False).isinf().all()
    assert ctc_losses(log_probs, labels, n_patches, n_labels, True).eq(0).all()


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_on_a_gpu_the_losses_are_those_of_the_kernels_or_of_the_cpu(
    zero_infinity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ways of a GPU: deterministic training; and its kernels, which have tests of their own."""
    log_probs, labels, n_patches, n_labels = make_batch()
    n_patches = torch.tensor([12, 1, 3])  # the last trial has no alignment
    arguments = (log_probs.requires_grad_(), labels, n_patches, n_labels, zero_infinity)
    expected = ctc_losses(*arguments)
    assert expected.isinf().any() != zero_infinity
    with monkeypatch.context() as deterministic:
        asked = iter([True, False])  # of the losses on a GPU, then of those on the CPU
        deterministic.setattr("decoder.ctc.needs_cpu", lambda x: next(asked))
        assert torch.equal(ctc_losses(*arguments), expected)

    class Kernels:
        @staticmethod
        def apply(*given: object) -> torch.Tensor:
            assert torch.equal(given[0], log_probs)  # type: ignore[arg-type]
            assert given[1:] == (labels, n_patches, n_labels, zero_infinity)
            return expected

    monkeypatch.setattr("decoder.ctc._has_kernels", lambda device: True)
    monkeypatch.setattr("decoder.ctc.CTC", Kernels)
    assert ctc_losses(*arguments) is expected


def test_the_kernels_are_for_a_gpu_where_triton_works(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, reasons = torch.device("cuda"), {"cuda": None, "cpu": None}
    monkeypatch.setattr(ctc, "why_not", lambda device: reasons[device.type])
    assert ctc._has_kernels(gpu) and not ctc._has_kernels(torch.device("cpu"))
    reasons["cuda"] = "it is too old."  # type: ignore[assignment]
    assert not ctc._has_kernels(gpu)
