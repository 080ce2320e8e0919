"""Decoders that compute the valid patches alone, compared with those that compute the padding."""

from typing import Any

import pytest
import torch
from torch import Tensor

from decoder.config import DecoderConfig
from decoder.metrics import MetricSums
from decoder.model import decoder, gru, recurrent
from decoder.model.cells import Kernel
from decoder.model.day import day_slices
from decoder.model.decoder import Output, PackedDecoder
from decoder.model.dropout import DropoutPlan
from decoder.model.fused import plain_steps, row_patches
from decoder.model.fused.available import why_not
from decoder.model.patch_mask import draw_patch_mask
from decoder.model.precision import autocast
from decoder.objective import LabelPrior, training_losses

R, N_FEATURES, N_CLASSES = 2, 4, 7
LENGTHS = torch.tensor([4, 13, 1, 8, 2])  # patches
DAYS = torch.tensor([0, 0, 1, 1, 1])
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "n_units": 6,
    "n_layers": 3,
    "patch_size": 5,
    "patch_stride": 2,
    "input_dropout": 0.3,
    "rnn_dropout": 0.4,
}


class Case:
    """A batch, R decoders of different weights, and a loss with all that may read the padding."""

    def __init__(self, model: dict[str, Any], dtype: torch.dtype, **sections: Any) -> None:
        loss = {"label_smoothing": 0.1, "label_prior_weight": 0.2}
        self.config = DecoderConfig.model_validate(
            {"model": {**SMALL, **model}, "loss": loss, **sections}
        )
        self.dtype, self.precision = dtype, self.config.train.precision
        source = torch.Generator().manual_seed(3)
        n_bins = int(LENGTHS.max()) * 2 + 3
        self.x = torch.randn(R, 5, n_bins, N_FEATURES, generator=source).to(dtype)
        for trial, length in enumerate(LENGTHS.tolist()):
            self.x[:, trial, length * 2 + 3 :] = 0.0
        self.labels = torch.randint(1, N_CLASSES, (5, 3), generator=source)
        self.n_labels = torch.tensor([2, 3, 1, 3, 1])

    def decoder(self, kernel: Kernel) -> PackedDecoder:
        model = PackedDecoder(self.config.model, R, 2, N_FEATURES, N_CLASSES, seed=0)
        source = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=source)
        model.kernel = kernel
        return model.to(self.dtype)

    def run(self, kernel: Kernel) -> tuple[Output, Tensor, Tensor, dict[str, Tensor]]:
        """Outputs, losses, the label prior, and all gradients."""
        model, config = self.decoder(kernel), self.config
        dropout = DropoutPlan([config.model] * R, 0, 7, CPU)
        hidden = draw_patch_mask(LENGTHS, int(LENGTHS.max()), [config.augment] * R, 0, 7)
        slices = day_slices(DAYS)
        with autocast(self.precision, CPU):
            output = model(self.x, slices, dropout, n_patches=LENGTHS, hidden=hidden)
        prior = LabelPrior(R, N_CLASSES, CPU)
        targets = (self.labels, LENGTHS, self.n_labels, [config.loss] * R, prior.mean)
        every = [
            training_losses(logits, *targets) for logits in (output.logits, *output.intermediate)
        ]
        losses = torch.stack(every).mean(0)
        prior.update(output.logits, LENGTHS)
        losses.sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        assert losses.isfinite().all()
        return output, losses.detach(), prior.mean, gradients


def valid(logits: Tensor) -> Tensor:
    return logits * (torch.arange(logits.shape[1])[:, None] < LENGTHS)[..., None]


CASES = {
    "plain": {},
    "inter CTC": {"inter_ctc_layers": (1, 2)},
    "post-RNN": {"post_rnn_layers": 2, "post_rnn_units": 5, "post_rnn_dropout": 0.3},
    "layer norm": {"layer_norm": True, "h0": "zero"},
    "LSTM": {"architecture": "lstm", "inter_ctc_layers": (1,)},
    "no day layer": {"day_layer": "none"},
    "shared day layer": {"day_layer": "shared", "inter_ctc_layers": (1,)},
}


@pytest.mark.parametrize("model", CASES.values(), ids=CASES)
@pytest.mark.parametrize("mask", ["", "zero", "learned"])
def test_valid_rows_alone_give_the_figures_of_the_padded_batch(
    model: dict[str, Any], mask: str
) -> None:
    augment = {"patch_mask_max_share": 0.4, "patch_mask_count": 2} if mask else {}
    model = {**model, "mask_token": mask} if mask else model
    case = Case(model, torch.float64, augment=augment)
    padded, packed = case.run("batched"), case.run("rows")
    exactly = {"rtol": 1e-10, "atol": 1e-12}
    for ours, theirs in zip(
        (packed[0].logits, *packed[0].intermediate),
        (padded[0].logits, *padded[0].intermediate),
        strict=True,
    ):
        torch.testing.assert_close(ours, valid(theirs), **exactly)
    assert packed[3].keys() == padded[3].keys()
    for name, gradient in padded[3].items():
        torch.testing.assert_close(packed[3][name], gradient, **exactly, msg=name)
    # The loss is computed in float32.
    torch.testing.assert_close(packed[1], padded[1])
    torch.testing.assert_close(packed[2], padded[2])


