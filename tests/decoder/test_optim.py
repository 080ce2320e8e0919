"""Clipping and optimizers, compared with PyTorch's own."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from decoder import optim
from decoder.config import DecoderConfig, resolve
from decoder.model.decoder import PackedDecoder
from decoder.schedules import learning_rates
from decoder.sections import ModelConfig
from decoder.training_sections import OptimConfig


def make_model(n_runs: int) -> PackedDecoder:
    config = ModelConfig(n_units=5, n_layers=2, patch_size=3, patch_stride=2)
    return PackedDecoder(config, n_runs, n_days=3, n_features=4, n_classes=6, seed=0)


REFERENCES: dict[str, Callable[[list[dict[str, Any]], OptimConfig], torch.optim.Optimizer]] = {
    "adam": lambda groups, c: torch.optim.Adam(
        groups, betas=(c.beta1, c.beta2), eps=c.epsilon, foreach=False
    ),
    "adamw": lambda groups, c: torch.optim.AdamW(
        groups, betas=(c.beta1, c.beta2), eps=c.epsilon, foreach=False
    ),
    "sgd": lambda groups, c: torch.optim.SGD(
        groups, momentum=c.momentum, nesterov=c.nesterov, foreach=False
    ),
}


@pytest.mark.parametrize("algorithm", ["adam", "adamw", "sgd"])
def test_each_run_updates_like_its_own_torch_optimizer(algorithm: str) -> None:
    """Three runs with different scalars and a day without gradients in most of 30 steps."""
    sections = [
        OptimConfig(
            algorithm=algorithm,
            epsilon=e,
            lr_max=lr,
            weight_decay=w,
            weight_decay_day=d,
            weight_decay_bias=d / 2,
            lr_warmup_steps=3,
            beta1=b,
            momentum=b,
            nesterov=b > 0.5,
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
        decay = {
            "bias": config.weight_decay_bias,
            "day": config.weight_decay_day,
            "weight": config.weight_decay,
        }
        reference = REFERENCES[algorithm](
            [
                {"params": [p], "weight_decay": decay[groups[n]], "name": groups[n]}
                for n, p in copies.items()
            ],
            config,
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
            rates = learning_rates(configs[row], step)
            for settings in reference.param_groups:
                settings["lr"] = rates[settings["name"]]
            for n, p in copies.items():
                p.grad = gradients[n][row].clone() if n in gradients else None
            reference.step()
            ours[row].step(gradients, row, learning_rates(configs[row], step))
    for row, (copies, _) in enumerate(references):
        for n, p in model.named_parameters():
            torch.testing.assert_close(p.detach()[row], copies[n].detach(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "section",
    [
        OptimConfig(lr_warmup_steps=0),
        OptimConfig(lr_warmup_steps=0, algorithm="sgd", nesterov=True),
        OptimConfig(lr_warmup_steps=0, algorithm="sgd", momentum=0.0),
    ],
)
def test_an_optimizer_continues_from_its_saved_state_bit_for_bit(section: OptimConfig) -> None:
    config = resolve(DecoderConfig(optim=section)).optim
    model = make_model(1)
    first = optim.RunOptimizer(config, dict(model.named_parameters()), model.groups(), 0)
    source = torch.Generator().manual_seed(0)
    draws = [
        {n: torch.randn(p.shape, generator=source) for n, p in model.named_parameters()}
        for _ in range(4)
    ]
    for step in range(2):
        first.step(draws[step], 0, learning_rates(config, step))
    twin = copy.deepcopy(model)
    second = optim.RunOptimizer(config, dict(twin.named_parameters()), twin.groups(), 0)
    second.load_state({n: t.clone() for n, t in first.state().items()})
    for step in (2, 3):
        first.step(draws[step], 0, learning_rates(config, step))
        second.step(draws[step], 0, learning_rates(config, step))
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_clipping_equals_torch_for_each_run() -> None:
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


def test_t12_optimizer_is_plain_adam_over_all_parameters_with_the_days_stacked() -> None:
    """The official T12 trainer: one L2 Adam over everything; each step's batch selects some of the
    days of one stacked tensor, so all of them have a gradient, mostly zero."""
    section = OptimConfig(
        algorithm="adam",
        schedule="constant",
        lr_warmup_steps=0,
        lr_max=0.02,
        epsilon=0.1,
        weight_decay=0.01,
        weight_decay_day=0.01,
        weight_decay_bias=0.01,
        update_absent_days=True,
    )
    model = make_model(1)
    names = [n for n, _ in model.named_parameters()]
    config = resolve(DecoderConfig(optim=section)).optim
    ours = optim.RunOptimizer(config, dict(model.named_parameters()), model.groups(), 0)
    plain = {n: p.detach()[0].clone() for n, p in model.named_parameters()}
    rest = {n: p.requires_grad_() for n, p in plain.items() if not n.startswith("day_layer")}
    days = {
        kind: torch.stack([plain[f"day_layer.{kind}.{d}"] for d in range(3)]).requires_grad_()
        for kind in ("weights", "biases")
    }
    reference = torch.optim.Adam(
        [*rest.values(), *days.values()], lr=0.02, eps=0.1, weight_decay=0.01, foreach=False
    )
    source = torch.Generator().manual_seed(0)
    for step in range(20):
        present = {step % 3, (step * step) % 3}
        gradients = {
            n: torch.randn(p.shape, generator=source)
            for n, p in model.named_parameters()
            if not (n.startswith("day_layer") and int(n[-1]) not in present)
        }
        for n, p in rest.items():
            p.grad = gradients[n][0]
        for kind, stacked in days.items():
            of_days = [gradients.get(f"day_layer.{kind}.{d}") for d in range(3)]
            stacked.grad = torch.stack(
                [torch.zeros_like(stacked[0]) if g is None else g[0] for g in of_days]
            ).detach()
        reference.step()
        ours.step(gradients, 0, learning_rates(config, step))
    expected = {n: p.detach() for n, p in rest.items()}
    for kind, stacked in days.items():
        expected |= {f"day_layer.{kind}.{d}": stacked.detach()[d] for d in range(3)}
    assert set(expected) == set(names)
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.detach()[0], expected[n], rtol=2e-5, atol=1e-6)


def test_biases_and_day_layers_have_their_own_groups() -> None:
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
