"""The decoder: official size, initialisation, day layers, shared dropout masks."""

import pytest
import torch

from decoder.model.day import DayLayer, day_slices, times
from decoder.model.decoder import PackedDecoder
from decoder.model.dropout import DropoutPlan
from decoder.model.recurrent import RecurrentLayer
from decoder.sections import ModelConfig


def test_the_full_configuration_has_the_official_number_of_parameters() -> None:
    """44,315,177: counted from GRUDecoder of nejm-brain-to-text (benchmarks/fidelity.py)."""
    model = PackedDecoder(ModelConfig(), 1, n_days=45, n_features=512, n_classes=41, seed=0)
    assert model.n_parameters() == 44_315_177


def small(n_runs: int = 2, seed: int = 0) -> PackedDecoder:
    config = ModelConfig(n_units=6, n_layers=2, patch_size=5, patch_stride=2)
    return PackedDecoder(config, n_runs, n_days=3, n_features=4, n_classes=7, seed=seed)


def test_runs_of_a_pack_start_equal_and_seeds_differ() -> None:
    model, other = small(), small(seed=1)
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a[0], a[1]), name
        if "day_layer" not in name:
            assert not torch.equal(a, b), name


def test_the_number_of_runs_does_not_change_the_initial_weights() -> None:
    for a, b in zip(small(1).parameters(), small(5).parameters(), strict=True):
        assert torch.equal(a[0], b[3])


def test_initial_weights_are_the_official_ones() -> None:
    """Orthogonal recurrent, Xavier input and head weights, identity day layers."""
    model = small()
    layer = model.layers[0]
    assert isinstance(layer, RecurrentLayer)
    gram = layer.weight_hh[0].T @ layer.weight_hh[0]
    torch.testing.assert_close(gram, torch.eye(6), atol=1e-5, rtol=0)
    bound = (6 / (18 + 20)) ** 0.5
    assert 0.9 * bound < layer.weight_ih.abs().max() <= bound
    assert model.head.weight.abs().max() <= (6 / (7 + 6)) ** 0.5
    assert model.h0 is not None and model.h0.abs().max() <= (6 / 12) ** 0.5
    assert torch.equal(model.day_layer.weights[2][1], torch.eye(4))
    assert model.day_layer.biases[0].eq(0).all()


def test_each_trial_uses_the_layer_of_its_day() -> None:
    layer = DayLayer(2, 3, 4)
    source = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=source)
    x = torch.randn(2, 5, 6, 4, generator=source)
    day = torch.tensor([0, 0, 2, 2, 2])
    out = layer(x, day_slices(day), None)
    for r in range(2):
        for b in range(5):
            linear = x[r, b] @ layer.weights[int(day[b])][r] + layer.biases[int(day[b])][r]
            torch.testing.assert_close(out[r, b], torch.nn.functional.softsign(linear))


def test_gradients_of_the_day_layer_equal_autograd() -> None:
    layer = DayLayer(2, 2, 3).double()
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 5, 3, generator=source, dtype=torch.float64)
    mask = (torch.rand(1, 4, 5, 3, generator=source, dtype=torch.float64) > 0.3) / 0.7
    slices = day_slices(torch.tensor([0, 1, 1, 1]))
    upstream = torch.randn(2, 4, 5, 3, generator=source, dtype=torch.float64)
    layer(x, slices, mask).backward(upstream)
    plain = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    weights, biases = plain[:2], plain[2:]
    day = [0, 1, 1, 1]
    linear = torch.stack([x[:, b] @ weights[day[b]] + biases[day[b]] for b in range(4)], dim=1)
    (torch.nn.functional.softsign(linear) * mask).backward(upstream)
    for a, b in zip(layer.parameters(), plain, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_dropout_in_bfloat16_is_the_float32_product_rounded_once() -> None:
    source = torch.Generator().manual_seed(0)
    y = torch.randn(3, 50, generator=source).bfloat16()
    factors = (torch.rand(50, generator=source) > 0.3) / 0.7
    got = times(y, factors)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, (y.double() * factors.double()).float().bfloat16())
    assert not torch.equal(got, y * factors.bfloat16())


def test_a_day_outside_the_batch_gets_no_gradient() -> None:
    model = small()
    model(torch.randn(2, 2, 11, 4), day_slices(torch.tensor([0, 2]))).logits.sum().backward()
    assert model.day_layer.weights[1].grad is None
    assert model.day_layer.weights[2].grad is not None


def test_a_higher_dropout_rate_drops_everything_that_a_lower_one_drops() -> None:
    def factors(rates: list[float], *shape: int) -> torch.Tensor | None:
        configs = [ModelConfig(rnn_dropout=rate) for rate in rates]
        plan = DropoutPlan(configs, seed=0, step=3, device=torch.device("cpu"))
        return plan.factors("rnn_dropout", *shape)

    mixed = factors([0.2, 0.6, 0.0], 100, 100)
    assert mixed is not None
    dropped = mixed == 0
    assert (dropped[1] | ~dropped[0]).all()
    assert dropped.float().mean((1, 2)).tolist() == pytest.approx([0.2, 0.6, 0.0], abs=0.02)
    assert mixed.mean((1, 2)).tolist() == pytest.approx([1.0, 1.0, 1.0], abs=0.03)
    assert factors([0.0, 0.0], 3) is None
    shared = factors([0.2, 0.2, 0.2], 100, 100)
    assert shared is not None and torch.equal(shared[0], mixed[0])


def test_runs_that_are_kept_compute_the_same_as_before() -> None:
    model = small(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    x, slices = torch.randn(1, 2, 11, 4), day_slices(torch.tensor([0, 1]))
    before = model(x.expand(3, -1, -1, -1), slices).logits
    model.keep_runs([2, 0])
    after = model(x.expand(2, -1, -1, -1), slices).logits
    torch.testing.assert_close(after, before[[2, 0]])
