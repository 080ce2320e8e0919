"""The recurrent decoder compared with one made of torch modules, like both official ones."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decoder.model.cells import Kernel
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.fused.available import why_not
from decoder.sections import ModelConfig

N_DAYS, N_FEATURES, N_CLASSES = 2, 4, 7


def make_model(n_runs: int = 2, **changes: Any) -> PackedDecoder:
    """Two layers, patches of 5 every 2 bins; runs with different weights."""
    settings: dict[str, Any] = {"n_units": 6, "n_layers": 2, "patch_size": 5, "patch_stride": 2}
    config = ModelConfig(**{**settings, **changes})
    model = PackedDecoder(config, n_runs, N_DAYS, N_FEATURES, N_CLASSES, seed=0)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=source)
    return model


class PlainDecoder(nn.Module):
    """One run re-expressed in torch modules: einsum day layer, unfold, nn.GRU, nn.Linear."""

    def __init__(self, model: PackedDecoder, run: int) -> None:
        super().__init__()
        config = model.config
        self.size, self.stride = config.patch_size, config.patch_stride
        self.n_states = config.n_layers * (1 + config.bidirectional)
        self.gru = nn.GRU(
            N_FEATURES * config.patch_size,
            config.n_units,
            config.n_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
        )
        self.out = nn.Linear(config.n_units * (1 + config.bidirectional), N_CLASSES)
        ours = {name: p.detach()[run].clone() for name, p in model.named_parameters()}
        self.day_weights = nn.Parameter(
            torch.stack([ours[f"day_layer.weights.{day}"] for day in range(N_DAYS)])
        )
        self.day_biases = nn.Parameter(
            torch.stack([ours[f"day_layer.biases.{day}"] for day in range(N_DAYS)])
        )
        self.h0 = nn.Parameter(ours.get("h0", torch.zeros(config.n_units)))
        with torch.no_grad():
            for name, parameter in self.gru.named_parameters():
                parameter.copy_(ours[self.our_name(name)])
            self.out.weight.copy_(ours["head.weight"])
            self.out.bias.copy_(ours["head.bias"])

    @staticmethod
    def our_name(name: str) -> str:
        """``weight_ih_l1_reverse`` → ``layers.1.weight_ih_reverse``."""
        stem, _, rest = name.partition("_l")
        layer, _, direction = rest.partition("_")
        return f"layers.{layer}.{stem}" + ("_reverse" if direction else "")

    def forward(self, x: Tensor, day: Tensor) -> Tensor:
        """x (B, T, F), day (B,) → (B, P, C)."""
        linear = torch.einsum("btd,bdk->btk", x, self.day_weights[day]) + self.day_biases[day]
        x = nn.functional.softsign(linear)
        patches = x.unfold(1, self.size, self.stride).transpose(2, 3).flatten(2)  # (B, P, D)
        h0 = self.h0.expand(self.n_states, len(x), -1).contiguous()
        logits: Tensor = self.out(self.gru(patches, h0)[0])
        return logits

    def gradients(self) -> dict[str, Tensor]:
        """Gradients under our names."""
        gradients = {self.our_name(n): p.grad for n, p in self.gru.named_parameters()}
        gradients |= {"head.weight": self.out.weight.grad, "head.bias": self.out.bias.grad}
        gradients["h0"] = self.h0.grad
        for day in range(N_DAYS):
            gradients[f"day_layer.weights.{day}"] = self.day_weights.grad[day]
            gradients[f"day_layer.biases.{day}"] = self.day_biases.grad[day]
        return gradients


@pytest.mark.parametrize("kernel", ["torch", "batched", "rows", "fused"])
@pytest.mark.parametrize("h0", ["learned", "zero"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_logits_and_gradients_equal_a_decoder_of_torch_modules(
    bidirectional: bool, h0: str, kernel: Kernel
) -> None:
    if kernel == "fused" and (reason := why_not(torch.device("cpu"))) is not None:
        pytest.skip(reason)
    model = make_model(bidirectional=bidirectional, h0=h0)
    model.kernel = kernel
    source = torch.Generator().manual_seed(2)
    x = torch.randn(3, 16, N_FEATURES, generator=source)
    x[2, 11:] = 0  # padding, in which the backward direction starts
    day = torch.tensor([0, 1, 1])
    got = model(x.expand(2, -1, -1, -1), day_slices(day)).logits
    upstream = torch.randn(got.shape, generator=source)
    got.backward(upstream)
    for run in range(2):
        plain = PlainDecoder(model, run)
        expected = plain(x, day).transpose(0, 1)
        torch.testing.assert_close(got[run], expected, rtol=1e-5, atol=1e-6)
        expected.backward(upstream[run])
        gradients = plain.gradients()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                parameter.grad[run], gradients[name], rtol=1e-4, atol=1e-5, msg=name
            )


def test_a_zero_initial_state_is_not_a_parameter() -> None:
    assert make_model(h0="zero").h0 is None
    assert make_model().n_parameters() - make_model(h0="zero").n_parameters() == 6


def test_the_official_t12_decoder_has_the_same_number_of_parameters() -> None:
    """At a sixteenth of its width, and without the input layers that it does not use."""
    config = ModelConfig(n_units=64, n_layers=5, patch_size=32, bidirectional=True, h0="zero")
    with torch.device("meta"):
        gru = nn.GRU(256 * 32, 64, 5, bidirectional=True)
    n_expected = sum(p.numel() for p in gru.parameters()) + 129 * 41 + 24 * 256 * 257
    model = PackedDecoder(config, 1, n_days=24, n_features=256, n_classes=41, seed=0)
    assert model.n_parameters() == n_expected


def test_a_uniform_head_starts_like_a_linear_layer_of_torch() -> None:
    config = ModelConfig(n_units=400, n_layers=1, patch_size=5, head_init="uniform")
    model = PackedDecoder(config, 1, N_DAYS, N_FEATURES, 40, seed=0)
    linear = nn.Linear(400, 40)
    for ours, theirs in ((model.head.weight, linear.weight), (model.head.bias, linear.bias)):
        assert ours.abs().max() <= 400**-0.5
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.25)
