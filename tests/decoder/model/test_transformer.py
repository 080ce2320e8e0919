"""The transformer encoder compared with `torch.nn.TransformerEncoderLayer`; attention limits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.transformer import MAX_DISTANCE, TransformerLayer, distances, sinusoids
from decoder.sections import ModelConfig

R, B, F = 2, 3, 4


def make_model(**changes: Any) -> PackedDecoder:
    """Two layers of 6 units and 2 heads, patches of 3 bins; runs with different weights."""
    config = ModelConfig(
        architecture="transformer",
        n_units=6,
        n_layers=2,
        n_heads=2,
        head_units=3,
        ff_ratio=2,
        patch_size=3,
        patch_stride=3,
        **changes,
    )
    model = PackedDecoder(config, R, n_days=1, n_features=F, n_classes=5, seed=0)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=source)
    return model


def logits_of(model: PackedDecoder, x: Tensor, n_patches: list[int] | None = None) -> Tensor:
    """x (B, T, F) → (R, P, B, C)."""
    lengths = None if n_patches is None else torch.tensor(n_patches)
    day = torch.zeros(len(x), dtype=torch.int64)
    logits: Tensor = model(x.expand(R, -1, -1, -1), day_slices(day), n_patches=lengths).logits
    return logits


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def torch_layer(layer: TransformerLayer, run: int) -> nn.TransformerEncoderLayer:
    """One run's layer as a torch module, whose queries, keys and values have a bias of 0."""
    theirs = nn.TransformerEncoderLayer(
        6, 2, 12, dropout=0.0, activation="gelu", norm_first=True, batch_first=True
    )
    pairs = (
        (theirs.self_attn.in_proj_weight, layer.qkv.weight),
        (theirs.self_attn.out_proj.weight, layer.out.weight),
        (theirs.self_attn.out_proj.bias, layer.out.bias),
        (theirs.linear1.weight, layer.ff_in.weight),
        (theirs.linear1.bias, layer.ff_in.bias),
        (theirs.linear2.weight, layer.ff_out.weight),
        (theirs.linear2.bias, layer.ff_out.bias),
        (theirs.norm1.weight, layer.attention_norm.weight),
        (theirs.norm1.bias, layer.attention_norm.bias),
        (theirs.norm2.weight, layer.ff_norm.weight),
        (theirs.norm2.bias, layer.ff_norm.bias),
    )
    with torch.no_grad():
        theirs.self_attn.in_proj_bias.zero_()
        for parameter, ours in pairs:
            assert ours is not None
            parameter.copy_(ours[run])
    return theirs


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("position", ["relative", "sinusoidal"])
def test_a_layer_and_its_gradients_equal_the_encoder_layer_of_torch(
    position: str, bidirectional: bool
) -> None:
    model = make_model(position=position, bidirectional=bidirectional)
    layer = model.layers[1]
    assert isinstance(layer, TransformerLayer)
    P, lengths = 5, torch.tensor([5, 3, 4])
    x = draw(R, P, B, 6).requires_grad_()
    patch = torch.arange(P)
    seen = (patch < lengths[:, None])[:, None, None]  # (B, 1, 1, P)
    later = patch > patch[:, None]
    allowed = seen.expand(B, 1, P, P) if bidirectional else seen & ~later
    got = layer(x, allowed, None, "1")
    upstream = draw(*got.shape)
    got.backward(upstream)
    for run in range(R):
        bias = torch.zeros(P, P)
        if layer.distance_bias is not None:
            bias = layer.distance_bias[run].detach()[distances(P)]
        if not bidirectional:
            bias = bias.masked_fill(later, float("-inf"))
        theirs = torch_layer(layer, run)
        x_run = x.detach()[run].transpose(0, 1).clone().requires_grad_()  # (B, P, H)
        padding = torch.zeros(B, P).masked_fill(patch >= lengths[:, None], float("-inf"))
        expected = theirs(x_run, src_mask=bias, src_key_padding_mask=padding)
        torch.testing.assert_close(got[run].transpose(0, 1), expected, rtol=1e-5, atol=1e-5)
        expected.backward(upstream[run].transpose(0, 1))
        assert x.grad is not None and x_run.grad is not None
        torch.testing.assert_close(x.grad[run].transpose(0, 1), x_run.grad, rtol=1e-4, atol=1e-5)
        for ours, reference in (
            (layer.qkv.weight, theirs.self_attn.in_proj_weight),
            (layer.ff_in.weight, theirs.linear1.weight),
            (layer.attention_norm.weight, theirs.norm1.weight),
        ):
            assert ours.grad is not None
            torch.testing.assert_close(ours.grad[run], reference.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("position", ["relative", "sinusoidal"])
def test_a_trial_gives_the_same_output_alone_and_padded_in_a_batch(
    position: str, bidirectional: bool
) -> None:
    model = make_model(position=position, bidirectional=bidirectional)
    short, long = draw(1, 12, F), draw(1, 30, F)
    alone = logits_of(model, short, [4])
    noise = 10 * torch.ones(1, 18, F)  # training has noise in the padding too
    together = logits_of(model, torch.cat([torch.cat([short, noise], 1), long]), [4, 10])
    torch.testing.assert_close(together[:, :4, 0], alone[:, :, 0], rtol=1e-4, atol=1e-5)


def test_attention_looks_ahead_only_if_bidirectional() -> None:
    x = draw(1, 15, F)
    changed = x.clone()
    changed[:, 12:] += 1  # the last of five patches
    for bidirectional in (False, True):
        model = make_model(bidirectional=bidirectional)
        before, after = logits_of(model, x), logits_of(model, changed)
        earlier_moved = (before[:, :4] - after[:, :4]).abs().amax() > 1e-6
        assert bool(earlier_moved) == bidirectional
        assert (before[:, 4] - after[:, 4]).abs().amax() > 1e-6


def test_a_trial_without_a_valid_patch_gives_finite_output() -> None:
    logits = logits_of(make_model(bidirectional=True), draw(2, 12, F), [0, 4])
    assert logits.isfinite().all()


def test_positions_matter() -> None:
    """Without positions, equal patches would give equal output everywhere."""
    x = draw(1, 3, F).repeat(1, 4, 1)
    for position in ("relative", "sinusoidal"):
        logits = logits_of(make_model(position=position), x)
        different = (logits[:, 0] - logits[:, 1:].movedim(1, 0)).abs().amax(-1)
        if position == "sinusoidal":
            assert (different > 1e-6).all()
        else:  # all patches are alike, so whatever the weights, their mean is the same
            assert (different < 1e-5).all()
    distinct = draw(1, 12, F)
    model = make_model()
    before = logits_of(model, distinct)
    with torch.no_grad():
        for layer in model.layers:
            assert isinstance(layer, TransformerLayer) and layer.distance_bias is not None
            layer.distance_bias[:, MAX_DISTANCE + 1] += 1
    after = logits_of(model, distinct)
    assert torch.equal(before[:, 0], after[:, 0])  # it has nothing at distance 1 before it
    assert ((before[:, 1:] - after[:, 1:]).abs().amax(-1) > 1e-6).all()


def test_distances_and_sinusoids_by_hand() -> None:
    assert distances(3).tolist() == [
        [199, 198, 197],
        [200, 199, 198],
        [201, 200, 199],
    ]
    assert distances(300)[0, -1] == 0 and distances(300)[-1, 0] == 2 * MAX_DISTANCE
    table = sinusoids(3, 5)
    assert table[0].tolist() == [0, 1, 0, 1, 0]
    assert table[2, :2].tolist() == pytest.approx(
        [torch.sin(torch.tensor(2.0)).item(), torch.cos(torch.tensor(2.0)).item()]
    )
