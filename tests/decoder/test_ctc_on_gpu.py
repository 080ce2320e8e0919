"""The kernels of the CTC loss against PyTorch's own, in Triton's interpreter."""

from pathlib import Path

import pytest
import torch

from decoder.ctc import ctc_losses
from decoder.ctc_on_gpu import CTC
from decoder.model.fused.available import why_not

from .compiling import compile_kernels

NO_KERNELS = why_not(torch.device("cpu"))
pytestmark = [
    pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS)),
    # Probabilities of 0 underflow and infinite losses overflow in the interpreter's NumPy.
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero)"),
]

LABELS = [[1, 2, 2, 3, 1], [4, 4, 4, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 2, 3, 4, 1]]
N_LABELS = [5, 3, 1, 0, 5]


def both(
    n_patches: list[int], labels: list[list[int]], n_labels: list[int], zero_infinity: bool
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Losses, and gradients with respect to logits, of the kernels and of PyTorch."""
    source = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, max(n_patches), len(labels), 5, generator=source)
    upstream = torch.rand(2, len(labels), generator=source)
    targets = (torch.tensor(labels), torch.tensor(n_patches), torch.tensor(n_labels))
    results = []
    for losses_of in (CTC.apply, ctc_losses):
        x = logits.clone().requires_grad_()
        losses = losses_of(x.log_softmax(-1), *targets, zero_infinity)
        finite = losses.where(losses.isfinite(), 0.0)
        [gradient] = torch.autograd.grad(finite, x, upstream)
        results.append((losses.detach(), gradient))
    return results


@pytest.mark.parametrize("n_patches", [[9, 9, 9, 9, 9], [7, 5, 1, 4, 9], [6, 6, 3, 1, 5]])
def test_losses_and_gradients_equal_those_of_torch(n_patches: list[int]) -> None:
    """With repeats, one label, no label, and just as many patches as an alignment needs."""
    (losses, gradient), (expected, expected_gradient) = both(n_patches, LABELS, N_LABELS, False)
    assert bool(expected.isfinite().all())
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_a_trial_without_an_alignment_counts_infinity_or_zero_without_a_gradient() -> None:
    n_patches = [5, 4, 0, 0, 4]  # each one too few, but for the trial without labels
    (losses, _), (expected, _) = both(n_patches, LABELS, N_LABELS, False)
    assert torch.equal(losses, expected)
    assert losses.isinf().tolist() == 2 * [[True, True, True, False, True]]
    (losses, gradient), (expected, expected_gradient) = both(n_patches, LABELS, N_LABELS, True)
    assert torch.equal(losses, expected) and not losses.any()
    assert torch.equal(gradient, expected_gradient) and not gradient.any()


def test_a_loss_that_is_no_number_stays_in_its_run() -> None:
    log_probs = torch.randn(2, 6, 2, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    log_probs[1] = float("nan")
    targets = (torch.tensor([[1, 2], [3, 0]]), torch.tensor([6, 6]), torch.tensor([2, 1]))
    losses = CTC.apply(log_probs, *targets, False)
    assert losses.isnan().tolist() == [[False, False], [True, True]]


def test_a_long_target_has_the_loss_of_torch() -> None:
    source = torch.Generator().manual_seed(1)
    labels = torch.randint(1, 5, (1, 40), generator=source).tolist()
    (losses, gradient), (expected, expected_gradient) = both([70], labels, [40], False)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from decoder.ctc_kernels import backward, forward
for kernel, fixed in (
    (forward, {"BLANK": 0, "PLACES": 128}),
    (backward, {"BLANK": 0, "PLACES": 128, "CLASSES": 64}),
):
    types = dict.fromkeys(kernel.arg_names, "*fp32")
    types |= dict.fromkeys(("labels", "n_patches", "n_labels"), "*i64")
    types |= dict.fromkeys(("longest", "n_trials", "n_classes", "n_places"), "i32")
    types |= dict.fromkeys(fixed, "constexpr")
    places = {(kernel.arg_names.index(n),): number for n, number in fixed.items()}
    for capability in (80, 90):
        target = GPUTarget("cuda", capability, 32)
        built = triton.compile(ASTSource(kernel, types, places), target=target)
        assert built.asm["cubin"]
        print(kernel.__name__, capability)
"""


def test_the_kernels_compile_for_gpus(tmp_path: Path) -> None:
    printed = compile_kernels(COMPILE, tmp_path)
    assert printed.split() == [
        "forward",
        "80",
        "forward",
        "90",
        "backward",
        "80",
        "backward",
        "90",
    ]
