"""Schedules: hand-worked values, and comparison with `torch.optim.lr_scheduler`."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from decoder.config import DecoderConfig, resolve
from decoder.schedules import BETTER, cosine, learning_rates, linear, plateau, warmup
from decoder.training_sections import OptimConfig


def warmup_cosine(step: int, warmup_steps: int, decay_steps: int, min_ratio: float) -> float:
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return cosine(step, warmup_steps, decay_steps, min_ratio)


def test_warmup_starts_at_zero_and_reaches_one() -> None:
    assert warmup_cosine(0, 1000, 120_000, 0.02) == 0.0
    assert warmup_cosine(500, 1000, 120_000, 0.02) == 0.5
    assert warmup_cosine(1000, 1000, 120_000, 0.02) == 1.0


def test_cosine_is_half_way_down_in_the_middle_and_stays_at_the_bottom() -> None:
    assert warmup_cosine(60, 20, 100, 0.2) == pytest.approx(0.6)
    assert warmup_cosine(100, 20, 100, 0.2) == 0.2
    assert warmup_cosine(10_000, 20, 100, 0.2) == 0.2


def test_a_schedule_without_a_decay_is_at_the_bottom_at_once() -> None:
    assert cosine(5, 5, 5, 0.2) == 0.2
    assert linear(5, 5, 5, 0.2) == 0.2
    assert warmup(0, 0) == 1.0


def test_linear_falls_from_the_end_of_the_warm_up() -> None:
    ours = our_rates(
        8, schedule="linear", lr_max=0.02, lr_min=0.01, lr_warmup_steps=2, lr_decay_steps=6
    )
    assert ours == pytest.approx([0.0, 0.01, 0.02, 0.0175, 0.015, 0.0125, 0.01, 0.01])


def test_day_layers_end_at_their_own_lowest_rate() -> None:
    config = OptimConfig(
        lr_max_day=0.04, lr_min_day=0.01, lr_warmup_steps_day=0, lr_decay_steps_day=10
    )
    assert learning_rates(resolve(DecoderConfig(optim=config)).optim, 10)["day"] == 0.01


def test_an_evaluation_without_a_number_is_no_improvement() -> None:
    assert plateau([math.nan], 1, 0.5, 0.1) == 1.0
    assert plateau([math.nan, math.nan], 1, 0.5, 0.1) == 0.5


def test_an_improvement_of_the_very_threshold_is_none() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    reference = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for per in (1.0, BETTER):
        reference.step(per)
    assert plateau([1.0, BETTER], 0, 0.5, 0.1) == optimizer.param_groups[0]["lr"] / 0.02 == 0.5


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
    make: Callable[[torch.optim.Optimizer], LRScheduler], lr: float, n: int, last: bool = False
) -> list[float]:
    """The learning rates of PyTorch's scheduler at `n` steps, and at the next one if `last`."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(n):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return [*rates, float(optimizer.param_groups[0]["lr"])] if last else rates


def our_rates(n_steps: int, **fields: Any) -> list[float]:
    config = resolve(DecoderConfig(optim=OptimConfig(**fields))).optim
    return [learning_rates(config, step)["weight"] for step in range(n_steps)]


def test_linear_without_warmup_equals_torch() -> None:
    def linear(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return LinearLR(optimizer, start_factor=1.0, end_factor=0.25, total_iters=30)

    ours = our_rates(
        40, schedule="linear", lr_max=0.02, lr_min=0.005, lr_warmup_steps=0, lr_decay_steps=30
    )
    assert ours == pytest.approx(torch_rates(linear, 0.02, 40), rel=1e-9)


@pytest.mark.parametrize(("rise", "total"), [(12, 40), (0, 40), (40, 40), (2, 9)])
def test_one_cycle_equals_torch(rise: int, total: int) -> None:
    def one_cycle(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return OneCycleLR(
            optimizer,
            max_lr=0.02,
            total_steps=total,
            pct_start=rise / total,
            div_factor=10.0,
            final_div_factor=4.0,
            cycle_momentum=False,
        )

    ours = our_rates(
        total,
        schedule="one_cycle",
        lr_max=0.02,
        lr_min=0.02 / 40,
        one_cycle_start_ratio=0.1,
        lr_warmup_steps=rise,
        lr_decay_steps=total,
    )
    assert ours == pytest.approx(torch_rates(one_cycle, 0.02, total - 1, last=True), rel=1e-9)


def test_one_cycle_of_one_step_up_starts_at_the_top_and_ends_at_the_bottom() -> None:
    """PyTorch divides by zero in this case."""
    ours = our_rates(
        8, schedule="one_cycle", lr_max=0.02, lr_min=0.01, lr_warmup_steps=1, lr_decay_steps=6
    )
    assert ours[0] == pytest.approx(0.02)
    assert ours[5:] == pytest.approx([0.01, 0.01, 0.01])


@pytest.mark.parametrize("n_warm", [0, 5])
def test_step_equals_torch_after_the_warmup(n_warm: int) -> None:
    def steps(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return StepLR(optimizer, step_size=7, gamma=0.3)

    ours = our_rates(
        n_warm + 30,
        schedule="step",
        lr_max=0.02,
        lr_warmup_steps=n_warm,
        step_every_steps=7,
        step_factor=0.3,
    )
    assert ours[n_warm:] == pytest.approx(torch_rates(steps, 0.02, 30), rel=1e-9)
    assert ours[:n_warm] == pytest.approx([0.02 * i / n_warm for i in range(n_warm)])


@settings(max_examples=80, deadline=None)
@given(
    pers=st.lists(st.sampled_from([0.5, 0.6, 0.60001, 0.7, 0.8, 1.0]), max_size=25),
    patience=st.integers(0, 3),
)
def test_plateau_equals_torch(pers: list[float], patience: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    reference = ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, min_lr=0.002)
    for per in pers:
        reference.step(per)
    share = plateau(pers, patience, 0.5, 0.1)
    assert 0.02 * share == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_plateau_uses_the_evaluations_of_the_run_and_warms_up() -> None:
    section = OptimConfig(
        schedule="plateau", plateau_patience=1, plateau_factor=0.5, lr_max=0.02, lr_warmup_steps=4
    )
    config = resolve(DecoderConfig(optim=section)).optim
    history = [{"per": 0.5}, {"per": 0.5}, {"per": 0.6}]
    assert learning_rates(config, 10)["weight"] == 0.02
    assert learning_rates(config, 10, history[:2])["weight"] == 0.02
    assert learning_rates(config, 10, history)["weight"] == 0.01
    assert learning_rates(config, 2, history)["day"] == 0.005


def test_constant_stays_at_the_largest_after_warmup() -> None:
    assert our_rates(5, schedule="constant", lr_max=0.02, lr_warmup_steps=2) == pytest.approx(
        [0.0, 0.01, 0.02, 0.02, 0.02]
    )


def test_day_layers_may_have_another_schedule() -> None:
    section = OptimConfig(
        schedule="linear", schedule_day="constant", lr_warmup_steps=0, lr_decay_steps=10
    )
    rates = learning_rates(resolve(DecoderConfig(optim=section)).optim, 5)
    assert rates["day"] == 0.005
    assert rates["weight"] == rates["bias"] == pytest.approx(0.00255)
