"""Schedules by hand, clipping and optimizers against PyTorch's own."""

import copy

import pytest
import torch

from decoder import optim
from decoder.config import DecoderConfig, ModelConfig, OptimConfig, resolve
from decoder.model.decoder import PackedDecoder


def test_warmup_starts_at_zero_and_reaches_one() -> None:
    assert optim.warmup_cosine(0, 1000, 120_000, 0.02) == 0.0
    assert optim.warmup_cosine(500, 1000, 120_000, 0.02) == 0.5
    assert optim.warmup_cosine(1000, 1000, 120_000, 0.02) == 1.0


def test_cosine_is_half_way_down_in_the_middle_and_stays_at_the_bottom() -> None:
    assert optim.warmup_cosine(60, 20, 100, 0.2) == pytest.approx(0.6)
    assert optim.warmup_cosine(100, 20, 100, 0.2) == 0.2
    assert optim.warmup_cosine(10_000, 20, 100, 0.2) == 0.2


def test_official_t15_schedule_at_known_steps() -> None:
    """Values of create_cosine_lr_scheduler of nejm-brain-to-text at lr .005 → .0001, 120k steps,
    warm-up 1000 (benchmarks/fidelity.py compares every step beside the official code)."""
    config = resolve(DecoderConfig()).optim
    rates = [optim.learning_rates(config, s)["weight"] for s in (0, 1, 1000, 60_500, 120_000)]
    assert rates == pytest.approx([0.0, 5e-6, 0.005, 0.00255, 0.0001], rel=1e-9)


def test_day_layers_follow_their_own_schedule() -> None:
    config = OptimConfig(lr_max=0.01, lr_max_day=0.001, lr_warmup_steps=10, lr_warmup_steps_day=5)
    resolved = resolve(DecoderConfig(optim=config)).optim
    rates = optim.learning_rates(resolved, 5)
    assert rates["day"] == pytest.approx(0.001)
    assert rates["weight"] == rates["bias"] == pytest.approx(0.005)


def make_model(n_runs: int) -> PackedDecoder:
    config = ModelConfig(n_units=5, n_layers=2, patch_size=3, patch_stride=2)
    return PackedDecoder(config, n_runs, n_days=3, n_features=4, n_classes=6, seed=0)


@pytest.mark.parametrize("algorithm", ["adam", "adamw"])
def test_each_run_follows_a_plain_torch_optimizer_of_its_own(algorithm: str) -> None:
    """Three runs of unlike scalars, a day without gradients in most steps, 30 steps."""
    sections = [
        OptimConfig(
            algorithm=algorithm,
            epsilon=e,
            lr_max=lr,
            weight_decay=w,
            weight_decay_day=d,
            lr_warmup_steps=3,
            beta1=b,
        )  # type: ignore[arg-type]
        for e, lr, w, d, b in [
            (0.1, 0.05, 0.01, 0.0, 0.9),
            (1e-8, 0.01, 0.1, 0.2, 0.5),
            (1e-3, 0.02, 0.0, 0.1, 0.0),
        ]
    ]
    configs = [resolve(DecoderConfig(optim=section)).optim for section in sections]
    model = make_model(3)
    groups = model.groups()
    ours = [
        optim.RunOptimizer(config, dict(model.named_parameters()), groups, row)
        for row, config in enumerate(configs)
    ]
    references = []
    for row, config in enumerate(configs):
        copies = {n: p.detach()[row].clone().requires_grad_() for n, p in model.named_parameters()}
        decay = {"bias": 0.0, "day": config.weight_decay_day, "weight": config.weight_decay}
        kind = torch.optim.Adam if algorithm == "adam" else torch.optim.AdamW
        reference = kind(
            [
                {"params": [p], "weight_decay": decay[groups[n]], "name": groups[n]}
                for n, p in copies.items()
            ],
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            foreach=False,
        )
        references.append((copies, reference))
    source = torch.Generator().manual_seed(0)
    for step in range(30):
        gradients = {
            n: torch.randn(p.shape, generator=source)
            for n, p in model.named_parameters()
            if not (n.endswith("weights.2") and step % 5)
        }
        for row, (copies, reference) in enumerate(references):
            rates = optim.learning_rates(configs[row], step)
            for settings in reference.param_groups:
                settings["lr"] = rates[settings["name"]]
            for n, p in copies.items():
                p.grad = gradients[n][row].clone() if n in gradients else None
            reference.step()
            ours[row].step(gradients, row, step)
    for row, (copies, _) in enumerate(references):
        for n, p in model.named_parameters():
            torch.testing.assert_close(p.detach()[row], copies[n].detach(), rtol=2e-5, atol=1e-6)


def test_an_optimizer_continues_from_its_saved_state_bit_for_bit() -> None:
    config = resolve(DecoderConfig(optim=OptimConfig(lr_warmup_steps=0))).optim
    model = make_model(1)
    first = optim.RunOptimizer(config, dict(model.named_parameters()), model.groups(), 0)
    source = torch.Generator().manual_seed(0)
    draws = [
        {n: torch.randn(p.shape, generator=source) for n, p in model.named_parameters()}
        for _ in range(4)
    ]
    for step in range(2):
        first.step(draws[step], 0, step)
    twin = copy.deepcopy(model)
    second = optim.RunOptimizer(config, dict(twin.named_parameters()), twin.groups(), 0)
    second.load_state({n: t.clone() for n, t in first.state().items()})
    for step in (2, 3):
        first.step(draws[step], 0, step)
        second.step(draws[step], 0, step)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_clipping_is_that_of_torch_per_run() -> None:
    source = torch.Generator().manual_seed(0)
    gradients = {
        "a": torch.randn(3, 4, 5, generator=source),
        "b": torch.randn(3, 7, generator=source),
    }
    limits = [0.5, None, 100.0]
    expected = []
    for row, limit in enumerate(limits):
        parameters = [torch.nn.Parameter(torch.zeros_like(g[row])) for g in gradients.values()]
        for parameter, gradient in zip(parameters, gradients.values(), strict=True):
            parameter.grad = gradient[row].clone()
        torch.nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit)
        expected.append([p.grad for p in parameters])
    norms = optim.gradient_norms(gradients)
    optim.scale_runs(gradients, optim.clip_factors(norms, limits))
    for row, tensors in enumerate(expected):
        for gradient, reference in zip(gradients.values(), tensors, strict=True):
            torch.testing.assert_close(gradient[row], reference)


def test_biases_are_never_decayed_and_day_layers_are_a_group_of_their_own() -> None:
    groups = make_model(1).groups()
    assert set(groups) == {n for n, _ in make_model(1).named_parameters()}
    assert {n for n, g in groups.items() if g == "bias"} == {
        "layers.0.bias_ih",
        "layers.0.bias_hh",
        "layers.1.bias_ih",
        "layers.1.bias_hh",
        "head.bias",
    }
    assert sum(g == "day" for g in groups.values()) == 6
    assert groups["h0"] == "weight"
