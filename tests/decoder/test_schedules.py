"""Schedules by hand and against `torch.optim.lr_scheduler`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LinearLR, LRScheduler

from decoder.config import DecoderConfig, OptimConfig, resolve
from decoder.schedules import learning_rates, share_of_largest


def test_warmup_starts_at_zero_and_reaches_one() -> None:
    assert share_of_largest("warmup_cosine", 0, 1000, 120_000, 0.02) == 0.0
    assert share_of_largest("warmup_cosine", 500, 1000, 120_000, 0.02) == 0.5
    assert share_of_largest("warmup_cosine", 1000, 1000, 120_000, 0.02) == 1.0


def test_cosine_is_half_way_down_in_the_middle_and_stays_at_the_bottom() -> None:
    assert share_of_largest("warmup_cosine", 60, 20, 100, 0.2) == pytest.approx(0.6)
    assert share_of_largest("warmup_cosine", 100, 20, 100, 0.2) == 0.2
    assert share_of_largest("warmup_cosine", 10_000, 20, 100, 0.2) == 0.2


def test_official_t15_schedule_at_known_steps() -> None:
    """Values of create_cosine_lr_scheduler of nejm-brain-to-text at lr .005 → .0001, 120k steps,
    warm-up 1000 (benchmarks/fidelity.py compares every step beside the official code)."""
    config = resolve(DecoderConfig()).optim
    rates = [learning_rates(config, s)["weight"] for s in (0, 1, 1000, 60_500, 120_000)]
    assert rates == pytest.approx([0.0, 5e-6, 0.005, 0.00255, 0.0001], rel=1e-9)


def test_day_layers_follow_their_own_schedule() -> None:
    config = OptimConfig(lr_max=0.01, lr_max_day=0.001, lr_warmup_steps=10, lr_warmup_steps_day=5)
    resolved = resolve(DecoderConfig(optim=config)).optim
    rates = learning_rates(resolved, 5)
    assert rates["day"] == pytest.approx(0.001)
    assert rates["weight"] == rates["bias"] == pytest.approx(0.005)


def torch_rates(
    make: Callable[[torch.optim.Optimizer], LRScheduler], lr: float, n_steps: int
) -> list[float]:
    """The learning rate PyTorch's scheduler gives each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(n_steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(n_steps: int, **fields: Any) -> list[float]:
    config = resolve(DecoderConfig(optim=OptimConfig(**fields))).optim
    return [learning_rates(config, step)["weight"] for step in range(n_steps)]


def test_linear_without_warmup_is_that_of_torch() -> None:
    def linear(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return LinearLR(optimizer, start_factor=1.0, end_factor=0.25, total_iters=30)

    ours = our_rates(
        40, schedule="linear", lr_max=0.02, lr_min=0.005, lr_warmup_steps=0, lr_decay_steps=30
    )
    assert ours == pytest.approx(torch_rates(linear, 0.02, 40), rel=1e-9)


def test_constant_stays_at_the_largest_after_warmup() -> None:
    assert our_rates(5, schedule="constant", lr_max=0.02, lr_warmup_steps=2) == pytest.approx(
        [0.0, 0.01, 0.02, 0.02, 0.02]
    )


def test_day_layers_may_follow_another_schedule() -> None:
    section = OptimConfig(
        schedule="linear", schedule_day="constant", lr_warmup_steps=0, lr_decay_steps=10
    )
    rates = learning_rates(resolve(DecoderConfig(optim=section)).optim, 5)
    assert rates["day"] == 0.005
    assert rates["weight"] == rates["bias"] == pytest.approx(0.00255)