def use_plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fused kernel go its way through the layers, with plain torch for Triton's kernels."""
    for module in (recurrent, gru):
        monkeypatch.setattr(module, "step_kernels", lambda kernel: plain_steps)
    monkeypatch.setattr(decoder, "patch_kernels", lambda kernel: row_patches)


@pytest.mark.parametrize("model", CASES.values(), ids=CASES)
def test_layers_in_one_function_give_the_figures_of_the_padded_batch(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fused kernel's way through the layers, by plain steps in float64."""
    use_plain_steps(monkeypatch)
    case = Case(model, torch.float64, augment={"patch_mask_max_share": 0.4})
    padded, packed = case.run("batched"), case.run("fused")
    exactly = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(packed[0].logits, valid(padded[0].logits), **exactly)
    for name, gradient in padded[3].items():
        torch.testing.assert_close(packed[3][name], gradient, **exactly, msg=name)


def test_a_pack_keeps_its_buffers_from_step_to_step_and_drops_them_with_a_run() -> None:
    if (reason := why_not(CPU)) is not None:
        pytest.skip(reason)
    case = Case({}, torch.float32)
    model = case.decoder("fused")
    slices = day_slices(DAYS)
    expected = model(case.x, slices, n_patches=LENGTHS).logits
    expected.sum().backward()
    [cache] = model._graphs._caches.values()
    assert len(cache) == 1
    for _ in range(2):
        again = model(case.x, slices, n_patches=LENGTHS).logits
        again.sum().backward()
        assert torch.equal(again, expected)
    assert len(cache) == 1
    model.keep_runs([1])
    assert len(cache) == 0
    torch.testing.assert_close(model(case.x[1:], slices, n_patches=LENGTHS).logits, expected[1:])


def test_the_fused_kernel_gives_the_figures_of_the_padded_batch() -> None:
    if (reason := why_not(CPU)) is not None:
        pytest.skip(reason)
    case = Case({"inter_ctc_layers": (1,)}, torch.float32, augment={"patch_mask_max_share": 0.4})
    padded, packed = case.run("batched"), case.run("fused")
    torch.testing.assert_close(packed[0].logits, valid(padded[0].logits), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(packed[1], padded[1])
    for name, gradient in padded[3].items():
        torch.testing.assert_close(packed[3][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kernel", ["rows", "stack", "fused"])
def test_bfloat16_is_as_close_to_float64_as_with_padding(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton's interpreter cuts bfloat16 off instead of rounding it, so it may be twice as far."""
    if kernel == "fused" and (reason := why_not(CPU)) is not None:
        pytest.skip(reason)
    most = 2.0 if kernel == "fused" else 1.2
    if kernel == "stack":  # the layers of the fused kernel, by plain steps
        use_plain_steps(monkeypatch)
        kernel = "fused"
    exact = Case({}, torch.float64).run("batched")
    low = Case({}, torch.float32, train={"precision": "bfloat16"})
    assert low.precision == "bfloat16"

    def error(figures: tuple[Output, Tensor, Tensor, dict[str, Tensor]]) -> Tensor:
        differences = [valid(figures[0].logits - exact[0].logits).norm()]
        differences += [(g - exact[3][name]).norm() for name, g in figures[3].items()]
        return torch.stack(differences).double()

    scale = [valid(exact[0].logits).norm(), *(g.norm() for g in exact[3].values())]
    packed, padded = (error(low.run(k)) / torch.stack(scale) for k in (kernel, "batched"))
    assert packed.mean() < most * padded.mean()
    assert packed.max() < 0.1


def test_a_backward_direction_reads_the_padding_with_every_kernel() -> None:
    case = Case({"bidirectional": True, "inter_ctc_layers": (1,)}, torch.float64)
    padded, packed = case.run("batched"), case.run("rows")
    torch.testing.assert_close(packed[0].logits, padded[0].logits)
    for name, gradient in padded[3].items():
        torch.testing.assert_close(packed[3][name], gradient, msg=name)


def test_metrics_do_not_read_the_logits_after_the_end_of_a_trial() -> None:
    case, rows = Case({}, torch.float64), []
    for kernel in ("batched", "rows"):
        metrics = MetricSums.zeros(R, CPU)
        logits = case.run(kernel)[0].logits.detach()
        index = torch.arange(5)
        metrics.add(logits, case.labels, LENGTHS, case.n_labels, True, index)
        rows.append(metrics.rows())
    for padded, packed in zip(*rows, strict=True):
        assert packed == pytest.approx(padded, rel=1e-6)


@pytest.mark.parametrize("architecture", ["gru", "lstm"])
@pytest.mark.parametrize("n_patches", [[0, 0, 0, 0, 0], [13] * 5, [0, 13, 1, 1, 1]])
def test_batches_without_valid_patches_or_without_padding(
    n_patches: list[int], architecture: str
) -> None:
    case = Case({"architecture": architecture}, torch.float64)
    lengths = torch.tensor(n_patches)
    gradients = []
    for kernel in ("batched", "rows"):
        model = case.decoder(kernel)
        logits = model(case.x, day_slices(DAYS), n_patches=lengths).logits
        here = (torch.arange(13)[:, None] < lengths)[..., None]
        (logits * here).square().sum().backward()
        every = model.named_parameters()
        gradients.append({n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in every})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
