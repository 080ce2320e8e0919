"""Every branch of the model trains, alone and in a pack of different values, in both precisions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from decoder.config import DecoderConfig, override, resolve
from decoder.data.batches import Batch
from decoder.errors import ConfigError
from decoder.model.day import DaySlice
from decoder.model.decoder import PackedDecoder
from decoder.sections import ModelConfig
from decoder.step import forward_backward

SMALL: dict[str, Any] = {
    "model.n_units": 8,
    "model.n_layers": 3,
    "model.n_heads": 2,
    "model.head_units": 3,
    "model.ff_ratio": 2,
    "model.patch_size": 4,
    "model.patch_stride": 3,
    "model.post_rnn_units": 7,
}
BRANCHES: dict[str, dict[str, Any]] = {
    "gru": {},
    "gru both ways": {"model.bidirectional": True, "model.h0": "zero"},
    "gru with everything": {
        "model.bidirectional": True,
        "model.layer_norm": True,
        "model.post_rnn_layers": 2,
        "model.inter_ctc_layers": [1, 2],
        "model.day_layer": "shared",
        "model.mask_token": "learned",
        "model.count_last_patch": False,
        "model.head_init": "uniform",
    },
    "lstm": {"model.architecture": "lstm", "model.inter_ctc_layers": [2]},
    "lstm with everything": {
        "model.architecture": "lstm",
        "model.bidirectional": True,
        "model.layer_norm": True,
        "model.post_rnn_layers": 1,
        "model.day_layer": "none",
        "model.h0": "zero",
    },
    "transformer": {"model.architecture": "transformer", "model.mask_token": "learned"},
    "transformer with everything": {
        "model.architecture": "transformer",
        "model.bidirectional": True,
        "model.position": "sinusoidal",
        "model.post_rnn_layers": 1,
        "model.inter_ctc_layers": [1],
        "model.day_layer": "none",
    },
}
# Values that may differ between the runs of a pack.
RUNS: list[dict[str, Any]] = [
    {"augment.patch_mask_max_share": 0.3, "augment.patch_mask_count": 3},
    {
        "model.rnn_dropout": 0.0,
        "model.input_dropout": 0.5,
        "model.post_rnn_dropout": 0.2,
        "model.transformer_dropout": 0.0,
        "model.blank_bias": -1.0,
        "loss.inter_ctc_weight": 0.7,
    },
    {"model.rnn_dropout": 0.6, "model.transformer_dropout": 0.1, "loss.inter_ctc_weight": 0.0},
]


def make_batch() -> Batch:
    source = torch.Generator().manual_seed(0)
    n_bins = torch.tensor([31, 28, 22, 30])
    features = torch.randn(4, 31, 5, generator=source)
    features[torch.arange(31) >= n_bins[:, None]] = 0
    return Batch(
        features=features,
        n_bins=n_bins,
        labels=torch.randint(1, 6, (4, 3), generator=source),
        n_labels=torch.tensor([3, 2, 3, 1]),
        day=torch.tensor([0, 0, 1, 2]),
        index=torch.arange(4),
    )


def step_of(
    branch: str, runs: list[dict[str, Any]], precision: str
) -> tuple[Tensor, dict[str, Tensor]]:
    settings = {**SMALL, **BRANCHES[branch], "train.precision": precision}
    configs = [
        resolve(override(DecoderConfig(), {**settings, **changes}, "test")) for changes in runs
    ]
    model = PackedDecoder(
        configs[0].model,
        len(runs),
        n_days=3,
        n_features=5,
        n_classes=6,
        seed=2,
        blank_bias=[c.model.blank_bias for c in configs],
    )
    losses, gradients = forward_backward(model, configs, make_batch(), seed=2, step=7)
    unused = {n for n, _ in model.named_parameters()} - set(gradients)
    assert unused <= {"mask_token"}
    return losses, gradients


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_step_of_a_mixed_pack_equals_the_steps_of_its_runs_alone(branch: str) -> None:
    losses, gradients = step_of(branch, RUNS, "float32")
    assert losses.isfinite().all() and len(set(losses.tolist())) == len(RUNS)
    for row, run in enumerate(RUNS):
        alone, expected = step_of(branch, [run], "float32")
        torch.testing.assert_close(losses[row], alone[0], rtol=1e-5, atol=1e-5)
        for name, gradient in gradients.items():
            reference = expected.get(name, torch.zeros_like(gradient[:1]))[0]
            error = (gradient[row] - reference).norm() / (reference.norm() + 1e-6)
            assert error < 1e-4, name


@pytest.mark.parametrize("branch", BRANCHES)
def test_bfloat16_gives_nearly_the_same_step(branch: str) -> None:
    losses, gradients = step_of(branch, RUNS, "float32")
    rounded, rough = step_of(branch, RUNS, "bfloat16")
    assert not torch.equal(losses, rounded)
    torch.testing.assert_close(rounded, losses, rtol=0.03, atol=0.03)
    for name, gradient in gradients.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - gradient).norm() < 0.25 * gradient.norm() + 0.02, name


def test_the_intermediate_loss_has_its_configured_weight() -> None:
    """(1 - w) * final + w * mean of the intermediate losses, as in Lee and Watanabe 2021."""
    weights = (0.0, 0.25, 0.75)
    still = {"model.rnn_dropout": 0.0, "model.input_dropout": 0.0}
    runs = [{**still, "loss.inter_ctc_weight": w} for w in weights]
    losses, _ = step_of("gru with everything", runs, "float32")
    final, quarter, most = losses.tolist()
    assert quarter != final
    assert most - final == pytest.approx(3 * (quarter - final), rel=1e-3)


@pytest.mark.parametrize("layers", [[2, 1], [1, 1], [3], [7]])
def test_intermediate_layers_must_ascend_and_stay_below_the_last(layers: list[int]) -> None:
    with pytest.raises(ConfigError, match="inter_ctc_layers"):
        override(DecoderConfig(), {**SMALL, "model.inter_ctc_layers": layers}, "test")


def make_model(changes: dict[str, Any], **more: Any) -> PackedDecoder:
    config = override(DecoderConfig(), {**SMALL, **changes}, "test").model
    return PackedDecoder(config, 2, n_days=3, n_features=5, n_classes=6, seed=2, **more)


@pytest.mark.parametrize("branch", BRANCHES)
def test_biases_norms_and_the_mask_token_are_not_decayed(branch: str) -> None:
    model = make_model(BRANCHES[branch])
    groups = model.groups()
    assert list(groups) == [name for name, _ in model.named_parameters()]
    for name, group in groups.items():
        if name.startswith("day_layer"):
            assert group == "day"
        else:
            one_axis = "bias" in name or "norm" in name or name == "mask_token"
            assert group == ("bias" if one_axis else "weight"), name


def test_optional_parts_do_not_change_the_initial_weights_of_others() -> None:
    plain = dict(make_model({}).named_parameters())
    more = {"model.layer_norm": True, "model.inter_ctc_layers": [1], "model.mask_token": "learned"}
    extended = dict(make_model({**more, "model.day_layer": "shared"}).named_parameters())
    for name, value in plain.items():
        if not name.startswith("day_layer"):
            assert torch.equal(value, extended[name]), name


def test_the_blank_bias_is_added_in_each_run_and_head() -> None:
    changes = {"model.inter_ctc_layers": [1]}
    plain = dict(make_model(changes).named_parameters())
    raised = dict(make_model(changes, blank_bias=[0.0, 3.0]).named_parameters())
    for name in ("head.bias", "intermediate_heads.1.bias"):
        difference = raised[name] - plain[name]
        assert difference[1, 0].item() == pytest.approx(3.0)
        assert difference[0].eq(0).all() and difference[:, 1:].eq(0).all()
        assert torch.equal(
            raised[name.replace("bias", "weight")], plain[name.replace("bias", "weight")]
        )


def test_shared_gives_one_day_layer_and_none_gives_no_day_layer() -> None:
    per_day, shared, none = (
        make_model({"model.day_layer": kind}).n_parameters()
        for kind in ("per_day", "shared", "none")
    )
    assert (per_day - none, shared - none) == (3 * 5 * 6, 5 * 6)


def test_without_a_day_layer_the_layers_read_the_features() -> None:
    model = make_model({"model.day_layer": "none"})
    with_softsign = make_model({"model.day_layer": "shared"})
    x = make_batch().features.expand(2, -1, -1, -1)
    softsign = torch.nn.functional.softsign(x)  # what an identity layer makes of them
    torch.testing.assert_close(model(softsign, []).logits, with_softsign(x, []).logits)


def test_layer_norm_and_the_post_rnn_layers_equal_torch() -> None:
    model = make_model({"model.layer_norm": True, "model.post_rnn_layers": 2})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(1)
            )
    x = make_batch().features.expand(2, -1, -1, -1)
    ours = {name: p.detach() for name, p in model.named_parameters()}
    got = model(x, [DaySlice(0, 0, 4)]).logits
    for run in range(2):
        out = torch.nn.functional.softsign(
            x[run] @ ours["day_layer.weights.0"][run] + ours["day_layer.biases.0"][run]
        )
        out = out.unfold(1, 4, 3).transpose(2, 3).flatten(2)
        for i in range(3):
            gru = torch.nn.GRU(out.shape[-1], 8, batch_first=True)
            for name, parameter in gru.named_parameters():
                parameter.data.copy_(ours[f"layers.{i}.{name.removesuffix('_l0')}"][run])
            out, _ = gru(out, ours["h0"][run].expand(1, 4, -1).contiguous())
            out = torch.nn.functional.layer_norm(
                out, (8,), ours[f"layers.{i}.norm.weight"][run], ours[f"layers.{i}.norm.bias"][run]
            )
        for i in range(2):
            linear = f"post_rnn.{i}.linear"
            out = torch.nn.functional.linear(
                out, ours[f"{linear}.weight"][run], ours[f"{linear}.bias"][run]
            )
            norm = f"post_rnn.{i}.norm"
            out = torch.nn.functional.layer_norm(
                out, (7,), ours[f"{norm}.weight"][run], ours[f"{norm}.bias"][run]
            )
            out = torch.nn.functional.gelu(out)
        expected = torch.nn.functional.linear(out, ours["head.weight"][run], ours["head.bias"][run])
        torch.testing.assert_close(got[run].transpose(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_the_published_transformer_has_the_same_number_of_parameters() -> None:
    """BiT_Phoneme with dim 384, depth 5, 6 heads of 64, ratio 4, patches of 5 by 256."""
    config = ModelConfig(
        architecture="transformer",
        n_units=384,
        n_layers=5,
        patch_size=5,
        patch_stride=5,
        day_layer="none",
        head_init="uniform",
        mask_token="learned",
    )
    D, H = 5 * 256, 384
    embedding = 2 * D + D * H + H + 2 * H
    attention = 2 * H + H * 3 * H + H * H + H + 399
    feed_forward = 2 * H + H * 4 * H + 4 * H + 4 * H * H + H
    expected = D + embedding + 5 * (attention + feed_forward) + 2 * H + H * 41 + 41
    model = PackedDecoder(config, 1, n_days=24, n_features=256, n_classes=41, seed=0)
    assert model.n_parameters() == expected
